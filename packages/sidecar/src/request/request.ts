/**
 * The way of a request, from top to bottom. Two steps come before: the first bytes of a connection are sniffed (downstream.ts), and its bytes
 * are decoded to frames where they lie (frame-way.ts). Then, here:
 *
 *   take        who calls; which service is meant; its route; may this caller call it; until when
 *   takeAddressed  the same for HTTP, whose requests come in parts and name no service: the port does; and for bytes (tcp)
 *   #forward    balance to an endpoint, and upstream; or #wait, when nobody has said yet who provides the service
 *   answered    observe, and reply; the other ends are sent, lost, refused, notSent and #expired
 *   responding  the same for HTTP, whose other ends are finished, broken and abandoned; for bytes joined and parted
 *   #again      once more at another endpoint, when nothing was carried out at the first
 *   #end        counted, once
 *
 * Everything is synchronous; nothing waits but the request itself. plane.ts puts the parts together.
 */
import type { ByteBudget } from "@dualmesh/base/byte-budget";
import type { Clock } from "@dualmesh/base/clock";
import { TimerWheel } from "@dualmesh/base/timer-wheel";
import type { Http1Head } from "@dualmesh/wire/http1/head";
import { frameKind, type ReplyReason, type RpcFrame } from "@dualmesh/wire/rpc";
import type { DataMetrics, Result } from "../metrics.ts";
import type { Transport } from "../transport/transport.ts";
import type { EndpointPool } from "../upstream/endpoint-pool.ts";
import type { ExchangeOwner } from "../upstream/pool.ts";
import type { Pools } from "../upstream/pools.ts";
import type { TcpPool } from "../upstream/tcp-pool.ts";
import { type Caller, type Exchange, FrameExchange, type StreamOwner } from "./exchange.ts";
import type { FrameWay } from "./frame-way.ts";
import { saysUnreached } from "./http-answers.ts";
import type { HttpExchange } from "./http-exchange.ts";
import type { MovedBytes } from "./moving.ts";
import { ReplayRing } from "./replay.ts";
import type { Route, Routing } from "./routes.ts";
import { TcpExchange } from "./tcp-exchange.ts";
import type { TcpWay } from "./tcp-way.ts";
import { Waiting } from "./waiting.ts";
import type { AddressedCaller, Rejection } from "./way.ts";

export interface RequestLimits {
  /** A call to a service of which nothing is known yet waits this long, and so many at once. */
  readonly waitMs: number;
  readonly waitingCalls: number;
  readonly maxTimeoutMs: number;
  /** The memory of requests that may be given to another provider. */
  readonly replayBytes: number;
}

export interface RequestOptions {
  readonly clock: Clock;
  readonly metrics: DataMetrics;
  readonly limits: RequestLimits;
  /** The budget of requests that wait. */
  readonly held: ByteBudget;
  /** A call came for a service that no snapshot names; returns its canonical text when it will be looked for. */
  readonly unknownService: (protocol: string, head: string, group: string) => string | undefined;
  /** A call came for this service, which no snapshot names: it is looked for. */
  readonly ensure: (service: string) => void;
  /** The local application when a request does not say which one it is. */
  readonly localApplication: () => string;
}

/** Where requests may go. */
export interface Destinations {
  readonly routing: Routing;
  readonly pools: Pools;
}

/** How long a provider whose application is gone is passed over; the registry will have said so by then. */
const unreachedMs = 1_000;

const deadlineTickMs = 16;
/**
 * A caller that states its patience has a timer of its own, which may be late by some ticks. It goes first, so that the caller sees the very
 * timeout that it sees without a mesh; what comes here is for callers that have gone to sleep over it.
 */
const callerFirstMs = 100;

export class Requests implements ExchangeOwner, StreamOwner {
  readonly #options: RequestOptions;
  readonly #clock: Clock;
  readonly #limits: RequestLimits;
  readonly #metrics: DataMetrics;
  readonly routing: Routing;
  readonly pools: Pools;
  readonly #deadlines: TimerWheel<Exchange>;
  readonly #waiting: Waiting;
  readonly #replay: ReplayRing;
  /** Exchanges that have no deadline any more. */
  #flowing = 0;
  /** Clock time of the last request from another host. */
  lastInboundMs: number;

  /** `destinations` are made here, since what becomes of a request there is told to this object. */
  constructor(options: RequestOptions, destinations: (owner: ExchangeOwner) => Destinations) {
    const { clock, limits, metrics, held } = options;
    this.#options = options;
    this.#clock = clock;
    this.#limits = limits;
    this.#metrics = metrics;
    this.lastInboundMs = clock.now();
    this.#deadlines = new TimerWheel<Exchange>(clock, deadlineTickMs, (exchange) => this.#expired(exchange));
    this.#waiting = new Waiting(limits.waitingCalls, held);
    this.#replay = new ReplayRing(limits.replayBytes);
    const { routing, pools } = destinations(this);
    this.routing = routing;
    this.pools = pools;
  }

  // ---- the way there ----

  /** Takes a whole request or oneway of a caller; `frame` is valid during the call only. */
  take(caller: FrameWay, frame: RpcFrame): void {
    const { codec, direction, table } = caller;
    const nowMs = this.#clock.now();
    if (direction === "inbound") this.lastInboundMs = nowMs;

    // Who calls.
    if (caller.source === "") this.#meet(caller, frame);
    if (caller.isLoop) {
      this.#metrics.event("loop");
      return this.#reject(caller, frame, "no-provider", "an endpoint of this service is the sidecar's own port");
    }

    // Which service is meant, as far as the head of the frame tells.
    const head = codec.service(frame);
    if (head === undefined) return this.#reject(caller, frame, "unreadable", codec.unreadable(frame));

    // Its route. An outbound service without one may be on its way to us.
    let route = findRoute(caller, frame, head);
    const service = route?.service ?? this.#look(caller, frame, head);
    if (service === undefined) {
      const why = direction === "inbound" ? `${head} is not provided here` : `no provider of ${head} is known`;
      return this.#reject(caller, frame, "no-provider", why);
    }
    route ??= table.get(service);
    if (route !== undefined) route.calledMs = nowMs;

    // May this caller call it.
    if (!authorise(caller.source, service))
      return this.#reject(caller, frame, "denied", `${caller.source} may not call ${service}`, service);

    // Until when.
    const exchange = new FrameExchange(caller, frame, {
      service,
      series: route?.series(caller.source) ?? table.seriesOf(caller.source, service, codec.protocol),
      route,
      startedMs: nowMs,
      deadlineMs: nowMs + this.#patience(frame, route),
    });

    // Where to: now, or when somebody has said who provides it.
    if (route?.known) this.#forward(exchange, route, frame.bytes, frame.offset, frame.size);
    else this.#wait(exchange, frame.bytes, frame.offset, frame.size);
  }

  /** Takes a request that names no service: an HTTP head, or a connection of bytes. The same steps; what follows goes where it went. */
  takeAddressed(caller: AddressedCaller): void {
    const { direction, table, transport, protocol } = caller;
    const nowMs = this.#clock.now();
    if (direction === "inbound") this.lastInboundMs = nowMs;

    // Who calls. No request says it.
    if (caller.source === "") {
      caller.source = direction === "inbound" ? "unknown" : this.#options.localApplication() || "unknown";
      caller.isLoop = direction === "outbound" && this.pools.isOwn(transport);
    }
    if (caller.isLoop) {
      this.#metrics.event("loop");
      return this.#turnAway(caller, "no-provider", "an endpoint of this service is the sidecar's own port");
    }
    if (caller.unfit !== undefined) return this.#turnAway(caller, "unreadable", caller.unfit);

    // Which service is meant: the one whose address or published port was called.
    let route = direction === "inbound" ? table.only(protocol) : undefined;
    const service = route?.service ?? caller.service;
    if (service === undefined) {
      const why =
        direction === "inbound"
          ? `no application that speaks ${protocol} is published at this port`
          : `a service of ${protocol} is called at its own loopback address, which the sidecar's doors and its status say`;
      return this.#turnAway(caller, "misdirected", why);
    }
    route ??= table.get(service);
    if (route === undefined) this.#options.ensure(service);
    else route.calledMs = nowMs;

    // May this caller call it.
    if (!authorise(caller.source, service))
      return this.#turnAway(caller, "denied", `${caller.source} may not call ${service}`, service);

    // Until when an answer must have begun; for bytes, until when they have somewhere to go.
    const patienceMs = route !== undefined && route.timeoutMs > 0 ? route.timeoutMs : this.routing.defaultTimeoutMs;
    const exchange = caller.begin(
      {
        service,
        series: route?.series(caller.source) ?? table.seriesOf(caller.source, service, protocol),
        route,
        startedMs: nowMs,
        deadlineMs: nowMs + patienceMs,
      },
      this,
    );

    // Where to: now, or when somebody has said who provides it.
    if (route?.known) this.#forward(exchange, route, nothing, 0, 0);
    else this.#wait(exchange, nothing, 0, 0);
  }

  /** The first request of a connection: who calls, by which library, and whether it is this sidecar itself. */
  #meet(caller: FrameWay, frame: RpcFrame): void {
    const { codec, direction, transport } = caller;
    caller.writer = codec.writer(frame);
    // From another host nobody can be believed yet.
    const named = direction === "inbound" ? "unknown" : codec.header(frame, codec.applicationHeader);
    const source = named === undefined || named === "" ? this.#options.localApplication() : named;
    caller.source = source === "" ? "unknown" : source.slice(0, maxSourceLength);
    caller.isLoop = direction === "outbound" && this.pools.isOwn(transport);
  }

  /** Has a service without a route looked for; undefined when nobody will. What is not provided here is not looked for elsewhere. */
  #look({ codec, direction }: FrameWay, frame: RpcFrame, head: string): string | undefined {
    if (direction === "inbound") return undefined;
    return this.#options.unknownService(codec.protocol, head, codec.group(frame) ?? "");
  }

  /** Milliseconds that the caller waits: what the frame says, else the registration, else the configuration. */
  #patience(frame: RpcFrame, route: Route | undefined): number {
    if (frame.timeoutMs > 0) return Math.min(frame.timeoutMs + callerFirstMs, this.#limits.maxTimeoutMs);
    if (route !== undefined && route.timeoutMs > 0) return route.timeoutMs + callerFirstMs;
    return this.routing.defaultTimeoutMs;
  }

  #wait(exchange: Exchange, bytes: Buffer, start: number, size: number): void {
    const { service } = exchange;
    if (!this.#waiting.add(service, exchange, bytes, start, size))
      return this.#fail(exchange, "overload", `too many calls wait for ${service} to be found`);
    this.#deadlines.add(exchange, Math.min(exchange.deadlineMs, exchange.startedMs + this.#limits.waitMs));
  }

  /** What waited for this service goes on, once it is known. */
  release(service: string): void {
    const route = this.routing.outbound.get(service);
    if (route === undefined || !route.known) return;
    for (const { exchange, held } of this.#waiting.take(service)) {
      this.#deadlines.remove(exchange);
      exchange.route = route;
      this.#forward(exchange, route, held, 0, held.length);
    }
  }

  /** Balance, then upstream. */
  #forward(exchange: Exchange, route: Route, bytes: Buffer, start: number, size: number): void {
    const candidate = route.pick(exchange.tried);
    if (candidate === undefined) {
      if (exchange.tried === undefined)
        return this.#fail(exchange, "no-provider", `no provider of ${route.service} is known`);
      return this.#fail(exchange, "unreached", `no other provider of ${route.service} can be reached`);
    }
    // The deadline comes first: whoever takes the request may end it at once.
    if (exchange.wheelDue === 0 && !exchange.oneway) this.#deadlines.add(exchange, exchange.deadlineMs);
    exchange.pool = candidate.pool;
    // A sidecar says when its application never saw the request: then another provider may get it.
    const isReplayed = candidate.endpoint.mode === "mesh" && exchange.tried === undefined && route.endpointCount > 1;
    if (!exchange.sendTo(candidate.pool, bytes, start, size, isReplayed ? this.#replay : undefined))
      this.refused(exchange, "overload");
  }

  // ---- the way back ----

  answered(exchange: FrameExchange, frame: RpcFrame): void {
    if (exchange.caller.closed) {
      this.#metrics.event("reply_dropped");
      return this.#end(exchange, "cancelled");
    }
    const codec = exchange.codec;
    const failed = codec.failed(frame);
    if (failed && this.#elsewhere(exchange, frame)) return;
    codec.rewriteId(frame.bytes, frame.offset, frame.size, exchange.idHigh, exchange.id);
    exchange.caller.reply(frame.bytes, frame.offset, frame.offset + frame.size);
    this.#end(exchange, failed ? "error" : "ok");
  }

  sent(exchange: FrameExchange): void {
    this.#end(exchange, "ok");
  }

  lost(exchange: FrameExchange, reason: string): void {
    const why = `the connection to the provider of ${exchange.service} broke before it answered (${reason})`;
    this.#fail(exchange, "unavailable", why);
  }

  #expired(exchange: Exchange): void {
    if (exchange.ended) return;
    const waited = exchange.place === this.#waiting;
    exchange.place?.forget(exchange);
    exchange.place = undefined;
    if (waited) this.#fail(exchange, "no-provider", `no provider of ${exchange.service} is known yet`);
    else this.#fail(exchange, "timeout", `timeout: ${exchange.service} did not answer in time`);
  }

  refused(exchange: Exchange, _why: "overload"): void {
    this.#fail(exchange, "overload", `too many requests wait for the provider of ${exchange.service}`);
  }

  notSent(exchange: Exchange, pool: EndpointPool, reason: string): void {
    const { held, route } = exchange;
    exchange.held = undefined;
    if (exchange.ended || held === undefined || route === undefined) return;
    if (this.#again(exchange, route, pool, held)) return;
    const { address, port } = pool.endpoint;
    const why = `no provider of ${route.service} can be reached (${address}:${port}: ${reason})`;
    this.#fail(exchange, "unreached", why);
  }

  /** The head of an HTTP response has come: it is passed on, unless it says that another endpoint should get the request. */
  responding(exchange: HttpExchange, head: Http1Head): boolean {
    const { pool, route } = exchange;
    if (pool?.endpoint.mode === "mesh" && route !== undefined && exchange.replayable && saysUnreached(head)) {
      pool.avoidFor(unreachedMs);
      if (exchange.tried === undefined && route.pick(pool) !== undefined) {
        exchange.drop("the request goes elsewhere");
        this.#again(exchange, route, pool, nothing);
        return false;
      }
    }
    this.joined(exchange);
    return true;
  }

  joined(exchange: Exchange): void {
    if (exchange.ended) return;
    this.#deadlines.remove(exchange);
    if (exchange.flowing) return;
    exchange.flowing = true;
    this.#flowing++;
  }

  finished(exchange: HttpExchange): void {
    const nowMs = this.#clock.now();
    exchange.release(nowMs);
    this.#end(exchange, exchange.failed ? "error" : "ok", nowMs);
    exchange.caller.over(nowMs);
  }

  broken(exchange: HttpExchange, reason: string, malformed: boolean): void {
    if (exchange.ended) return;
    const { route } = exchange;
    if (exchange.tunnel) {
      this.#end(exchange, "ok");
      exchange.caller.transport.end();
    } else if (route !== undefined && !malformed && exchange.wasClosedAtRest) {
      exchange.drop("sent anew");
      this.#metrics.event("retry");
      this.#forward(exchange, route, nothing, 0, 0);
    } else {
      const why = malformed ? "is no HTTP that could be passed on" : "broke off";
      this.#fail(exchange, "unavailable", `the response of the provider of ${exchange.service} ${why} (${reason})`);
    }
  }

  parted(exchange: Exchange, result: Result): void {
    this.#end(exchange, result);
  }

  abandoned(exchange: Exchange): void {
    exchange.place?.forget(exchange);
    exchange.drop("the caller is gone");
    this.#end(exchange, "cancelled");
  }

  moved(exchange: Exchange): void {
    if (exchange.ended) return;
    exchange.ended = true;
    exchange.place = undefined;
    this.#deadlines.remove(exchange);
    if (exchange.flowing) this.#flowing--;
  }

  // ---- to another process, and from one ----

  /** Requests that were sent and are not answered, by their caller. */
  owed(): ReadonlyMap<Caller, readonly FrameExchange[]> {
    const owed = new Map<Caller, FrameExchange[]>();
    for (const exchange of this.#deadlines.entries()) {
      if (!(exchange instanceof FrameExchange) || exchange.ended) continue;
      const of = owed.get(exchange.caller);
      if (of === undefined) owed.set(exchange.caller, [exchange]);
      else of.push(exchange);
    }
    return owed;
  }

  /** Takes back a request that waits for somewhere to go; it was never begun. Undefined when it was sent. */
  unbegin(exchange: FrameExchange): Buffer | undefined {
    const { held } = exchange;
    if (held === undefined || exchange.ended) return undefined;
    exchange.place?.forget(exchange);
    exchange.held = undefined;
    this.moved(exchange);
    return held;
  }

  /** Goes on with a conversation of bytes that another process had begun. */
  rejoin(caller: TcpWay, transport: Transport, moved: MovedBytes): TcpExchange {
    const { direction, table, protocol, source } = caller;
    const nowMs = this.#clock.now();
    const route = table.get(moved.service);
    const series = route?.series(source) ?? table.seriesOf(source, moved.service, protocol);
    const origin = { service: moved.service, series, route, startedMs: nowMs, deadlineMs: nowMs };
    const exchange = new TcpExchange(caller, this, origin, () => this.#clock.now());
    // The pool lives until its connection has gone: no route may refer to the endpoint any more.
    const pool = this.pools.take("", protocol, moved.endpoint, direction);
    exchange.inherit(pool as TcpPool, transport, moved);
    this.pools.release(pool);
    return exchange;
  }

  // ---- once more, and never again ----

  /** The answer says that the application never saw the request: another provider gets it, if its bytes are still at hand. */
  #elsewhere(exchange: FrameExchange, frame: RpcFrame): boolean {
    const { pool, route } = exchange;
    if (exchange.replayAt < 0 || pool === undefined || route === undefined || !exchange.codec.unreached(frame))
      return false;
    pool.avoidFor(unreachedMs);
    const bytes = this.#replay.find(exchange);
    return bytes !== undefined && this.#again(exchange, route, pool, bytes);
  }

  /** Nothing of the request was carried out at `pool`: another endpoint gets it. False when there is none, or it was tried already. */
  #again(exchange: Exchange, route: Route, pool: EndpointPool, bytes: Buffer): boolean {
    if (exchange.tried !== undefined || route.pick(pool) === undefined) return false;
    exchange.tried = pool;
    this.#metrics.event("retry");
    this.#forward(exchange, route, bytes, 0, bytes.length);
    return true;
  }

  // ---- the end ----

  /** Answers in the provider's place. */
  #fail(exchange: Exchange, result: ReplyReason, text: string): void {
    if (exchange.ended) return;
    this.#end(exchange, exchange.callerGone ? "cancelled" : resultOf(result));
    exchange.answer(result, text);
  }

  /** Counted once, whatever happened. */
  #end(exchange: Exchange, result: Result, nowMs: number = this.#clock.now()): void {
    if (exchange.ended) return;
    exchange.ended = true;
    exchange.place = undefined;
    this.#deadlines.remove(exchange);
    if (exchange.flowing) this.#flowing--;
    exchange.series.count(result, nowMs - exchange.startedMs);
  }

  /** Answers and counts a request that never became an exchange. */
  #reject(caller: FrameWay, frame: RpcFrame, reason: ReplyReason, text: string, service = "unknown"): void {
    const { codec, direction, source } = caller;
    this.#metrics.series(source, service, codec.protocol, direction).count(resultOf(reason), 0);
    if (frame.kind === frameKind.oneway) return;
    const reply = codec.errorReply(frame, reason, text);
    caller.reply(reply, 0, reply.length);
  }

  #turnAway(caller: AddressedCaller, reason: Rejection, text: string, service = "unknown"): void {
    const result = reason === "misdirected" ? "unreadable" : resultOf(reason);
    this.#metrics.series(caller.source, service, caller.protocol, caller.direction).count(result, 0);
    caller.reject(reason, text);
  }

  // ---- the object itself ----

  get inFlight(): number {
    return this.#deadlines.size + this.#flowing;
  }

  /** The services that requests wait for. */
  get awaited(): readonly string[] {
    return this.#waiting.services();
  }

  close(): void {
    this.#deadlines.close();
  }
}

const maxSourceLength = 128;
const nothing = Buffer.alloc(0);

/** The route of a request in the tables of the port that it came to. */
function findRoute({ codec, direction, table }: FrameWay, frame: RpcFrame, head: string): Route | undefined {
  const routes = table.find(codec.protocol, head);
  if (routes === undefined) return direction === "inbound" ? table.only(codec.protocol) : undefined;
  if (routes.length === 1 && routes[0]?.isOfItsGroupOnly !== true) return routes[0];
  // Several services share this head: only now is the group worth its walk behind the arguments.
  const group = codec.group(frame) ?? "";
  return routes.find((route) => route.group === group);
}

/** Everybody may call everything until identities exist (issue of the control plane); the stage stands where it will stay. */
function authorise(_source: string, _service: string): boolean {
  return true;
}

/** An endpoint that could not be reached is one that was not available, to who reads the figures. */
function resultOf(reason: ReplyReason): Result {
  return reason === "unreached" ? "unavailable" : reason;
}
