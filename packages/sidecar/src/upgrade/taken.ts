/** What a part is started with that goes on with what another process, or this one before, had begun. */
import type { DataSide } from "../data-side.ts";
import type { LingeringEntry } from "../face/inbound.ts";
import type { Snapshot } from "../snapshot.ts";
import type { Ports } from "../transport/ports.ts";

/** What was in force when it was laid down, and is not on disk. */
export interface Before extends Snapshot {
  readonly lingering?: readonly LingeringEntry[];
}

export interface Taken {
  /** What carries calls, where that never stopped. */
  readonly data?: DataSide;
  /** The listening ports of the other process. */
  readonly ports?: Ports;
  /** The routes that were in force; undefined when nobody could say. */
  readonly before?: Before;
  /** Whether the other process has died: then nobody can do better than this one. */
  readonly isAlone?: () => boolean;
}
