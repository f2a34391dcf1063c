/**
 * The messages of the registry stream as values, and their numbers. `encode.ts` writes them, `decode.ts` reads them,
 * docs/registry-stream.md says when they are sent.
 */
import type { Digest } from "./digest.ts";
import type { Revision } from "./payload.ts";

/** Numbers below 0x80 must be understood; a receiver passes over unknown ones from 0x80 on. */
export const messageType = {
  hello: 0x01,
  helloAck: 0x02,
  register: 0x03,
  registered: 0x04,
  deregister: 0x05,
  deregistered: 0x06,
  superseded: 0x07,
  reported: 0x08,
  subscribe: 0x09,
  unsubscribe: 0x0a,
  snapshot: 0x0b,
  delta: 0x0c,
  ping: 0x0d,
  pong: 0x0e,
  error: 0x0f,
  goodbye: 0x10,
} as const;

export const nodeKinds = ["sidecar", "sdk", "bridge"] as const;
export type NodeKind = (typeof nodeKinds)[number];

/** What can be subscribed to: the instances of one service, or the names and applications of all services that match a pattern. */
export type FeedKind = "service" | "catalogue";

/** Why an entry left a set: its owner took it back, or its owner's lease ended. */
export type RemovalReason = "withdrawn" | "expired";

export const errorCodes = {
  malformed: 1,
  version: 2,
  unauthorised: 3,
  limit: 4,
  busy: 5,
  unexpected: 6,
  "hello-timeout": 7,
  internal: 8,
} as const;
export type StreamErrorCode = keyof typeof errorCodes;

export const goodbyeReasons = {
  /** The client ends in order: what its session published goes at once. */
  orderly: 1,
  /** The registry stops; leases stay for the grace time. */
  "shutting-down": 2,
  /** Another connection took the session over; this one must not come back with its token. */
  "taken-over": 3,
  /** The client did not read what it was sent. */
  "slow-consumer": 4,
  /** Nothing was heard from the client. */
  silent: 5,
} as const;
export type GoodbyeReason = keyof typeof goodbyeReasons;

export interface Hello {
  readonly type: "hello";
  /** The lowest and the highest version of messages that the client speaks. */
  readonly versions: readonly [number, number];
  readonly kind: NodeKind;
  readonly features: number;
  readonly nodeId: string;
  /** Software and version, to show. */
  readonly agent: string;
  readonly credentials: Buffer;
  /** Empty, or the token of a session to continue. */
  readonly token: Buffer;
}

export interface StreamLimits {
  readonly frameBytes: number;
  readonly instances: number;
  readonly subscriptions: number;
  /** Patterns of the catalogue among the subscriptions. */
  readonly patterns: number;
  readonly pingMs: number;
  readonly graceMs: number;
}

export interface HelloAck {
  readonly type: "helloAck";
  readonly version: number;
  readonly features: number;
  readonly session: Revision;
  /** The session's token when it is new, empty when an old one is continued. */
  readonly token: Buffer;
  /** The session of the token goes on with its leases. */
  readonly resumed: boolean;
  readonly settled: boolean;
  /** Revisions of different registries cannot be compared. */
  readonly registryId: Buffer;
  readonly epoch: number;
  readonly limits: StreamLimits;
}

export interface Register {
  readonly type: "register";
  readonly request: number;
  /** Take the key whoever owns it. Without, only if nobody accepted it after `held`. */
  readonly claim: boolean;
  /** The stamp under which this client last held the key; zero when it never did. */
  readonly held: Revision;
  readonly service: string;
  readonly record: Buffer;
}

export interface Registered {
  readonly type: "registered";
  readonly request: number;
  /** Orders the owners of a key. */
  readonly stamp: Revision;
  /** The service's newest revision, in which the instance is. */
  readonly revision: Revision;
}

export interface Deregister {
  readonly type: "deregister";
  readonly request: number;
  readonly session: Revision;
  readonly incarnation: number;
  readonly service: string;
  readonly key: Buffer;
}

export interface Deregistered {
  readonly type: "deregistered";
  readonly request: number;
  /** False when there was nothing of that session and incarnation. */
  readonly removed: boolean;
  readonly revision: Revision;
}

export interface Superseded {
  readonly type: "superseded";
  /** The register that was refused, or 0 when another owner took the key later. */
  readonly request: number;
  readonly stamp: Revision;
  readonly service: string;
  readonly key: Buffer;
}

/** Everything that the client publishes has been registered on this connection: what else its session owned goes. */
export interface Reported {
  readonly type: "reported";
}

export interface Subscribe {
  readonly type: "subscribe";
  readonly feed: FeedKind;
  /** Canonical service text, or a pattern. */
  readonly name: string;
  /** What the client holds already. */
  readonly from: { readonly revision: Revision; readonly digest: Digest } | undefined;
}

export interface Unsubscribe {
  readonly type: "unsubscribe";
  readonly feed: FeedKind;
  readonly name: string;
}

export interface Snapshot {
  readonly type: "snapshot";
  readonly feed: FeedKind;
  readonly name: string;
  readonly revision: Revision;
  /** Of the whole set. */
  readonly digest: Digest;
  readonly first: boolean;
  readonly last: boolean;
  /** Records of the whole set. */
  readonly total: number;
  readonly records: readonly Buffer[];
}

export interface Removal {
  readonly key: Buffer;
  readonly reason: RemovalReason;
}

export interface Delta {
  readonly type: "delta";
  readonly feed: FeedKind;
  readonly name: string;
  readonly from: Revision;
  readonly to: Revision;
  /** Of the set that results. */
  readonly digest: Digest;
  readonly added: readonly Buffer[];
  readonly changed: readonly Buffer[];
  readonly removed: readonly Removal[];
}

export interface Ping {
  readonly type: "ping";
  readonly sequence: number;
  readonly settled: boolean;
  /** The registry's newest revision; everything up to it that concerns this connection has been sent before this ping. */
  readonly revision: Revision;
  readonly subscriptions: number;
  /** The sum of `summaryTerm` over the subscriptions, as they were last sent on this connection. */
  readonly summary: Digest;
}

export interface Pong {
  readonly type: "pong";
  readonly sequence: number;
  /** The revision of the last ping whose summary was found equal: everything up to it is in force at the client. */
  readonly applied: Revision;
  readonly subscriptions: number;
  readonly summary: Digest;
}

export interface StreamFailure {
  readonly type: "error";
  /** The register or deregister that failed, or 0: then the connection closes. */
  readonly request: number;
  readonly code: StreamErrorCode;
  /** When to try again; 0 when trying again is of no use. */
  readonly retryAfterMs: number;
  readonly text: string;
}

export interface Goodbye {
  readonly type: "goodbye";
  readonly reason: GoodbyeReason;
  readonly text: string;
}

export type StreamMessage =
  | Hello
  | HelloAck
  | Register
  | Registered
  | Deregister
  | Deregistered
  | Superseded
  | Reported
  | Subscribe
  | Unsubscribe
  | Snapshot
  | Delta
  | Ping
  | Pong
  | StreamFailure
  | Goodbye;

export const zeroRevision: Revision = { epoch: 0, counter: 0 };

/** Negative, zero or positive as `one` is before, at or after `other`. */
export function compareRevisions(one: Revision, other: Revision): number {
  return one.epoch - other.epoch || one.counter - other.counter;
}

export function revisionText(revision: Revision): string {
  return `${revision.epoch}.${revision.counter}`;
}
