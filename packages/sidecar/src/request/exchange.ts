/**
 * One exchange: a request and what answers it. The record lives from the request's last byte to the answer, the deadline or the loss
 * of the caller, whichever is first. Frame protocols give request and answer whole; streamed ones give them as head, data with credit, trailers,
 * end or cancel (http-exchange.ts; docs/adr/0003 walks an HTTP/2 stream through these types).
 */
import type { WheelEntry } from "@dualmesh/base/timer-wheel";
import { FrameError, type MessageEvents } from "@dualmesh/wire/codec";
import type { Http1Head } from "@dualmesh/wire/http1/head";
import { frameKind, type PendingHead, type ReplyReason, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import type { Result, Series } from "../metrics.ts";
import type { EndpointPool } from "../upstream/endpoint-pool.ts";
import type { InFlight } from "../upstream/pending.ts";
import type { FramePool } from "../upstream/pool.ts";
import type { HttpExchange } from "./http-exchange.ts";
import type { Replayable, ReplayRing } from "./replay.ts";
import type { Route } from "./routes.ts";

/** Who asked, as far as an exchange needs to know. */
export interface Caller {
  readonly codec: RpcCodec;
  /** What its library is (`RpcCodec.writer`): callers of different ones never share a connection. */
  readonly writer: number;
  readonly closed: boolean;
  /** Passes an answer on; copies it. */
  reply(bytes: Buffer, start: number, end: number): void;
  /** The codec could not do its part for this caller: its connection is closed. */
  fault(error: FrameError): void;
}

export abstract class Exchange implements WheelEntry {
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;
  wheelDue = 0;
  /** Canonical text of what is called. */
  readonly service: string;
  /** Undefined while nothing is known of the service. */
  route: Route | undefined;
  readonly series: Series;
  readonly startedMs: number;
  readonly deadlineMs: number;
  /** The request itself while it waits for a connection or for the first answer about its service; undefined once sent. */
  held: Buffer | undefined = undefined;
  /** Where the request is: the object that must forget it when it ends early. */
  place: { forget(exchange: Exchange): void } | undefined = undefined;
  /** The pool that it was given to, and the one before that could not be reached. */
  pool: EndpointPool | undefined = undefined;
  tried: EndpointPool | undefined = undefined;
  /** What answers it has begun to come: it has no deadline any more. */
  flowing = false;
  ended = false;

  constructor({ service, series, route, startedMs, deadlineMs }: ExchangeOrigin) {
    this.service = service;
    this.series = series;
    this.route = route;
    this.startedMs = startedMs;
    this.deadlineMs = deadlineMs;
  }

  /** Nobody waits for an answer, and none comes. */
  abstract readonly oneway: boolean;
  /** The caller has gone. */
  abstract readonly callerGone: boolean;
  /**
   * Gives the request, whole or what there is of it in `bytes[start, start + size)`, to an endpoint. `replay`: it may have to be given to another
   * one later, and is kept there. False when the endpoint takes no more.
   */
  abstract sendTo(pool: EndpointPool, bytes: Buffer, start: number, size: number, replay?: ReplayRing): boolean;
  /** Answers in the provider's place. */
  abstract answer(reason: ReplyReason, text: string): void;
  /** Ends what is under way at the endpoint. */
  drop(_reason: string): void {}
}

/** Of a protocol of whole frames. */
export class FrameExchange extends Exchange implements InFlight, PendingHead, Replayable {
  upstreamId = 0;
  readonly caller: Caller;
  readonly codec: RpcCodec;
  /** The request's own id and what an answer must repeat. */
  readonly id: number;
  readonly idHigh: number;
  readonly version: number;
  readonly serialization: number;
  readonly flags: number;
  readonly oneway: boolean;
  replayAt = -1;
  replaySize = 0;

  constructor(caller: Caller, frame: RpcFrame, origin: ExchangeOrigin) {
    super(origin);
    const codec = caller.codec;
    this.caller = caller;
    this.codec = codec;
    this.id = frame.id;
    this.idHigh = frame.idHigh;
    this.version = frame.version;
    this.serialization = frame.serialization;
    this.flags = codec.replyFlags(frame);
    this.oneway = frame.kind === frameKind.oneway;
  }

  get callerGone(): boolean {
    return this.caller.closed;
  }

  sendTo(pool: EndpointPool, bytes: Buffer, start: number, size: number, replay?: ReplayRing): boolean {
    replay?.keep(this, bytes, start, size);
    // The pools of a protocol of whole frames are such pools.
    try {
      const connection = (pool as FramePool).connectionFor(size, this.caller.writer);
      return connection.send(this, bytes, start, size) === undefined;
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.caller.fault(error);
      return true;
    }
  }

  answer(reason: ReplyReason, text: string): void {
    if (this.oneway || this.caller.closed) return;
    try {
      const reply = this.codec.errorReplyTo(this, reason, text);
      this.caller.reply(reply, 0, reply.length);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.caller.fault(error);
    }
  }
}

export interface ExchangeOrigin {
  readonly service: string;
  readonly series: Series;
  readonly route: Route | undefined;
  readonly startedMs: number;
  readonly deadlineMs: number;
}

/** What becomes of an exchange whose two sides are joined while it lasts. */
export interface StreamOwner {
  /** The connection to the endpoint was never made: nothing was sent. */
  notSent(exchange: Exchange, pool: EndpointPool, reason: string): void;
  /** The final response of HTTP has begun. Returns false when it is not passed on, since the request goes elsewhere. */
  responding(exchange: HttpExchange, head: Http1Head): boolean;
  /** Bytes pass in both directions from now on, for as long as they like. */
  joined(exchange: Exchange): void;
  /** An HTTP exchange broke before the response was whole. */
  broken(exchange: HttpExchange, reason: string, malformed: boolean): void;
  /** An HTTP exchange is over, in order. */
  finished(exchange: HttpExchange): void;
  /** A connection that carried bytes is over. */
  parted(exchange: Exchange, result: Result): void;
  /** The caller is gone. */
  abandoned(exchange: Exchange): void;
  /** It goes on in another process, which counts it. */
  moved(exchange: Exchange): void;
}

/** The same exchange for a streamed protocol: each side is the other's sink, and `credit` runs against the data. */
export type ExchangeStream<Head> = Pick<
  MessageEvents<Head>,
  "head" | "data" | "trailers" | "end" | "cancel" | "credit"
>;
