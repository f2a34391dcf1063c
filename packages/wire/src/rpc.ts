/**
 * What the sidecar knows of a multiplexed RPC protocol (Bolt, Dubbo): a frame codec whose frames have a request id that can be
 * rewritten in place, a service and a method that can be read without the body, and answers that can be made.
 */
import type { FrameCodec } from "./codec.ts";

export const frameKind = {
  request: 0,
  oneway: 1,
  response: 2,
  heartbeat: 3,
  heartbeatReply: 4,
  readOnly: 5,
  event: 6,
} as const;
export type FrameKind = (typeof frameKind)[keyof typeof frameKind];

/** A decoded frame: numbers that refer to `bytes`, filled anew by each `decode`. */
export interface RpcFrame {
  bytes: Buffer;
  /** Where the frame begins in `bytes`, and its whole size. */
  offset: number;
  size: number;
  kind: FrameKind;
  /** The request id: Bolt has 32 bits (`idHigh` is 0), Dubbo 64. Both unsigned. */
  id: number;
  idHigh: number;
  /** The protocol's own status of a response; 0 otherwise. */
  status: number;
  /** The protocol's number of the body's serialisation. */
  serialization: number;
  /** The caller's patience as the frame states it, in milliseconds; 0 when it states none. */
  timeoutMs: number;
  /** Protocol version of the frame (Bolt 1 or 2; Dubbo 2). */
  version: number;
}

/** Why the sidecar answers a request itself. */
export type ReplyReason =
  | "no-provider" /* nobody offers the service */
  | "unreadable" /* the service cannot be read from the frame (serialisation) */
  | "timeout" /* the deadline passed */
  | "unreached" /* endpoints exist and none could be reached: nothing was sent, whoever reads this may try elsewhere */
  | "unavailable" /* the connection broke with the request in flight: it may have been carried out */
  | "overload" /* a limit was reached */
  | "denied"; /* not authorised */

export interface RpcCodec<Frame extends RpcFrame = RpcFrame> extends FrameCodec<Frame> {
  /**
   * The service as far as the head tells, as a text of the protocol to look up in the snapshot: Bolt `interface:version[:uniqueId]`,
   * Dubbo `path:version` (`0.0.0` as empty). Undefined when this serialisation cannot be read. Only for requests and oneways.
   */
  service(frame: Frame): string | undefined;
  /** Why `service` gave nothing for this request, for its caller to read. */
  unreadable(frame: Frame): string;
  method(frame: Frame): string | undefined;
  /** What tells services apart that share `service(frame)`: Dubbo's group, by the Hessian skipper. Undefined when it cannot be reached. */
  group(frame: Frame): string | undefined;
  /** The header or attachment in which an application says its own name. */
  readonly applicationHeader: string;
  /** A header (Bolt) or attachment (Dubbo) by name; costs a walk. */
  header(frame: Frame, name: string): string | undefined;
  /** Rewrites the request id of the whole frame that begins at `offset` of `bytes` (and patches what is derived from it, such as Bolt's CRC). */
  rewriteId(bytes: Buffer, offset: number, size: number, idHigh: number, id: number): void;
  /** The answer to the request in `frame`, as a client of this protocol expects it. */
  errorReply(frame: Frame, reason: ReplyReason, text: string): Buffer;
  /**
   * The same from what a pending request remembers. `version`, `serialization` and the id are those of its request, `flags` what the
   * codec gave as `replyFlags`.
   */
  errorReplyTo(request: PendingHead, reason: ReplyReason, text: string): Buffer;
  /** What `errorReplyTo` needs beside id, version and serialisation (Bolt's CRC switch), as one small number. */
  replyFlags(frame: Frame): number;
  /** A heartbeat of our own to an upstream that was idle. */
  heartbeat(id: number): Buffer;
  /** Tells a caller that no new request should come here: Dubbo's read-only event. Undefined where the protocol has no such frame. */
  farewell(): Buffer | undefined;
  /** The answer to the heartbeat in `frame`. */
  heartbeatReply(frame: Frame): Buffer;
  /** True when a response says that the server is healthy but refuses or failed (counted as error in metrics). */
  failed(frame: Frame): boolean;
  /** True for an `unreached` answer of another sidecar: the application never saw the request. */
  unreached(frame: Frame): boolean;
  /**
   * The library that wrote the body of a request, as a number; 0 where it does not matter. Requests of different writers must not share
   * a connection to a server that keeps class definitions by name per connection (npm's sofa-rpc-node does), since two libraries
   * order the fields of one class differently.
   */
  writer(frame: Frame): number;
}

export interface PendingHead {
  readonly id: number;
  readonly idHigh: number;
  readonly version: number;
  readonly serialization: number;
  readonly flags: number;
}
