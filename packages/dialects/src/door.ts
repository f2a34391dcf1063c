/**
 * What a registry or a sidecar gives to a door, and what a door is to them. A door speaks a registry protocol that applications
 * already speak. It touches no socket: its host hands it bytes, so that a connection and its session can be moved or simulated.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { Journal } from "@dualmesh/base/state/journal";
import type { Directory } from "@dualmesh/model/directory";

export interface DoorContext {
  /** Where the door stands: at the registry it shows real addresses, at a sidecar what the sidecar's directory hands out. */
  readonly place: "registry" | "sidecar";
  readonly directory: Directory;
  /** The door's own, for the sessions and what they own. */
  readonly journal: Journal;
  /**
   * Told before a service is watched because an application said that it will call it, with the patience that the application states
   * in milliseconds; 0 when it states none.
   */
  readonly onConsumer?: (service: string, timeoutMs: number) => void;
  /**
   * At a sidecar: where this host's applications reach a service whose protocol names none in its requests (HTTP), kept for good.
   * Resolves once it listens there; undefined when the service cannot be carried or no address is left. Absent at the registry,
   * where every provider is shown at its own address.
   */
  readonly standIn?: (service: string) => Promise<StandIn | undefined>;
  /** Grows at every start of the process (1, 2, …); the upper half of whatever the dialect orders by. */
  readonly epoch: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface StandIn {
  /** A loopback address of the service's own. */
  readonly address: string;
  readonly port: number;
}

/** The host's side of one connection. */
export interface DoorPeer {
  /** `address:port` of the client, to show. */
  readonly remote: string;
  /** Takes the bytes over. */
  send(bytes: Buffer): void;
  /** Bytes that the client has not taken yet; a door cuts a client that never reads. */
  readonly queuedBytes: number;
  /** Closes the connection once what was sent has left; `DoorConnection.closed` follows. */
  close(): void;
}

/** The door's side of one connection. */
export interface DoorConnection {
  /** `bytes` is valid during the call only. */
  receive(bytes: Buffer): void;
  /** The connection is gone; its session lives on until its own timeout. */
  closed(): void;
  /**
   * Has it stand still, so that another door may go on with it: from the first call on nothing is begun any more, and once all that had begun is
   * over it gives what that door needs to know, and sends nothing again. Undefined until then; whoever calls reads nothing of the client meanwhile.
   */
  stand?(): Standing | undefined;
}

/** A connection that stands still, for the door that goes on with it, in this process or another. */
export interface Standing {
  /** As JSON keeps it. What a reader does not know of it is left alone, and what is missing has a default, so that neighbouring versions understand each other. */
  readonly state: Readonly<Record<string, unknown>>;
  /** What was read and has to be read again: of the client first, then of a server behind the door. */
  readonly unread: readonly Buffer[];
}

export interface DoorSession {
  readonly id: string;
  readonly remote: string;
  readonly application: string;
  readonly publishes: readonly string[];
  readonly watches: readonly string[];
  /** Registrations that are carried nowhere, with the reason (`application-level only`). */
  readonly bypassed: readonly { readonly registration: string; readonly reason: string }[];
}

export interface Door extends AsyncDisposable {
  readonly dialect: string;
  connect(peer: DoorPeer): DoorConnection;
  /**
   * Goes on with a connection that stood still at another door like this one, on the same journal. What that had read of the client is received
   * again by whoever calls. Undefined when the door cannot go on with it.
   */
  adopt?(peer: DoorPeer, standing: Standing): DoorConnection | undefined;
  /** With false, clients cannot come although the door is open: nobody's time runs until it is told that they can. */
  serving?(isServing: boolean): void;
  /** What `dualmesh status` shows. */
  sessions(): readonly DoorSession[];
}
