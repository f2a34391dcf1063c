/**
 * One HTTP/1.1 exchange: a caller's connection and an endpoint's, joined from the head of the request to the end of the response. Bodies
 * are passed on as they come, in both directions at once; whichever side does not take them stops the other. What is decided about the
 * exchange (where it goes, whether it is tried again, what it is answered) is its owner's (request.ts).
 */
import { chunkEnd, lastChunk, lastChunkWith, maxChunkHeadBytes, putChunkHead } from "@dualmesh/wire/http1/chunks";
import { type Fields, type Framing, framing, type Http1Head, method } from "@dualmesh/wire/http1/head";
import type { ReplyReason } from "@dualmesh/wire/rpc";
import type { EndpointPool } from "../upstream/endpoint-pool.ts";
import type { HttpCarried, HttpUpstream } from "../upstream/http-connection.ts";
import type { HttpPool } from "../upstream/http-pool.ts";
import { Exchange, type ExchangeOrigin, type StreamOwner } from "./exchange.ts";
import { answers } from "./http-answers.ts";
import type { HttpWay } from "./http-way.ts";
import type { MovedEndpoint, Obstacle } from "./moving.ts";
import type { ReplayRing } from "./replay.ts";

/** Bytes that one side may leave unread before the other is not read any more. */
export const congestedBytes = 256 * 1024;
/** A request body up to this size is remembered, so that another endpoint can be asked when the first never saw it. */
const savedBytes = 16 * 1024;
/** Interim responses (1xx) of one exchange; a server that sends more means harm, or is broken. */
const maxInterims = 64;

const nothing = Buffer.alloc(0);
const chunkHead = Buffer.allocUnsafeSlow(maxChunkHeadBytes);

export class HttpExchange extends Exchange implements HttpCarried {
  readonly caller: HttpWay;
  readonly oneway = false;
  readonly #owner: StreamOwner;
  readonly method: HttpCarried["method"];
  readonly requestFraming: Framing;
  upstream: HttpUpstream | undefined = undefined;
  /** The head of the request is on its way; what follows may follow. */
  sent = false;
  #wasSent = false;
  /** The request was read whole. */
  requestDone = false;
  /** The head of the final response was passed on. */
  responded = false;
  /** Bytes are passed, and messages no more. */
  tunnel = false;
  #endpointEnded = false;
  /** Clock time of the last byte from the endpoint after a switch of protocols. */
  heardMs = 0;
  /** The final response's connection goes on after it. */
  #upstreamKeeps = false;
  #responseFraming: Framing = framing.none;
  #interims = 0;
  /** The caller waits for `100 Continue` before it sends a byte of its body. */
  awaitsContinue = false;
  /** An answer of the application that says it failed. */
  failed = false;
  #saved: Buffer | undefined;
  #savedLength = 0;
  /** Remember the body, while it is small: the request may have to go elsewhere. Set before the first byte of it. */
  saves = false;
  #saveable = true;
  #trailersSent = false;

  constructor(caller: HttpWay, head: Http1Head, owner: StreamOwner, origin: ExchangeOrigin) {
    super(origin);
    this.caller = caller;
    this.#owner = owner;
    this.method = head.method;
    this.requestFraming = head.framing;
    this.awaitsContinue = head.expectContinue;
    this.requestDone = head.framing === framing.none;
  }

  get callerGone(): boolean {
    return this.caller.closed;
  }

  /** Whether nothing of it has gone anywhere, and only its head was read. */
  get untouched(): boolean {
    return !this.sent && !this.#wasSent && !this.responded && this.tried === undefined;
  }

  /** It was never begun: its head is read anew, here or by another process. */
  unbegin(): void {
    this.place?.forget(this);
    const { upstream } = this;
    this.upstream = undefined;
    upstream?.leave("the request goes to another process", true);
    this.#owner.moved(this);
  }

  /** Whether all that was sent is at hand still. */
  get replayable(): boolean {
    return this.#saveable;
  }

  /**
   * Whether the endpoint closed a connection that had been at rest, before it said anything, and the request may be sent anew: nearly always the
   * two crossed each other on the way.
   */
  get wasClosedAtRest(): boolean {
    const { upstream } = this;
    return (
      upstream !== undefined &&
      upstream.earlier > 0 &&
      !upstream.heard &&
      !this.responded &&
      this.idempotent &&
      this.replayable
    );
  }

  /** Whether doing it twice is as good as once (RFC 9110 section 9.2.2). */
  get idempotent(): boolean {
    switch (this.method) {
      case method.GET:
      case method.HEAD:
      case method.PUT:
      case method.DELETE:
      case method.OPTIONS:
      case method.TRACE:
        return true;
      default:
        return false;
    }
  }

  /** Takes the request to an endpoint: the head now or when there is a connection, what follows as it comes. */
  sendTo(pool: EndpointPool, _bytes: Buffer, _start: number, _size: number, replay?: ReplayRing): boolean {
    // The pools of HTTP are such pools.
    const upstream = (pool as HttpPool).take(this);
    if (upstream === undefined) return false;
    this.saves = replay !== undefined || this.idempotent;
    this.upstream = upstream;
    if (upstream.connected) this.ready();
    return true;
  }

  answer(reason: ReplyReason, text: string): void {
    this.drop("answered in its place");
    if (this.callerGone) return;
    if (this.responded) return this.caller.breakOff(text);
    const [status, error] = answers[reason];
    this.caller.answer(status, error, text);
  }

  // ---- the caller's side ----

  requestData(bytes: Buffer, start: number, end: number): void {
    this.awaitsContinue = false;
    this.#save(bytes, start, end);
    this.#writeData(bytes, start, end);
    const upstream = this.upstream;
    if (upstream !== undefined && upstream.queuedBytes > congestedBytes && upstream.backlog > congestedBytes)
      this.caller.pause();
  }

  requestTrailers(trailers: Fields): void {
    this.#saveable = false;
    this.#trailersSent = true;
    this.#writeEnd(trailers);
  }

  /** The request is whole. */
  requestEnd(): void {
    if (this.requestDone) return;
    this.requestDone = true;
    if (!this.#trailersSent) this.#writeEnd(undefined);
  }

  /** The caller has taken what was written. */
  callerDrained(): void {
    this.upstream?.resume();
  }

  /** Bytes of the caller after the switch of protocols. */
  tunnelOn(bytes: Buffer, start: number, end: number): void {
    const { upstream } = this;
    upstream?.write(bytes, start, end);
    if (upstream !== undefined && upstream.queuedBytes > congestedBytes && upstream.backlog > congestedBytes)
      this.caller.pause();
  }

  /** The caller sends nothing more. */
  callerEnded(): void {
    if (this.tunnel) this.upstream?.end();
  }

  /** The caller is gone. */
  abandon(): void {
    if (!this.ended) this.#owner.abandoned(this);
  }

  // ---- the endpoint's side ----

  /** The connection is there: the head, then what is remembered of the body if this is not the first try, then what comes. */
  ready(): void {
    const { upstream, caller } = this;
    if (upstream === undefined) return;
    this.sent = this.#wasSent = true;
    caller.forward(caller.head, upstream);
    if (this.#savedLength > 0) this.#writeData(this.#saved as Buffer, 0, this.#savedLength);
    if (this.requestDone) this.#writeEnd(undefined);
    caller.goOn();
  }

  unreached(reason: string): void {
    const { pool } = this;
    this.upstream = undefined;
    this.held = nothing;
    if (pool !== undefined) this.#owner.notSent(this, pool, reason);
  }

  responseHead(head: Http1Head): void {
    if (head.status < 200 && head.status !== 101) return this.#interim(head);
    if (head.framing === framing.tunnel) return this.#switch(head);
    if (!this.#owner.responding(this, head)) return;
    this.responded = true;
    this.#upstreamKeeps = head.keepAlive;
    this.failed = head.status >= 500;
    this.#responseFraming = this.caller.respond(this, head);
  }

  #interim(head: Http1Head): void {
    this.awaitsContinue = false;
    if (++this.#interims > maxInterims)
      return this.#owner.broken(this, `more than ${maxInterims} interim responses`, true);
    this.caller.interim(head);
    this.#holdUpstreamBack();
  }

  responseData(bytes: Buffer, start: number, end: number): void {
    const { transport } = this.caller;
    if (!this.responded) return; // of an answer that is not passed on
    if (this.#responseFraming === framing.chunked) {
      const size = putChunkHead(chunkHead, 0, end - start);
      transport.write(chunkHead, 0, size);
      transport.write(bytes, start, end);
      transport.write(chunkEnd, 0, chunkEnd.length);
    } else transport.write(bytes, start, end);
    this.#holdUpstreamBack();
  }

  responseTrailers(trailers: Fields): void {
    if (!this.responded || this.#responseFraming !== framing.chunked) return;
    const last = lastChunkWith(trailers);
    this.caller.transport.write(last, 0, last.length);
    this.#responseFraming = framing.none;
  }

  responseEnd(): void {
    if (!this.responded) return;
    if (this.#responseFraming === framing.chunked) this.caller.transport.write(lastChunk, 0, lastChunk.length);
    this.#owner.finished(this);
  }

  tunnelled(bytes: Buffer, start: number, end: number, nowMs: number): void {
    this.heardMs = nowMs;
    this.caller.transport.write(bytes, start, end);
    this.#holdUpstreamBack();
  }

  tunnelEnded(): void {
    this.#endpointEnded = true;
    this.caller.transport.endWriting();
  }

  upstreamDrained(): void {
    if (this.tunnel) this.caller.taken();
    else this.caller.resume();
  }

  // ---- to another process, once it is a tunnel ----

  /** The endpoint's connection stands still; or why it cannot now, and then nothing has changed. */
  freeze(callerEnded: boolean): MovedEndpoint | Obstacle {
    const { upstream, pool, service } = this;
    if (upstream === undefined || pool === undefined) return "closing";
    const descriptor = upstream.freeze();
    if (descriptor === undefined) return upstream.queuedBytes > 0 ? "unread" : "closing";
    const bytes = { service, endpoint: pool.endpoint, callerEnded, endpointEnded: this.#endpointEnded, spoken: true };
    return { descriptor, wroteAll: upstream.wroteAll, bytes };
  }

  thaw(): void {
    this.upstream?.thaw();
  }

  surrender(): void {
    const { upstream } = this;
    this.upstream = undefined;
    upstream?.surrender();
    this.#owner.moved(this);
  }

  broken(reason: string, malformed: boolean): void {
    this.#owner.broken(this, reason, malformed);
  }

  /** Gives the endpoint's connection back: for the next exchange where nothing speaks against it. */
  release(nowMs: number): void {
    const { upstream } = this;
    this.upstream = undefined;
    upstream?.release(nowMs, this.requestDone && this.responded && this.#upstreamKeeps && !this.tunnel);
  }

  override drop(reason: string): void {
    const { upstream } = this;
    this.upstream = undefined;
    this.sent = false;
    upstream?.leave(reason, this.callerGone);
  }

  #switch(head: Http1Head): void {
    // Before the request is whole nobody can tell its bytes from those of the other protocol (RFC 9110 section 7.8).
    if (!this.requestDone || !this.caller.switches(head)) {
      return this.#owner.broken(this, "switched protocols without being asked", true);
    }
    this.responded = true;
    this.tunnel = true;
    this.#owner.joined(this);
    this.caller.respond(this, head);
    this.upstream?.tunnel();
    this.caller.startTunnel();
  }

  #holdUpstreamBack(): void {
    if (this.caller.fallsBehind()) this.upstream?.pause();
  }

  #writeData(bytes: Buffer, start: number, end: number): void {
    const { upstream } = this;
    if (upstream === undefined) return;
    if (this.requestFraming === framing.chunked) {
      const size = putChunkHead(chunkHead, 0, end - start);
      upstream.write(chunkHead, 0, size);
      upstream.write(bytes, start, end);
      upstream.write(chunkEnd, 0, chunkEnd.length);
    } else upstream.write(bytes, start, end);
  }

  #writeEnd(trailers: Fields | undefined): void {
    if (this.requestFraming !== framing.chunked) return;
    const last = trailers === undefined ? lastChunk : lastChunkWith(trailers);
    this.upstream?.write(last, 0, last.length);
  }

  #save(bytes: Buffer, start: number, end: number): void {
    if (!this.#saveable) return;
    const size = this.#savedLength + end - start;
    if (size > savedBytes || !this.saves) {
      this.#saveable = false;
      this.#saved = undefined;
      this.#savedLength = 0;
      return;
    }
    if (this.#saved === undefined || this.#saved.length < size) {
      const grown = Buffer.allocUnsafe(Math.min(savedBytes, size * 2));
      this.#saved?.copy(grown, 0, 0, this.#savedLength);
      this.#saved = grown;
    }
    bytes.copy(this.#saved, this.#savedLength, start, end);
    this.#savedLength = size;
  }
}
