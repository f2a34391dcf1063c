/**
 * What a mover asks of a sidecar, and what it is told. A crossing is the way of one application's registry connections through its
 * sidecar: a port on loopback for each server of the ensemble that the application calls, and what the sidecar knows of the sessions that
 * come through. The mover sends the application's new connections to these ports; the sidecar never touches a packet filter.
 *
 * Each type named …Arguments is the `arguments` of a command on the sidecar's control socket, and the one after it its result:
 *
 *     crossing.open     CrossingOpenArguments     Crossing
 *     crossing.list     {}                        CrossingList
 *     crossing.provide  CrossingStepArguments     Crossing   when every registration is there (about 6 s)
 *     crossing.consume  CrossingStepArguments     Crossing   when every session is told so (about 6 s)
 *     crossing.close    CrossingNameArguments     {}         nothing new comes through; published ports go on for `drain.lingerMs`
 *
 * All may be repeated: what is so already is not done again. Errors: `crossing.unknown` (no crossing of that name), `crossing.malformed`,
 * `crossing.not-carried` (a registration that should be in the mesh cannot be carried; says which and why), `listen.…`, `zookeeper.…`,
 * `control.upgrading` (of a sidecar that is being upgraded, also by a step that was under way: another process does it when it is asked again).
 */

export type Place = "direct" | "mesh";

export interface CrossingOpenArguments {
  /** Names the crossing for good: letters, digits, `-`, at most 64. */
  readonly name: string;
  /** `host:port` of every server of the ensemble as the application dials it, an IP address each; `[v6]:port`. */
  readonly servers: readonly string[];
  /** The nodes that applications have as their root, as in `/team`; none for the ensemble's own. */
  readonly chroots: readonly string[];
  /** The address by which other hosts reach the application; its published ports listen there. */
  readonly host: string;
}

export interface CrossingNameArguments {
  readonly name: string;
}

export interface CrossingStepArguments {
  readonly name: string;
  readonly to: Place;
  /** Those sessions only, by id; every session of the crossing when left out, and then also those that begin later. */
  readonly sessions?: readonly string[];
  /** How long both addresses stand side by side, 0 to 60,000 ms; 6,000 when left out, which is what Dubbo 3 needs to take every change. */
  readonly overlapMs?: number;
}

export interface CrossingDoor {
  /** As in `CrossingOpenArguments`. */
  readonly server: string;
  /** Where its connections have to arrive, on loopback. */
  readonly port: number;
}

export interface CrossingRegistration {
  readonly session: string;
  /** The node of the registration, as the application wrote it. */
  readonly path: string;
  /** Canonical service text. */
  readonly service: string;
  readonly application: string;
  /** Where the application itself listens. */
  readonly host: string;
  readonly appPort: number;
  /** `host:port` in the mesh; empty when it is not carried. */
  readonly published: string;
  /** Why it cannot be carried; empty when it can. */
  readonly bypassed: string;
  /** What subscribers see of it now. */
  readonly state: Place | "both";
}

export interface CrossingSession {
  /** In hexadecimal digits. */
  readonly id: string;
  /** The application's end of the connection as the sidecar sees it, `host:port`. */
  readonly remote: string;
  readonly connected: boolean;
  /** What it is shown of others. */
  readonly consumes: Place | "both";
  /** The paths of the lists that it has asked for. */
  readonly lists: readonly string[];
}

export interface Crossing {
  readonly name: string;
  readonly doors: readonly CrossingDoor[];
  readonly chroots: readonly string[];
  readonly host: string;
  /** How new sessions begin. */
  readonly provides: Place;
  readonly consumes: Place;
  readonly sessions: readonly CrossingSession[];
  readonly registrations: readonly CrossingRegistration[];
  /** Connections that come through the doors now. */
  readonly connections: number;
}

export interface CrossingList {
  readonly crossings: readonly Crossing[];
  /** Where this sidecar's instances come from; only `zookeeper` can be crossed to. */
  readonly directory: {
    readonly kind: string;
    readonly addresses: readonly string[];
    readonly chroot: string;
  };
  /** `host:port` where this host's applications call, for stand-ins. */
  readonly outbound: string;
  /** The figures of the data path since the sidecar began, one entry for each series. */
  readonly figures: readonly CrossingFigures[];
}

export interface CrossingFigures {
  readonly direction: "inbound" | "outbound";
  readonly source: string;
  readonly service: string;
  readonly protocol: string;
  /** Requests by result, as the sidecar's metrics name results: `ok`, `error` (the application said so), `timeout`, `unavailable`, … */
  readonly results: Readonly<Record<string, number>>;
  /** All results together: upper bounds in milliseconds and how many were in each; one more count than bounds. */
  readonly boundsMs: readonly number[];
  readonly counts: readonly number[];
  readonly sumMs: number;
}
