/**
 * The connections to one endpoint, keyed by (source identity, endpoint, security) and protocol: a shared one, and a few of their own for
 * large frames, so that a small request never waits behind a megabyte. A pool lives as long as a route refers to it.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { RpcCodec, RpcFrame } from "@dualmesh/wire/rpc";
import type { DataMetrics, Direction } from "../metrics.ts";
import type { Exchange } from "../request/exchange.ts";
import type { Endpoint } from "../snapshot.ts";
import type { PartialFrames } from "../transport/frame-reader.ts";
import { UpstreamConnection } from "./connection.ts";

export interface UpstreamLimits {
  /** Requests in flight on one connection. */
  readonly inFlightPerConnection: number;
  /** Bytes that an endpoint may leave unread before further requests are refused. */
  readonly upstreamQueueBytes: number;
  /** Frames above this many bytes take a connection of their own. */
  readonly largeFrameBytes: number;
  readonly largeConnections: number;
  readonly connectMs: number;
  readonly heartbeatMs: number;
  readonly deadMs: number;
  /** How long an endpoint that sent a read-only event is passed over. */
  readonly readOnlyMs: number;
}

/** What becomes of the exchanges on upstream connections. */
export interface ExchangeOwner {
  /** `frame` is the reply; valid during the call only. */
  answered(exchange: Exchange, frame: RpcFrame): void;
  /** A oneway has been written. */
  sent(exchange: Exchange): void;
  /** The connection broke with the request on it. */
  lost(exchange: Exchange, reason: string): void;
  /** The connection was never made: nothing was sent, another endpoint may be tried. */
  notSent(exchange: Exchange, pool: EndpointPool, reason: string): void;
  refused(exchange: Exchange, why: "overload"): void;
}

/** What happens to endpoints, whatever requests are under way. */
export interface EndpointEvents {
  /** An application of this host is going to stop. */
  goingAway(pool: EndpointPool): void;
  /** A connection could not be made, or broke. */
  connectionLost(pool: EndpointPool): void;
}

export interface UpstreamContext {
  readonly clock: Clock;
  readonly metrics: DataMetrics;
  readonly limits: UpstreamLimits;
  readonly partialFrames: PartialFrames;
  /** The budget of requests that wait. */
  readonly held: PartialFrames;
  readonly owner: ExchangeOwner;
  readonly events: EndpointEvents;
  readonly codecOf: (protocol: string) => RpcCodec;
  /** The first id of a new connection. */
  readonly firstId: () => number;
  /** `address:port` at this side of every open connection: what comes from there has gone round. */
  readonly localEnds: Set<string>;
}

const maxWriters = 8;
const backoffMs = [200, 500, 1_000, 2_000, 5_000];

export class EndpointPool {
  readonly key: string;
  readonly endpoint: Endpoint;
  readonly direction: Direction;
  readonly #codec: RpcCodec;
  readonly #context: UpstreamContext;
  /** One for each library that callers use, see `RpcCodec.writer`; nearly always one in all. */
  readonly #shared: UpstreamConnection[] = [];
  readonly #large: UpstreamConnection[] = [];
  readonly #draining = new Set<UpstreamConnection>();
  #failures = 0;
  /** Until when (clock) other endpoints are preferred; 0 for no reason to. */
  #avoidUntilMs = 0;
  /** How many routes refer to this pool. */
  users = 0;

  constructor(key: string, endpoint: Endpoint, protocol: string, direction: Direction, context: UpstreamContext) {
    this.key = key;
    this.direction = direction;
    this.endpoint = endpoint;
    this.#codec = context.codecOf(protocol);
    this.#context = context;
  }

  /** False while a connect failure or a read-only event is recent: taken only if nothing else is there. */
  get usable(): boolean {
    return this.#avoidUntilMs === 0 || this.#context.clock.now() >= this.#avoidUntilMs;
  }

  get connectionCount(): number {
    return this.#shared.length + this.#large.length + this.#draining.size;
  }

  /** The connection that a request of this many bytes, written by this library, should take. */
  connectionFor(size: number, writer: number): UpstreamConnection {
    if (size > this.#context.limits.largeFrameBytes) return this.#largeConnection(writer);
    const shared = this.#shared;
    for (let index = 0; index < shared.length; index++)
      if ((shared[index] as UpstreamConnection).writer === writer) return shared[index] as UpstreamConnection;
    // Past the limit (a caller that makes writers up) connections are shared after all.
    if (shared.length >= maxWriters) return shared[0] as UpstreamConnection;
    const connection = this.#connect(writer);
    shared.push(connection);
    return connection;
  }

  connected(): void {
    this.#failures = 0;
    this.#avoidUntilMs = 0;
  }

  /** The server closed its side: the next request takes another connection. */
  ended(connection: UpstreamConnection): void {
    this.#remove(connection);
    this.#draining.add(connection);
  }

  /** A connection of this pool is gone; `connected` says whether it had ever been there. */
  lost(connection: UpstreamConnection, connected: boolean): void {
    this.#remove(connection);
    this.#draining.delete(connection);
    this.#context.events.connectionLost(this);
    if (connected) return;
    this.#context.metrics.event("connect_failed");
    const wait = backoffMs[Math.min(this.#failures, backoffMs.length - 1)] as number;
    this.#failures++;
    this.avoidFor(wait);
  }

  /** Other endpoints are preferred for so long. */
  avoidFor(ms: number): void {
    this.#avoidUntilMs = this.#context.clock.now() + ms;
  }

  /**
   * The server said that it is going to stop. Another host's connections take nothing new, and others are preferred for a while. An
   * application of this host has no other: it gets what still comes, and its callers are told.
   */
  goingAway(ms: number): void {
    this.#context.metrics.event("read_only");
    if (this.direction === "inbound") return this.#context.events.goingAway(this);
    this.avoidFor(ms);
    this.retire();
  }

  /** Lets every connection end with its last reply. */
  retire(): void {
    const all = [...this.#shared, ...this.#large];
    this.#shared.length = 0;
    this.#large.length = 0;
    for (const connection of all) {
      this.#draining.add(connection);
      connection.drain();
    }
  }

  connections(): readonly UpstreamConnection[] {
    return [...this.#shared, ...this.#large, ...this.#draining];
  }

  #largeConnection(writer: number): UpstreamConnection {
    let least: UpstreamConnection | undefined;
    for (const connection of this.#large)
      if (connection.writer === writer && (least === undefined || connection.load < least.load)) least = connection;
    if (least !== undefined && (least.load === 0 || this.#large.length >= this.#context.limits.largeConnections))
      return least;
    const connection = this.#connect(writer);
    this.#large.push(connection);
    return connection;
  }

  #connect(writer: number): UpstreamConnection {
    return new UpstreamConnection(this, this.#codec, writer, this.#context);
  }

  #remove(connection: UpstreamConnection): void {
    for (const list of [this.#shared, this.#large]) {
      const at = list.indexOf(connection);
      if (at >= 0) list.splice(at, 1);
    }
  }
}

/** Every pool of the process. */
export class Pools {
  readonly #pools = new Map<string, EndpointPool>();
  /** `address:port` at this side of every open connection. */
  readonly #localEnds = new Set<string>();
  /** Pools that no route refers to any more, until their last connection has ended. */
  readonly #retired = new Set<EndpointPool>();
  readonly #context: UpstreamContext;

  constructor(context: Omit<UpstreamContext, "localEnds">) {
    this.#context = { ...context, localEnds: this.#localEnds };
  }

  /** Whether a caller that comes from this address is a connection of this process itself. */
  isOwnEnd(address: string, port: number): boolean {
    return this.#localEnds.has(`${address}:${port}`);
  }

  get connectionCount(): number {
    return this.#all().reduce((sum, pool) => sum + pool.connectionCount, 0);
  }

  /** The pool of an endpoint; each `take` needs its `release`. */
  take(sourceIdentity: string, protocol: string, endpoint: Endpoint, direction: Direction): EndpointPool {
    const key = `${direction}|${sourceIdentity}|${protocol}|${endpoint.address}|${endpoint.port}|${endpoint.security}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = new EndpointPool(key, endpoint, protocol, direction, this.#context);
      this.#pools.set(key, pool);
    }
    pool.users++;
    return pool;
  }

  release(pool: EndpointPool): void {
    pool.users--;
    if (pool.users > 0) return;
    this.#pools.delete(pool.key);
    pool.retire();
    if (pool.connectionCount > 0) this.#retired.add(pool);
  }

  sweep(nowMs: number): void {
    for (const pool of this.#all()) for (const connection of pool.connections()) connection.sweep(nowMs);
    for (const pool of this.#retired) if (pool.connectionCount === 0) this.#retired.delete(pool);
  }

  close(reason: string): void {
    for (const pool of this.#all()) for (const connection of pool.connections()) connection.destroy(reason);
  }

  #all(): EndpointPool[] {
    return [...this.#pools.values(), ...this.#retired];
  }
}
