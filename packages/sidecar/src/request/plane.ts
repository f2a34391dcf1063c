/**
 * The data plane put together: callers' connections, routes, endpoints and the requests between them (request.ts), with their limits and
 * gauges. It takes snapshots and gives figures; what happens to connections as such, and not to a request, is here too.
 */
import { ByteBudget } from "@dualmesh/base/byte-budget";
import type { Clock } from "@dualmesh/base/clock";
import type { Random } from "@dualmesh/base/random";
import type { RpcCodec } from "@dualmesh/wire/rpc";
import { type DataMetrics, gaugesOfProcess } from "../metrics.ts";
import type { EndpointCell, Snapshot } from "../snapshot.ts";
import type { Transport } from "../transport/transport.ts";
import type { EndpointEvents, EndpointPool } from "../upstream/endpoint-pool.ts";
import type { HttpUpstreamLimits } from "../upstream/http-pool.ts";
import type { UpstreamLimits } from "../upstream/pool.ts";
import { Pools } from "../upstream/pools.ts";
import type { TcpUpstreamLimits } from "../upstream/tcp-pool.ts";
import { Downstream, type DownstreamContext, type DownstreamLimits, type Entrance, isInbound } from "./downstream.ts";
import type { FrameExchange } from "./exchange.ts";
import { frameProtocol } from "./frame-way.ts";
import { type HttpLimits, httpProtocol } from "./http-way.ts";
import type { MovedState } from "./moving.ts";
import { type RequestLimits, type RequestOptions, Requests } from "./request.ts";
import { Routing } from "./routes.ts";
import { TcpWay, tcpProtocol, tcpProtocolName } from "./tcp-way.ts";
import type { CarriedProtocol } from "./way.ts";

export interface DataLimits
  extends UpstreamLimits,
    HttpUpstreamLimits,
    TcpUpstreamLimits,
    DownstreamLimits,
    HttpLimits,
    RequestLimits {
  /** All partial frames together, and all requests that wait, in bytes each. */
  readonly partialFramesBytes: number;
  readonly heldBytes: number;
}

export interface DataPlaneOptions extends Pick<RequestOptions, "unknownService" | "ensure" | "localApplication"> {
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: DataMetrics;
  readonly limits: DataLimits;
  readonly codecs: readonly RpcCodec[];
  /** Those that the configuration adds: first bytes are shown to them when nothing that is built in knows them. */
  readonly ownCodecs?: readonly RpcCodec[];
  /** An endpoint refused a connection or broke one: if it is an application of this host, it may be gone. */
  readonly suspect?: (host: string, port: number) => void;
}

export class DataPlane implements EndpointEvents {
  readonly #options: DataPlaneOptions;
  readonly #partialFrames: ByteBudget;
  readonly #held: ByteBudget;
  readonly #pools: Pools;
  readonly #routing: Routing;
  readonly #requests: Requests;
  readonly #downstreams = new Set<Downstream>();
  readonly #downstreamContext: DownstreamContext;
  readonly #tcp: CarriedProtocol;
  readonly #sweep: { cancel(): void };

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    const { clock, random, metrics, limits, codecs: builtIn, ownCodecs = [] } = options;
    const codecs = [...builtIn, ...ownCodecs];
    const partialFrames = new ByteBudget(limits.partialFramesBytes);
    const held = new ByteBudget(limits.heldBytes);
    this.#partialFrames = partialFrames;
    this.#held = held;
    const codecOf = (protocol: string): RpcCodec => codecs.find((codec) => codec.protocol === protocol) as RpcCodec;
    const firstId = (): number => Math.floor(random.next() * 0x7fffffff);
    const shared = { clock, metrics, limits, partialFrames, held };
    const requests = new Requests({ ...options, held }, (owner) => {
      const pools = new Pools({ ...shared, owner, events: this, codecOf, firstId });
      return { pools, routing: new Routing({ clock, random, metrics, pools }) };
    });
    this.#requests = requests;
    this.#pools = requests.pools;
    this.#routing = requests.routing;
    const now = (): number => clock.now();
    const ways = { metrics, limits, partialFrames, now };
    const framed = (codec: RpcCodec): CarriedProtocol =>
      frameProtocol(codec, { ...ways, take: (caller, frame) => requests.take(caller, frame) });
    const protocols = [
      ...builtIn.map(framed),
      httpProtocol({ ...ways, take: (caller) => requests.takeAddressed(caller) }),
      ...ownCodecs.map(framed),
    ];
    this.#tcp = tcpProtocol({ ...ways, take: (caller) => requests.takeAddressed(caller) });
    this.#downstreamContext = {
      metrics,
      limits,
      protocols,
      now,
      gone: (downstream) => void this.#downstreams.delete(downstream),
    };
    this.#sweep = clock.every(1_000, () => this.#sweepAll());
    this.#gauges();
  }

  /** Takes a caller's connection: at the outbound port, at the address of one service there, or at a published port. */
  accept(transport: Transport, from: Entrance): void {
    const downstream = this.#downstream(transport, from);
    this.#downstreams.add(downstream);
    transport.open(downstream);
    this.#beginIfBytes(downstream);
  }

  /** It is none of this plane's yet. */
  #downstream(transport: Transport, from: Entrance): Downstream {
    const context = this.#downstreamContext;
    const { routing } = this.#requests;
    const table = isInbound(from) ? routing.inbound(from.inboundPort) : routing.outbound;
    return new Downstream(transport, from, table, context);
  }

  /** Where only bytes are expected nothing is waited for: the server may be the one that speaks first. */
  #beginIfBytes(downstream: Downstream): void {
    const { service, table } = downstream;
    const isBytes = service === undefined ? table.isOnly(tcpProtocolName) : service.startsWith(`${tcpProtocolName}/`);
    if (isBytes) downstream.speak(this.#tcp);
  }

  /** Puts other routes in force, whole. */
  apply(snapshot: Snapshot): void {
    this.#routing.apply(snapshot);
    for (const service of this.#requests.awaited) this.#requests.release(service);
  }

  /** Puts other endpoints of one outbound service in force. */
  replaceCell(service: string, cell: EndpointCell): void {
    this.#routing.outbound.get(service)?.replace(cell);
    this.#requests.release(service);
  }

  /** Milliseconds since the last request from another host. */
  get inboundIdleMs(): number {
    return this.#options.clock.now() - this.#requests.lastInboundMs;
  }

  /** Clock time of the last call to an outbound service; undefined when there was none. */
  calledAt(service: string): number | undefined {
    return this.#routing.outbound.get(service)?.calledMs;
  }

  /** Whether a call to an outbound service would find an endpoint now. */
  reaches(service: string): boolean {
    const route = this.#routing.outbound.get(service);
    return route?.known === true && route.endpointCount > 0;
  }

  get inFlight(): number {
    return this.#requests.inFlight;
  }

  /** Connections to endpoints. */
  get endpointConnections(): number {
    return this.#pools.connectionCount;
  }

  get callers(): number {
    return this.#downstreams.size;
  }

  /** Tells every caller from other hosts that nothing new should come here. */
  farewell(): void {
    for (const downstream of this.#downstreams) if (downstream.direction === "inbound") downstream.way?.farewell();
  }

  /** Every application behind a published port is gone: its callers see what they would see of the applications themselves. */
  endInbound(port: number): void {
    for (const { direction, transport } of this.#downstreams)
      if (direction === "inbound" && transport.localPort === port)
        transport.destroy("the application refuses connections");
  }

  // ---- to another process, and from one ----

  connections(): readonly Downstream[] {
    return [...this.#downstreams];
  }

  /** Requests that were sent and are not answered, by who made them. */
  owed(): ReturnType<Requests["owed"]> {
    return this.#requests.owed();
  }

  /** Takes back a request that waits for somewhere to go; undefined when it was sent. */
  unbegin(exchange: FrameExchange): Buffer | undefined {
    return this.#requests.unbegin(exchange);
  }

  /** Makes what `adopt` needs for a caller's connection that another process still has; `protocol` is what it is known to speak, or empty. */
  prepare(transport: Transport, from: Entrance, protocol: string): Downstream {
    const downstream = this.#downstream(transport, from);
    // A conversation of bytes begins by itself, and this one has begun already elsewhere.
    const known = protocol === tcpProtocolName ? undefined : this.#protocol(protocol);
    if (known !== undefined) downstream.speak(known);
    return downstream;
  }

  /**
   * Takes a caller's connection that another process sent, and the endpoint's where that came with it. Nothing is read before `begin`. False when that
   * cannot be, since its protocol is not known here.
   */
  adopt(prepared: Downstream, state: MovedState, endpoint?: Transport): boolean {
    const { protocol: name, bytes } = state;
    const protocol = this.#protocol(name);
    if ((name !== "" && protocol === undefined) || (bytes === undefined) !== (endpoint === undefined)) return false;
    if (prepared.way !== undefined && prepared.way.protocol !== name) return false;
    this.#downstreams.add(prepared);
    prepared.inherit(state, protocol);
    const { way } = prepared;
    if (way instanceof TcpWay && bytes !== undefined && endpoint !== undefined)
      this.#requests.rejoin(way, endpoint, bytes);
    return true;
  }

  #protocol(name: string): CarriedProtocol | undefined {
    if (name === tcpProtocolName) return this.#tcp;
    return this.#downstreamContext.protocols.find(({ protocol }) => protocol === name);
  }

  /** Everything that was sent goes on being answered; connections to endpoints end with their last reply. */
  retire(): void {
    this.#pools.retire();
  }

  close(): void {
    this.#sweep.cancel();
    for (const downstream of this.#downstreams) downstream.transport.destroy("the sidecar stops");
    this.#routing.close();
    this.#pools.close("the sidecar stops");
    this.#requests.close();
  }

  // ---- what happens to endpoints ----

  /** Callers that can reach nothing else by their connection are told, in protocols that have a word for it. */
  goingAway(pool: EndpointPool): void {
    for (const { way, direction, table } of this.#downstreams)
      if (way !== undefined && direction === "inbound" && table.leadsOnlyTo(pool, way.protocol)) way.farewell();
  }

  connectionLost(pool: EndpointPool): void {
    this.#options.suspect?.(pool.endpoint.address, pool.endpoint.port);
  }

  // ---- once a second, and when the page of figures is written ----

  #sweepAll(): void {
    const nowMs = this.#options.clock.now();
    this.#pools.sweep(nowMs);
    for (const downstream of this.#downstreams) {
      // Another process may have begun to read it, and to write.
      if (downstream.isStill) continue;
      // It came while its port listened and had no routes yet, as at a start.
      if (downstream.isSilent) this.#beginIfBytes(downstream);
      downstream.sweep(nowMs);
    }
  }

  #gauges(): void {
    const { metrics } = this.#options;
    gaugesOfProcess(metrics);
    const gauge = (name: string, help: string, read: () => number): void =>
      void metrics.gauges.set(`dualmesh_${name}`, { help, read });
    gauge("downstream_connections", "Callers connected.", () => this.#downstreams.size);
    gauge("upstream_connections", "Connections to endpoints.", () => this.#pools.connectionCount);
    gauge("requests_in_flight", "Exchanges under way.", () => this.#requests.inFlight);
    gauge("partial_frame_bytes", "Memory of frames that are not whole.", () => this.#partialFrames.usedBytes);
    gauge("held_request_bytes", "Memory of requests that wait.", () => this.#held.usedBytes);
  }
}
