/**
 * The way of a request, from top to bottom: read, find the route, authorise, set the deadline, pick an endpoint, send upstream, then answer, retry or
 * give up, and count, once. Frames are handled synchronously where they lie; nothing here waits.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Random } from "@dualmesh/base/random";
import { TimerWheel } from "@dualmesh/base/timer-wheel";
import { frameKind, type ReplyReason, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import { type DataMetrics, gaugesOfProcess, type Result } from "../metrics.ts";
import type { EndpointCell, Snapshot } from "../snapshot.ts";
import { PartialFrames } from "../transport/frame-reader.ts";
import type { Transport } from "../transport/transport.ts";
import { type EndpointPool, type ExchangeOwner, Pools, type UpstreamLimits } from "../upstream/pool.ts";
import { Downstream, type DownstreamContext, type DownstreamLimits } from "./downstream.ts";
import { Exchange } from "./exchange.ts";
import { ReplayRing } from "./replay.ts";
import { type Route, Routing } from "./routes.ts";
import { Waiting } from "./waiting.ts";

export interface DataLimits extends UpstreamLimits, DownstreamLimits {
  /** All partial frames together, and all requests that wait, in bytes each. */
  readonly partialFramesBytes: number;
  readonly heldBytes: number;
  /** A call to a service of which nothing is known yet waits this long, and so many at once. */
  readonly waitMs: number;
  readonly waitingCalls: number;
  readonly maxTimeoutMs: number;
  /** The memory of requests that may be given to another provider. */
  readonly replayBytes: number;
}

export interface DataPlaneOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: DataMetrics;
  readonly limits: DataLimits;
  readonly codecs: readonly RpcCodec[];
  /** A call came for a service that no snapshot names; returns its canonical text when it will be looked for. */
  readonly unknownService: (protocol: string, head: string, group: string) => string | undefined;
  /** The local application when a request does not say which one it is. */
  readonly localApplication: () => string;
  /** An endpoint refused a connection or broke one: if it is an application of this host, it may be gone. */
  readonly suspect?: (host: string, port: number) => void;
}

/** How long a provider whose application is gone is passed over; the registry will have said so by then. */
const unreachedMs = 1_000;

const deadlineTickMs = 16;

export class DataPlane implements ExchangeOwner {
  readonly #options: DataPlaneOptions;
  readonly #clock: Clock;
  readonly #limits: DataLimits;
  readonly #routing: Routing;
  readonly #pools: Pools;
  readonly #deadlines: TimerWheel<Exchange>;
  readonly #waiting: Waiting;
  readonly #replay: ReplayRing;
  readonly #downstreams = new Set<Downstream>();
  readonly #downstreamContext: DownstreamContext;
  readonly #sweep: { cancel(): void };
  #lastInboundMs: number;

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    const { clock, random, metrics, limits, codecs } = options;
    this.#clock = clock;
    this.#limits = limits;
    this.#lastInboundMs = clock.now();
    const partialFrames = new PartialFrames(limits.partialFramesBytes);
    const held = new PartialFrames(limits.heldBytes);
    const codecOf = (protocol: string): RpcCodec => codecs.find((codec) => codec.protocol === protocol) as RpcCodec;
    const firstId = (): number => Math.floor(random.next() * 0x7fffffff);
    this.#pools = new Pools({ clock, metrics, limits, partialFrames, held, owner: this, codecOf, firstId });
    this.#routing = new Routing({ clock, random, metrics, pools: this.#pools });
    this.#deadlines = new TimerWheel<Exchange>(clock, deadlineTickMs, (exchange) => this.#expired(exchange));
    this.#replay = new ReplayRing(limits.replayBytes);
    this.#waiting = new Waiting(limits.waitingCalls, held);
    const now = (): number => clock.now();
    const request = (downstream: Downstream, frame: RpcFrame): void => this.#request(downstream, frame);
    const gone = (downstream: Downstream): void => void this.#downstreams.delete(downstream);
    this.#downstreamContext = {
      metrics,
      limits,
      partialFrames,
      now,
      request,
      gone,
      recognise: (head) => recognise(codecs, head),
    };
    this.#sweep = clock.every(1_000, () => this.#sweepAll());
    gaugesOfProcess(metrics);
    metrics.gauges.set("dualmesh_downstream_connections", {
      help: "Callers connected.",
      read: () => this.#downstreams.size,
    });
    metrics.gauges.set("dualmesh_upstream_connections", {
      help: "Connections to endpoints.",
      read: () => this.#pools.connectionCount,
    });
    metrics.gauges.set("dualmesh_requests_in_flight", {
      help: "Exchanges under way.",
      read: () => this.#deadlines.size,
    });
    metrics.gauges.set("dualmesh_partial_frame_bytes", {
      help: "Memory of frames that are not whole.",
      read: () => partialFrames.usedBytes,
    });
    metrics.gauges.set("dualmesh_held_request_bytes", {
      help: "Memory of requests that wait.",
      read: () => held.usedBytes,
    });
  }

  /** Takes a caller's connection: outbound, or inbound at a published port. */
  accept(transport: Transport, from: "outbound" | { readonly inboundPort: number }): void {
    const table = from === "outbound" ? this.#routing.outbound : this.#routing.inbound(from.inboundPort);
    const downstream = new Downstream(
      transport,
      from === "outbound" ? "outbound" : "inbound",
      table,
      this.#downstreamContext,
    );
    this.#downstreams.add(downstream);
    transport.open(downstream);
  }

  /** Puts other routes in force, whole. */
  apply(snapshot: Snapshot): void {
    this.#routing.apply(snapshot);
    for (const service of this.#waiting.services()) this.#release(service);
  }

  /** Puts other endpoints of one outbound service in force. */
  replaceCell(service: string, cell: EndpointCell): void {
    this.#routing.outbound.get(service)?.replace(cell);
    this.#release(service);
  }

  /** Milliseconds since the last request from another host. */
  get inboundIdleMs(): number {
    return this.#clock.now() - this.#lastInboundMs;
  }

  /** Clock time of the last call to an outbound service; undefined when there was none. */
  calledAt(service: string): number | undefined {
    return this.#routing.outbound.get(service)?.calledMs;
  }

  get inFlight(): number {
    return this.#deadlines.size;
  }

  get callers(): number {
    return this.#downstreams.size;
  }

  close(): void {
    this.#sweep.cancel();
    for (const downstream of this.#downstreams) downstream.transport.destroy("the sidecar stops");
    this.#routing.close();
    this.#pools.close("the sidecar stops");
    this.#deadlines.close();
  }

  #request(downstream: Downstream, frame: RpcFrame): void {
    const codec = downstream.codec;
    const nowMs = this.#clock.now();
    if (downstream.direction === "inbound") this.#lastInboundMs = nowMs;
    if (downstream.source === "") {
      downstream.source = this.#sourceOf(downstream, codec, frame);
      downstream.writer = codec.writer(frame);
      const { remoteAddress, remotePort } = downstream.transport;
      downstream.isLoop = downstream.direction === "outbound" && this.#pools.isOwnEnd(remoteAddress, remotePort);
    }
    if (downstream.isLoop) {
      this.#options.metrics.event("loop");
      return this.#reject(downstream, frame, "no-provider", "an endpoint of this service is the sidecar's own port");
    }

    // 1. Which service is meant.
    const head = codec.service(frame);
    if (head === undefined) return this.#reject(downstream, frame, "unreadable", codec.unreadable(frame));
    const route = this.#route(downstream, codec, frame, head);
    if (route === undefined) return this.#unrouted(downstream, codec, frame, head, nowMs);
    route.calledMs = nowMs;

    // 2. May this caller call it.
    if (!authorise(route, downstream))
      return this.#reject(downstream, frame, "denied", `${downstream.source} may not call ${route.service}`, route);

    // 3. Until when.
    const exchange = new Exchange(downstream, frame, {
      series: route.series(downstream.source),
      route,
      startedMs: nowMs,
      deadlineMs: nowMs + this.#patience(frame, route),
    });

    // 4. Where to, now or when somebody has said who provides it.
    if (route.known) this.#forward(exchange, route, frame.bytes, frame.offset, frame.size);
    else this.#wait(exchange, route.service, frame);
  }

  /** Milliseconds that the caller waits: what the frame says, else the registration, else the configuration. */
  #patience(frame: RpcFrame, route: Route | undefined): number {
    if (frame.timeoutMs > 0) return Math.min(frame.timeoutMs, this.#limits.maxTimeoutMs);
    return route !== undefined && route.timeoutMs > 0 ? route.timeoutMs : this.#routing.defaultTimeoutMs;
  }

  #route(downstream: Downstream, codec: RpcCodec, frame: RpcFrame, head: string): Route | undefined {
    const routes = downstream.table.find(codec.protocol, head);
    if (routes === undefined)
      return downstream.direction === "inbound" ? downstream.table.only(codec.protocol) : undefined;
    if (routes.length === 1) return routes[0];
    // Several services share this head: only now is the group worth its walk behind the arguments.
    const group = codec.group(frame) ?? "";
    return routes.find((route) => route.group === group);
  }

  /** Picks an endpoint and sends. */
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
    if (candidate.endpoint.mode === "mesh" && exchange.tried === undefined && route.endpointCount > 1)
      this.#replay.keep(exchange, bytes, start, size);
    const refusal = candidate.pool.connectionFor(size, exchange.caller.writer).send(exchange, bytes, start, size);
    if (refusal !== undefined) this.refused(exchange, refusal);
  }

  // ---- how it ends ----

  answered(exchange: Exchange, frame: RpcFrame): void {
    if (exchange.caller.closed) {
      this.#options.metrics.event("reply_dropped");
      return this.#end(exchange, "cancelled");
    }
    const codec = exchange.codec;
    const failed = codec.failed(frame);
    if (failed && this.#elsewhere(exchange, frame)) return;
    codec.rewriteId(frame.bytes, frame.offset, frame.size, exchange.idHigh, exchange.id);
    exchange.caller.reply(frame.bytes, frame.offset, frame.offset + frame.size);
    this.#end(exchange, failed ? "error" : "ok");
  }

  sent(exchange: Exchange): void {
    this.#end(exchange, "ok");
  }

  lost(exchange: Exchange, reason: string): void {
    this.#fail(
      exchange,
      "unavailable",
      `the connection to the provider of ${exchange.route?.service} broke before it answered (${reason})`,
    );
  }

  notSent(exchange: Exchange, pool: EndpointPool, reason: string): void {
    const held = exchange.held;
    const route = exchange.route;
    exchange.held = undefined;
    if (exchange.ended || held === undefined || route === undefined) return;
    const { address, port } = pool.endpoint;
    if (!this.#again(exchange, route, pool, held))
      this.#fail(
        exchange,
        "unreached",
        `no provider of ${route.service} can be reached (${address}:${port}: ${reason})`,
      );
  }

  /** Callers that can reach nothing else by their connection are told, in protocols that have a word for it. */
  goingAway(pool: EndpointPool): void {
    for (const downstream of this.#downstreams) {
      const protocol = downstream.recognised?.protocol;
      if (protocol === undefined || downstream.direction === "outbound") continue;
      if (downstream.table.leadsOnlyTo(pool, protocol)) downstream.farewell();
    }
  }

  /** Tells every caller from other hosts that nothing new should come here. */
  farewell(): void {
    for (const downstream of this.#downstreams) if (downstream.direction === "inbound") downstream.farewell();
  }

  connectionLost(pool: EndpointPool): void {
    this.#options.suspect?.(pool.endpoint.address, pool.endpoint.port);
  }

  /** The answer says that the application never saw the request: another provider gets it, if its bytes are still at hand. */
  #elsewhere(exchange: Exchange, frame: RpcFrame): boolean {
    const { pool, route } = exchange;
    if (exchange.replayAt < 0 || pool === undefined || route === undefined || !exchange.codec.unreached(frame))
      return false;
    pool.avoidFor(unreachedMs);
    const bytes = this.#replay.find(exchange);
    return bytes !== undefined && this.#again(exchange, route, pool, bytes);
  }

  /** Once more and never again: nothing of the request was carried out at `pool`. */
  #again(exchange: Exchange, route: Route, pool: EndpointPool, bytes: Buffer): boolean {
    if (exchange.tried !== undefined || route.pick(pool) === undefined) return false;
    exchange.tried = pool;
    this.#options.metrics.event("retry");
    this.#forward(exchange, route, bytes, 0, bytes.length);
    return true;
  }

  refused(exchange: Exchange, _why: "overload"): void {
    this.#fail(exchange, "overload", `too many requests wait for the provider of ${exchange.route?.service}`);
  }

  #expired(exchange: Exchange): void {
    if (exchange.ended) return;
    const waited = exchange.place === this.#waiting;
    exchange.place?.forget(exchange);
    exchange.place = undefined;
    if (waited)
      this.#fail(exchange, "no-provider", `no provider of ${exchange.route?.service ?? "this service"} is known yet`);
    else this.#fail(exchange, "timeout", `${exchange.route?.service} did not answer in time`);
  }

  /** Answers for the provider. */
  #fail(exchange: Exchange, result: ReplyReason, text: string): void {
    if (exchange.ended) return;
    if (!exchange.oneway && !exchange.caller.closed) {
      const reply = exchange.codec.errorReplyTo(exchange, result, text);
      exchange.caller.reply(reply, 0, reply.length);
    }
    this.#end(exchange, exchange.caller.closed ? "cancelled" : result === "unreached" ? "unavailable" : result);
  }

  /** Counted once, whatever happened. */
  #end(exchange: Exchange, result: Result): void {
    if (exchange.ended) return;
    exchange.ended = true;
    exchange.place = undefined;
    this.#deadlines.remove(exchange);
    exchange.series.count(result, this.#clock.now() - exchange.startedMs);
  }

  // ---- before there is a route ----

  #unrouted(downstream: Downstream, codec: RpcCodec, frame: RpcFrame, head: string, nowMs: number): void {
    if (downstream.direction === "inbound")
      return this.#reject(downstream, frame, "no-provider", `${head} is not provided here`);
    const service = this.#options.unknownService(codec.protocol, head, codec.group(frame) ?? "");
    if (service === undefined) return this.#reject(downstream, frame, "no-provider", `no provider of ${head} is known`);
    const route = this.#routing.outbound.get(service);
    const series = downstream.table.seriesOf(downstream.source, service, codec.protocol);
    const exchange = new Exchange(downstream, frame, {
      series,
      route,
      startedMs: nowMs,
      deadlineMs: nowMs + this.#patience(frame, route),
    });
    if (route?.known) this.#forward(exchange, route, frame.bytes, frame.offset, frame.size);
    else this.#wait(exchange, service, frame);
  }

  #wait(exchange: Exchange, service: string, frame: RpcFrame): void {
    if (!this.#waiting.add(service, exchange, frame))
      return this.#fail(exchange, "overload", `too many calls wait for ${service} to be found`);
    this.#deadlines.add(exchange, Math.min(exchange.deadlineMs, exchange.startedMs + this.#limits.waitMs));
  }

  /** The service became known: what waited for it goes on. */
  #release(service: string): void {
    const route = this.#routing.outbound.get(service);
    if (route === undefined || !route.known) return;
    for (const { exchange, held } of this.#waiting.take(service)) {
      this.#deadlines.remove(exchange);
      exchange.route = route;
      this.#forward(exchange, route, held, 0, held.length);
    }
  }

  #reject(downstream: Downstream, frame: RpcFrame, reason: ReplyReason, text: string, route?: Route): void {
    const service = route?.service ?? "unknown";
    const series = this.#options.metrics.series(
      downstream.source,
      service,
      downstream.codec.protocol,
      downstream.direction,
    );
    series.count(reason === "unreached" ? "unavailable" : reason, 0);
    if (frame.kind === frameKind.oneway) return;
    const reply = downstream.codec.errorReply(frame, reason, text);
    downstream.reply(reply, 0, reply.length);
  }

  /** Who calls: outbound the local application, as the first request of a connection names it; inbound nobody can be believed yet. */
  #sourceOf(downstream: Downstream, codec: RpcCodec, frame: RpcFrame): string {
    if (downstream.direction === "inbound") return "unknown";
    const named = codec.header(frame, codec.protocol === "bolt" ? "app" : "remote.application");
    const source = named === undefined || named === "" ? this.#options.localApplication() : named;
    return source === "" ? "unknown" : source.slice(0, 128);
  }

  #sweepAll(): void {
    const nowMs = this.#clock.now();
    this.#pools.sweep(nowMs);
    for (const downstream of this.#downstreams) downstream.sweep(nowMs);
  }
}

/** Everybody may call everything until identities exist (issue of the control plane); the stage stands where it will stay. */
function authorise(_route: Route, _caller: Downstream): boolean {
  return true;
}

function recognise(codecs: readonly RpcCodec[], head: Uint8Array): RpcCodec | "more" | undefined {
  let more = false;
  for (const codec of codecs) {
    const said = codec.sniff(head);
    if (said === "yes") return codec;
    if (said === "more") more = true;
  }
  return more ? "more" : undefined;
}
