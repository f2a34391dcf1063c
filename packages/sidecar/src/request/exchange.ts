/**
 * One exchange: a request and what answers it. The record lives from the request's last byte to the answer, the deadline or the loss
 * of the caller, whichever is first. Frame protocols give request and answer whole; streamed ones (`MessageCodec`) will give them as
 * head, data with credit, trailers, end or cancel through `ExchangeStream`. docs/adr/0003 walks an HTTP/2 stream through these types.
 */
import type { WheelEntry } from "@dualmesh/base/timer-wheel";
import type { MessageEvents } from "@dualmesh/wire/codec";
import { frameKind, type PendingHead, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import type { Series } from "../metrics.ts";
import type { InFlight } from "../upstream/pending.ts";
import type { EndpointPool } from "../upstream/pool.ts";
import type { Replayable } from "./replay.ts";
import type { Route } from "./routes.ts";

/** Who asked, as far as an exchange needs to know. */
export interface Caller {
  readonly codec: RpcCodec;
  /** What its library is (`RpcCodec.writer`): callers of different ones never share a connection. */
  readonly writer: number;
  readonly closed: boolean;
  /** Passes an answer on; copies it. */
  reply(bytes: Buffer, start: number, end: number): void;
}

export class Exchange implements WheelEntry, InFlight, PendingHead, Replayable {
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;
  wheelDue = 0;
  upstreamId = 0;
  readonly caller: Caller;
  readonly codec: RpcCodec;
  /** Undefined while nothing is known of the service. */
  route: Route | undefined;
  series: Series;
  /** The request's own id and what an answer must repeat. */
  readonly id: number;
  readonly idHigh: number;
  readonly version: number;
  readonly serialization: number;
  readonly flags: number;
  readonly oneway: boolean;
  readonly startedMs: number;
  readonly deadlineMs: number;
  /** The request itself while it waits for a connection or for the first answer about its service; undefined once sent. */
  held: Buffer | undefined = undefined;
  /** Where the request is: the object that must forget it when it ends early. */
  place: { forget(exchange: Exchange): void } | undefined = undefined;
  /** The pool that it was given to, and the one before that could not be reached. */
  pool: EndpointPool | undefined = undefined;
  tried: EndpointPool | undefined = undefined;
  replayAt = -1;
  replaySize = 0;
  ended = false;

  constructor(caller: Caller, frame: RpcFrame, origin: ExchangeOrigin) {
    const codec = caller.codec;
    this.caller = caller;
    this.codec = codec;
    this.series = origin.series;
    this.route = origin.route;
    this.id = frame.id;
    this.idHigh = frame.idHigh;
    this.version = frame.version;
    this.serialization = frame.serialization;
    this.flags = codec.replyFlags(frame);
    this.oneway = frame.kind === frameKind.oneway;
    this.startedMs = origin.startedMs;
    this.deadlineMs = origin.deadlineMs;
  }
}

export interface ExchangeOrigin {
  readonly series: Series;
  readonly route: Route | undefined;
  readonly startedMs: number;
  readonly deadlineMs: number;
}

/** The same exchange for a streamed protocol: each side is the other's sink, and `credit` runs against the data. */
export type ExchangeStream<Head> = Pick<
  MessageEvents<Head>,
  "head" | "data" | "trailers" | "end" | "cancel" | "credit"
>;
