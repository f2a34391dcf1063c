/**
 * The way of a connection that speaks HTTP/1.1: one exchange at a time, in the order in which requests come. While one is under way the next is
 * not read; what was read of it already waits. A request's service is named by the port that it came to, never by what the caller wrote.
 */
import type { ByteBudget } from "@dualmesh/base/byte-budget";
import { type Framing, framing, type Http1Head, method } from "@dualmesh/wire/http1/head";
import { Http1Error } from "@dualmesh/wire/http1/limits";
import { field } from "@dualmesh/wire/http1/names";
import { Http1Reader, readEvent } from "@dualmesh/wire/http1/reader";
import { plainAnswer } from "@dualmesh/wire/http1/reply";
import { sniffHttp1 } from "@dualmesh/wire/http1/sniff";
import { type FieldEdit, type Forwarding, fieldEdit } from "@dualmesh/wire/http1/writer";
import type { DataMetrics, Direction } from "../metrics.ts";
import type { Transport } from "../transport/transport.ts";
import type { HttpUpstream } from "../upstream/http-connection.ts";
import type { Downstream } from "./downstream.ts";
import type { Exchange, ExchangeOrigin, StreamOwner } from "./exchange.ts";
import { answers, proxyStatus, proxyStatusPassed } from "./http-answers.ts";
import { congestedBytes, HttpExchange } from "./http-exchange.ts";
import { authorityOf, ForwardedFields, locationFor } from "./http-fields.ts";
import { wantsWebSocket, writeHead, writtenHead } from "./http-heads.ts";
import type { Frozen, MovedState, Obstacle } from "./moving.ts";
import type { RouteTable } from "./routes.ts";
import { tcpProtocolName } from "./tcp-way.ts";
import type { AddressedCaller, CarriedProtocol, Rejection, Way } from "./way.ts";

export interface HttpLimits {
  /** From the first byte of a request's head to its last. */
  readonly httpHeadMs: number;
  /** Without a byte of a request's body, or without a byte of a response taken. */
  readonly httpBodyMs: number;
  /** Between two requests. */
  readonly httpKeepAliveMs: number;
  /** After a switch of protocols, without a byte in either direction. */
  readonly idleMs: number;
}

export interface HttpWayContext {
  readonly metrics: DataMetrics;
  readonly limits: HttpLimits;
  /** The budget of partial heads, and of what waits behind an exchange. */
  readonly partialFrames: ByteBudget;
  readonly now: () => number;
  /** Takes a request whose head has come. */
  readonly take: (caller: HttpWay) => void;
}

/** HTTP/1.1 as a port carries it. */
export function httpProtocol(context: HttpWayContext): CarriedProtocol {
  return { protocol: "http", sniff: sniffHttp1, open: (downstream) => new HttpWay(downstream, context) };
}

const noBytes = Buffer.alloc(0);
/** A connection at rest for so long holds no memory of its last request. */
const forgetMs = 2_000;
const noEdits: readonly FieldEdit[] = [];
const statusPassed: readonly FieldEdit[] = [proxyStatusPassed];

export class HttpWay implements Way, AddressedCaller {
  readonly protocol = "http";
  readonly direction: Direction;
  readonly table: RouteTable;
  readonly transport: Transport;
  /** The service whose own address was called; undefined at a port that is not one service's. */
  readonly service: string | undefined;
  readonly #downstream: Downstream;
  readonly #context: HttpWayContext;
  readonly #reader: Http1Reader;
  readonly #forwarded: ForwardedFields;
  readonly #forwarding: Forwarding = {
    edits: noEdits,
    framing: framing.none,
    close: false,
    keepAlive: false,
    upgrade: false,
  };
  closed = false;
  /** The calling application; empty until its first request. */
  source = "";
  isLoop = false;
  exchange: HttpExchange | undefined = undefined;
  /** The present request's last byte was read. */
  #read = true;
  /** What was read and has to wait, from `#restAt` on. */
  #rest: Buffer | undefined;
  #restAt = 0;
  #reading = false;
  #paused = false;
  /** The endpoint does not take what this caller sends. */
  #congested = false;
  /** The caller does not take its answers: no further request is read. */
  #behind = false;
  #tunnel = false;
  #closeAfter = false;
  /** What is to be read first when a connection that stood still goes on. */
  #residual: Buffer = noBytes;
  #leaving = false;
  #peerEnded = false;
  #counted = 0;
  #activeMs: number;
  /** When the head that is not whole yet began; 0 while there is none. */
  #headSinceMs = 0;
  #drainedMs: number;

  constructor(downstream: Downstream, context: HttpWayContext) {
    this.direction = downstream.direction;
    this.table = downstream.table;
    this.transport = downstream.transport;
    this.service = downstream.service;
    this.#downstream = downstream;
    this.#context = context;
    this.#reader = new Http1Reader("client");
    this.#forwarded = new ForwardedFields(downstream.transport.remoteAddress, downstream.direction);
    this.#activeMs = this.#drainedMs = context.now();
  }

  get heldBytes(): number {
    return this.#reader.heldBytes + (this.#rest?.length ?? 0);
  }

  /** The endpoint of a tunnel has taken what it was sent: both may go to another process now. */
  taken(): void {
    this.resume();
    this.#downstream.quiet();
  }

  // ---- reading ----

  onBytes(bytes: Buffer, size: number): void {
    this.#activeMs = this.#context.now();
    this.#consume(bytes, 0, size);
  }

  #consume(bytes: Buffer, start: number, size: number): void {
    this.#reading = true;
    let at = start;
    try {
      while (!this.closed) {
        if (this.#tunnel) {
          if (at < size) this.exchange?.tunnelOn(bytes, at, size);
          break;
        }
        if (this.#behind || (this.exchange !== undefined && (this.#read || !this.exchange.sent))) {
          if (at < size) this.#hold(bytes, at, size);
          break;
        }
        const event = this.#reader.read(bytes, at, size);
        at = this.#reader.position;
        if (event === readEvent.more) break;
        this.#on(event, bytes);
      }
    } catch (error) {
      if (!(error instanceof Http1Error)) throw error;
      this.#refuse(error);
    } finally {
      this.#reading = false;
    }
    if (this.exchange !== undefined || this.#reader.idle) this.#headSinceMs = 0;
    else if (this.#headSinceMs === 0) this.#headSinceMs = this.#activeMs;
    this.#account();
  }

  #on(event: number, bytes: Buffer): void {
    const { exchange } = this;
    const reader = this.#reader;
    if (event === readEvent.head) {
      this.#downstream.finishedOne();
      this.#read = false;
      reader.head.retain();
      this.#context.take(this);
    } else if (event === readEvent.data) exchange?.requestData(bytes, reader.dataStart, reader.dataEnd);
    else if (event === readEvent.trailers) exchange?.requestTrailers(reader.trailers);
    else {
      this.#read = true;
      exchange?.requestEnd();
    }
  }

  /** Keeps what cannot be read yet, and reads nothing more until it can. What waited before, thousands of requests maybe, is not copied again. */
  #hold(bytes: Buffer, start: number, end: number): void {
    if (bytes === this.#rest) {
      this.#restAt = start;
      return;
    }
    const { partialFrames } = this.#context;
    if (!partialFrames.take(end - start)) return this.#downstream.cut("frame_budget", "too much waits to be read");
    const more = Buffer.from(bytes.subarray(start, end));
    this.#rest = this.#rest === undefined ? more : Buffer.concat([this.#rest, more]);
    this.#stopReading();
  }

  /** Reads on: what waited, then what comes. */
  goOn(): void {
    if (this.#reading || this.closed) return;
    const rest = this.#rest;
    if (rest === undefined) this.#consume(noBytes, 0, 0);
    else this.#readRest(rest);
    if (this.#rest === undefined && !this.#congested && !this.#behind) this.#startReading();
    if (this.#peerEnded && this.exchange === undefined && !this.#behind && !this.closed) this.transport.end();
  }

  #readRest(rest: Buffer): void {
    const from = this.#restAt;
    this.#restAt = rest.length;
    this.#consume(rest, from, rest.length);
    // Closed meanwhile, or some of it waits still.
    if (this.#rest !== rest || this.#restAt < rest.length) return;
    this.#rest = undefined;
    this.#restAt = 0;
    this.#context.partialFrames.give(rest.length);
  }

  /** The partial head counts among the memory of all that is not whole. */
  #account(): void {
    const held = this.closed ? 0 : this.#reader.heldBytes;
    const { partialFrames } = this.#context;
    if (held < this.#counted) partialFrames.give(this.#counted - held);
    else if (held > this.#counted && !partialFrames.take(held - this.#counted)) {
      this.#downstream.cut("frame_budget", "partial heads use all the memory that they may");
      return;
    }
    this.#counted = held;
  }

  #stopReading(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.transport.pause();
  }

  #startReading(): void {
    if (!this.#paused || this.closed) return;
    this.#paused = false;
    this.transport.resume();
  }

  /** The endpoint does not take what this caller sends. */
  pause(): void {
    this.#congested = true;
    this.#stopReading();
  }

  resume(): void {
    if (!this.#congested) return;
    this.#congested = false;
    this.#activeMs = this.#context.now();
    if (this.#rest === undefined) this.#startReading();
  }

  onDrain(): void {
    this.#drainedMs = this.#context.now();
    if (this.#behind) {
      this.#behind = false;
      this.#activeMs = this.#drainedMs;
      if (!this.#downstream.quiet()) this.goOn();
    } else this.exchange?.callerDrained();
  }

  /** True when more waits for the caller than it may leave unread, after the kernel was asked to take it. */
  fallsBehind(): boolean {
    const { transport } = this;
    if (transport.queuedBytes <= congestedBytes) return false;
    transport.flush();
    return transport.queuedBytes > congestedBytes;
  }

  /** Bytes pass from here on, in both directions. */
  startTunnel(): void {
    this.#tunnel = true;
    this.goOn();
  }

  // ---- the request goes on ----

  get unfit(): string | undefined {
    return this.head.method === method.CONNECT ? "CONNECT is not carried" : undefined;
  }

  begin(origin: ExchangeOrigin, owner: StreamOwner): Exchange {
    this.exchange = new HttpExchange(this, this.head, owner, origin);
    return this.exchange;
  }

  /** Writes the head of the present request to an endpoint's connection. */
  forward(head: Http1Head, upstream: HttpUpstream): void {
    const forwarding = this.#forwarding;
    const endpoint = upstream.pool.endpoint;
    forwarding.edits = this.#forwarded.edits(head, authorityOf(endpoint), upstream.localAddress);
    forwarding.framing = head.framing;
    forwarding.close = false;
    forwarding.keepAlive = false;
    forwarding.upgrade = wantsWebSocket(head);
    upstream.expect(head.method);
    const size = writeHead(head, forwarding);
    upstream.write(writtenHead(), 0, size);
  }

  get head(): Http1Head {
    return this.#reader.head;
  }

  // ---- answers ----

  interim(head: Http1Head): void {
    this.#activeMs = this.#context.now();
    if (this.head.minor === 0) return;
    this.#writeHead(head, framing.none, noEdits, false);
  }

  /** Writes the head of the response; returns how its body is framed here. */
  respond(exchange: HttpExchange, head: Http1Head): Framing {
    const request = this.head;
    let framed = head.framing;
    if (framed === framing.tunnel) {
      this.#writeHead(head, framing.none, noEdits, true);
      return framed;
    }
    if (framed === framing.untilClose && request.minor === 1) framed = framing.chunked;
    else if (framed === framing.chunked && request.minor === 0) framed = framing.untilClose;
    this.#closeAfter ||=
      !request.keepAlive || !exchange.requestDone || this.#leaving || this.#peerEnded || framed === framing.untilClose;
    const location = head.fields.find(field.location);
    const signed = this.#statusEdits(head);
    const moves = location >= 0 && signed === noEdits;
    const edits = moves ? this.#locationEdits(exchange, head.fields.value(location)) : signed;
    this.#writeHead(head, framed, edits, false);
    return framed;
  }

  /** Only a sidecar's own answer says that its application never saw the request. */
  #statusEdits(head: Http1Head): readonly FieldEdit[] {
    const claims = this.direction === "inbound" && head.status === 503 && head.fields.findName("proxy-status") >= 0;
    return claims ? statusPassed : noEdits;
  }

  #locationEdits(exchange: HttpExchange, value: string): readonly FieldEdit[] {
    const endpoint = exchange.pool?.endpoint;
    const moved = endpoint === undefined ? undefined : locationFor(value, endpoint, this.#forwarded.callerAuthority);
    return moved === undefined ? noEdits : [fieldEdit("location", "replace", moved)];
  }

  #writeHead(head: Http1Head, framed: Framing, edits: readonly FieldEdit[], upgrade: boolean): void {
    const forwarding = this.#forwarding;
    forwarding.edits = edits;
    forwarding.framing = framed;
    forwarding.close = this.#closeAfter;
    forwarding.keepAlive = !this.#closeAfter && this.head.minor === 0;
    forwarding.upgrade = upgrade;
    const size = writeHead(head, forwarding);
    this.transport.write(writtenHead(), 0, size);
  }

  /** Whether a switch of protocols is what was asked for. */
  switches(head: Http1Head): boolean {
    return head.status === 101 && wantsWebSocket(this.head);
  }

  reject(reason: Rejection, text: string): void {
    // What follows a CONNECT may have been meant for the tunnel, and is no request then (RFC 9931 section 5).
    this.#closeAfter ||= this.head.method === method.CONNECT;
    const [status, error] = answers[reason];
    this.answer(status, error, text);
  }

  /** Answers in the application's place. `error` is one of RFC 9209's. */
  answer(status: number, error: string, text: string): void {
    const request = this.head;
    const whole = this.#read || request.framing === framing.none;
    this.#closeAfter ||= !request.keepAlive || !whole || this.#leaving || this.#peerEnded;
    this.#write({ status, error, text, head: request.method === method.HEAD });
    this.over();
  }

  #write({ status, error, text, head }: { status: number; error: string; text: string; head: boolean }): void {
    const fields = [["proxy-status", proxyStatus(error, text)]] as const;
    const bytes = plainAnswer({ status, text, fields, close: this.#closeAfter, head });
    this.transport.write(bytes, 0, bytes.length);
  }

  /** What came is no request: answered where nothing else is being answered, and closed. */
  #refuse(error: Http1Error): void {
    const { exchange } = this;
    this.#context.metrics.event("malformed");
    this.#closeAfter = true;
    if (exchange?.responded === true) {
      exchange.abandon();
      return this.transport.destroy(error.reason);
    }
    this.exchange = undefined;
    exchange?.abandon();
    this.#write({ status: error.status, error: "http_request_error", text: error.reason, head: false });
    this.over();
  }

  /** The exchange has ended: the next one, or the end of the connection. */
  over(nowMs: number = this.#context.now()): void {
    this.exchange = undefined;
    this.#tunnel = false;
    this.#congested = false;
    this.#activeMs = nowMs;
    if (this.closed) return;
    if (this.#closeAfter) return this.#end();
    this.#behind = this.fallsBehind();
    if (this.#behind) this.#stopReading();
    else if (!this.#downstream.quiet()) this.goOn();
  }

  /** The response broke in the middle: the caller must not take what it has for the whole. */
  breakOff(reason: string): void {
    this.exchange = undefined;
    this.transport.reset(reason);
  }

  /** What the caller still sends is read and forgotten, so that the answer is not lost by a reset. */
  #end(): void {
    this.closed = true;
    this.#forget();
    this.transport.resume();
    this.transport.flush();
    // What the caller has not taken yet has the time that any response has: `sweep` ends it.
    if (this.transport.queuedBytes > 0) this.transport.endWriting();
    else this.transport.end();
  }

  // ---- the end, and once a second ----

  /** True when the caller only stopped sending: its answer is still to come. */
  onEnd(): boolean {
    this.#peerEnded = true;
    const { exchange } = this;
    if (exchange === undefined) return this.closed && this.transport.queuedBytes > 0;
    if (exchange.tunnel) {
      exchange.callerEnded();
      return true;
    }
    // A request that will never be whole has nobody to answer to.
    return exchange.requestDone;
  }

  onClose(): void {
    this.closed = true;
    this.#forget();
    const { exchange } = this;
    this.exchange = undefined;
    exchange?.abandon();
  }

  #forget(): void {
    const { partialFrames } = this.#context;
    partialFrames.give(this.#counted + (this.#rest?.length ?? 0));
    this.#counted = 0;
    this.#rest = undefined;
    this.#restAt = 0;
  }

  /**
   * The next response says that it is the last. A connection at rest is left alone: a request may be on its way on it, and would be lost
   * with it.
   */
  farewell(): void {
    this.#leaving = true;
  }

  /** Closes what is stuck. The caller's own times: a head, a body, a pause between two requests, a response that is not taken. */
  sweep(nowMs: number): void {
    const { httpBodyMs, idleMs } = this.#context.limits;
    // After a long silence the time of what is sent now begins now.
    if (this.transport.queuedBytes === 0) this.#drainedMs = nowMs;
    else if (nowMs - this.#drainedMs > httpBodyMs) {
      this.#context.metrics.event("downstream_cut");
      return this.transport.reset(`takes nothing of its response for ${httpBodyMs} ms`);
    }
    if (this.closed) {
      if (this.transport.queuedBytes === 0) this.transport.end();
      return;
    }
    const { exchange } = this;
    const quietMs = nowMs - this.#activeMs;
    if (exchange === undefined) this.#sweepAtRest(nowMs, quietMs);
    else if (this.#tunnel) {
      if (quietMs > idleMs && nowMs - exchange.heardMs > idleMs) this.#downstream.cut("idle_closed", "idle");
    } else if (this.#awaitsBody(exchange) && quietMs > httpBodyMs)
      this.#timeOut("slow_frame", `nothing of the request's body came for ${httpBodyMs} ms`);
  }

  /** It is the caller's turn, and nobody else's, to send of its body. */
  #awaitsBody(exchange: HttpExchange): boolean {
    return !this.#read && exchange.sent && !exchange.requestDone && !exchange.awaitsContinue && !this.#congested;
  }

  #sweepAtRest(nowMs: number, quietMs: number): void {
    const { httpHeadMs, httpKeepAliveMs } = this.#context.limits;
    if (this.#behind) return;
    if (!this.#reader.idle) {
      if (nowMs - this.#headSinceMs > httpHeadMs)
        this.#timeOut("slow_frame", `a request took longer than ${httpHeadMs} ms`);
    } else if (quietMs > httpKeepAliveMs) this.#end();
    else if (quietMs > forgetMs) {
      this.#reader.forget();
      this.#account();
    }
  }

  #timeOut(event: "slow_frame", text: string): void {
    this.#context.metrics.event(event);
    const { exchange } = this;
    if (exchange?.responded === true) return this.transport.destroy(text);
    this.#closeAfter = true;
    this.exchange = undefined;
    exchange?.abandon();
    this.#write({ status: 408, error: "http_request_error", text, head: false });
    this.over();
  }

  // ---- to another process ----

  freeze(): Frozen | Obstacle {
    const { transport, exchange } = this;
    if (this.closed) return "closing";
    if (exchange?.tunnel === true) return this.#freezeTunnel(exchange);
    if (exchange?.untouched === false) return "exchange";
    if (this.#behind) return "unread";
    if (!transport.freeze()) return transport.descriptor === undefined ? "closing" : "unread";
    const waits = this.#rest?.subarray(this.#restAt) ?? noBytes;
    const begun = exchange === undefined ? (this.#reader.residual() ?? noBytes) : this.#reader.unread();
    this.exchange = undefined;
    exchange?.unbegin();
    const residual = Buffer.concat([begun, waits]);
    this.#residual = residual;
    const { protocol, source, isLoop } = this;
    const state = { protocol, source, writer: 0, isLoop, leaving: this.#leaving, residual };
    return { state, descriptors: [transport.descriptor as number], wroteAll: [transport.wroteAll] };
  }

  /** From the switch on it is bytes, and goes as those of any other connection do: both ends, or none. */
  #freezeTunnel(exchange: HttpExchange): Frozen | Obstacle {
    const { transport, source, isLoop } = this;
    // Bytes that wait were read before there was a tunnel, and are passed on in the same turn.
    if (this.#rest !== undefined) return "exchange";
    const moved = exchange.freeze(this.#peerEnded);
    if (typeof moved === "string") return moved;
    if (!transport.freeze()) {
      exchange.thaw();
      return transport.descriptor === undefined ? "closing" : "unread";
    }
    return {
      state: {
        ...{ protocol: tcpProtocolName, source, writer: 0, isLoop, leaving: false, residual: noBytes },
        bytes: moved.bytes,
      },
      descriptors: [transport.descriptor as number, moved.descriptor],
      wroteAll: [transport.wroteAll, moved.wroteAll],
    };
  }

  thaw(): void {
    if (this.closed) return;
    if (this.exchange?.tunnel === true) {
      this.transport.thaw();
      return this.exchange.thaw();
    }
    this.#forget();
    this.transport.thaw();
    const residual = this.#residual;
    this.#residual = noBytes;
    if (residual.length > 0) this.#consume(Buffer.from(residual), 0, residual.length);
  }

  surrender(): void {
    const { exchange } = this;
    this.exchange = undefined;
    this.transport.letGo();
    exchange?.surrender();
    this.closed = true;
    this.#forget();
  }

  inherit({ source, isLoop, leaving }: MovedState): void {
    this.source = source;
    this.isLoop = isLoop;
    this.#leaving = leaving;
  }
}
