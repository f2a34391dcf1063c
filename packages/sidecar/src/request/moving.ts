/**
 * What is said of a caller's connection when it goes to another process: enough that the next byte that is read there means what it would have
 * meant here. The connection itself goes by its descriptor (../upgrade/).
 */
import type { PendingHead } from "@dualmesh/wire/rpc";
import type { Endpoint } from "../snapshot.ts";

/** Why a connection cannot go right now. Each passes by itself, or by the drain's deadline; they are counted by these names. */
export type Obstacle =
  | "exchange" /* an HTTP exchange is under way */
  | "unread" /* the peer has not taken what was written */
  | "dialling" /* the endpoint's connection is not there yet */
  | "closing";

/** The conversation of bytes with an endpoint: of tcp, or what HTTP has become after it has switched protocols. */
export interface MovedBytes {
  readonly service: string;
  readonly endpoint: Endpoint;
  readonly callerEnded: boolean;
  readonly endpointEnded: boolean;
  /** A byte has passed in either direction. */
  readonly spoken: boolean;
}

/** An endpoint's connection that stands still, and the conversation with it. */
export interface MovedEndpoint {
  readonly bytes: MovedBytes;
  readonly descriptor: number;
  /** This side has said that nothing more is written. */
  readonly wroteAll: boolean;
}

export interface MovedState {
  /** Empty while the first bytes have not said which it is. */
  readonly protocol: string;
  /** Bytes that were read and have to be read again. */
  readonly residual: Buffer;
  /** The calling application; empty until its first request has said it. */
  readonly source: string;
  /** Its library (`RpcCodec.writer`). */
  readonly writer: number;
  readonly isLoop: boolean;
  /** The caller was asked to send nothing new. */
  readonly leaving: boolean;
  readonly bytes?: MovedBytes;
}

/** A connection that stands still: what is to be said of it, and the endpoint's connection where that goes as well. */
export interface Frozen {
  readonly state: MovedState;
  readonly descriptors: readonly number[];
  /** For each of them, whether this side has said that nothing more is written. */
  readonly wroteAll: readonly boolean[];
}

export function isObstacle(answer: Frozen | Obstacle): answer is Obstacle {
  return typeof answer === "string";
}

/** Takes, in order, what is still said to a caller whose connection has gone. */
export type Relay = (bytes: Buffer, start: number, end: number) => void;

/** A request that another process still has an answer for. */
export interface OwedReply extends PendingHead {
  /** So that it is found by the answer. */
  readonly service: string;
}
