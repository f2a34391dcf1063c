/** All that a mover touches, as arguments, so that its whole state machine runs in a simulation. `real-world.ts` has the real ones. */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type {
  Crossing,
  CrossingList,
  CrossingNameArguments,
  CrossingOpenArguments,
  CrossingStepArguments,
} from "@dualmesh/model/crossing";
import type { Host } from "../host/host.ts";
import type { ProcessFacts } from "../process/facts.ts";
import type { Watching, WatchOptions } from "../watch/watching.ts";
import type { MoveRecord, ProcessId } from "./record.ts";

/** A running sidecar, asked over its control socket. Rejects with `control.…` when it is not there. */
export interface SidecarControl {
  list(): Promise<CrossingList>;
  open(asked: CrossingOpenArguments): Promise<Crossing>;
  provide(asked: CrossingStepArguments): Promise<Crossing>;
  consume(asked: CrossingStepArguments): Promise<Crossing>;
  close(asked: CrossingNameArguments): Promise<void>;
}

/** Sidecars that movers start, and end. */
export interface SidecarProcesses {
  /** Starts it when it does not run; resolves when it answers at its control socket. */
  start(record: MoveRecord): Promise<void>;
  /** Ends it in order, unless another move of this state directory needs it. */
  end(record: MoveRecord): Promise<void>;
}

export interface MoveWorld {
  readonly clock: Clock;
  readonly log: Log;
  /** This process. */
  readonly self: ProcessId;
  /** Undefined when there is no such process any more. */
  process(of: ProcessId): Promise<ProcessFacts | undefined>;
  /** The packet filter where the process lives; undefined when nobody is left in that network namespace. */
  host(record: MoveRecord): Promise<Host | undefined>;
  control(record: MoveRecord): SidecarControl;
  readonly sidecars: SidecarProcesses;
  /** Sees that a guard runs for this state directory. */
  ensureGuard(): Promise<void>;
  openWatch(options: WatchOptions): Watching;
}
