/**
 * What a door that stands before a real ensemble asks of its host: a connection to the ensemble for each client's connection, and
 * the translation between what applications say and what others see. The door touches no socket and decides no policy.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type { Journal } from "@dualmesh/base/state/journal";
import type { Instance } from "@dualmesh/model/instance";
import type { DoorPeer } from "../../door.ts";
import type { Wanted } from "../layout.ts";
import type { BeforeLimits } from "./limits.ts";

/** The door's side of its connection to the ensemble, which the host opens for one connection of a client. */
export interface Upstream {
  /** Takes the bytes over; what is sent before the connection stands is kept, in order, until it does. */
  send(bytes: Buffer): void;
  /** Bytes that the ensemble has not taken yet; the door closes both sides when they are too many. */
  readonly queuedBytes: number;
  /** Closes once what was sent has left. `closed` may follow. */
  close(): void;
}

export interface UpstreamEvents {
  /** `bytes` is valid during the call only. */
  received(bytes: Buffer): void;
  /** The connection is gone or could not be made: the door closes the client's, which then reconnects by itself. */
  closed(): void;
}

/** Direct: as it really is. Both: the real one and the one of the mesh. Mesh: that of the mesh alone. */
export type RewriteState = "direct" | "both" | "mesh";

/** The providers of an interface as the ensemble has them, this session's own under the application's own address. */
export interface RealList {
  /** `dubbo` or `sofa`. */
  readonly dialect: string;
  readonly interfaceName: string;
  readonly instances: readonly Instance[];
}

/** How a session begins that this door does not know yet; only `direct` and `mesh` can be begun with. */
export interface SessionModes {
  readonly provides: "direct" | "mesh";
  readonly consumes: "direct" | "mesh";
}

export interface BeforeOwner {
  /** Opens a connection to the ensemble for that of a client. Nothing may be called back before this returns. */
  open(client: DoorPeer, events: UpstreamEvents): Upstream;
  /** The connection that a former door had opened for that of a client, which both stood still; undefined when it is not there. */
  adopted?(client: DoorPeer, events: UpstreamEvents): Upstream | undefined;
  /** A session that has just been made or resumed and that the door has not seen before. */
  modes(session: { readonly id: string; readonly remote: string }): SessionModes;
  /** An instance of this application as others will see it in the mesh; undefined when it is not carried. */
  published(instance: Instance): Instance | undefined;
  /**
   * Resolves, soon, once others do reach it there, to what they see, which may be at another place than was foreseen; to undefined when they
   * cannot. Nobody is told of an address before.
   */
  carried(instance: Instance): Promise<Instance | undefined>;
  /** The reverse: for what stands at a published address, the instance as its application registered it. */
  original(instance: Instance): Instance | undefined;
  /** An application says what it will call. */
  wants(wanted: Wanted): void;
  /** What a consumer in the mesh is shown: stand-ins, and real addresses of what cannot be carried. */
  shown(list: RealList): readonly Instance[];
}

export interface BeforeContext {
  readonly owner: BeforeOwner;
  /** Keeps what was taken back at the ensemble for as long as it may have to be put there again. */
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
}

export interface BeforeDoorOptions {
  readonly limits?: Partial<BeforeLimits>;
  /** The root nodes that Dubbo (`group` of its registry) and SOFA-RPC use; `dubbo` and `sofa-rpc` when not given. */
  readonly dubboRoots?: readonly string[];
  readonly sofaRoots?: readonly string[];
  /** The nodes that applications are given as their root (`/team` of `zookeeper:2181/team`), beside the ensemble's own. */
  readonly chroots?: readonly string[];
}
