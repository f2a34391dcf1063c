/**
 * The connections to one endpoint, keyed by (source identity, endpoint, security) and protocol: a shared one, and a few of their own for
 * large frames, so that a small request never waits behind a megabyte. A pool lives as long as a route refers to it.
 */
import type { ByteBudget } from "@dualmesh/base/byte-budget";
import type { RpcCodec, RpcFrame } from "@dualmesh/wire/rpc";
import type { Direction } from "../metrics.ts";
import type { FrameExchange } from "../request/exchange.ts";
import type { Endpoint } from "../snapshot.ts";
import { UpstreamConnection } from "./connection.ts";
import { EndpointPool, type EndpointPoolContext } from "./endpoint-pool.ts";

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
  answered(exchange: FrameExchange, frame: RpcFrame): void;
  /** A oneway has been written. */
  sent(exchange: FrameExchange): void;
  /** The connection broke with the request on it. */
  lost(exchange: FrameExchange, reason: string): void;
  /** The connection was never made: nothing was sent, another endpoint may be tried. */
  notSent(exchange: FrameExchange, pool: EndpointPool, reason: string): void;
  refused(exchange: FrameExchange, why: "overload"): void;
}

export interface UpstreamContext extends EndpointPoolContext {
  readonly limits: UpstreamLimits;
  readonly partialFrames: ByteBudget;
  /** The budget of requests that wait. */
  readonly held: ByteBudget;
  readonly owner: ExchangeOwner;
  readonly codecOf: (protocol: string) => RpcCodec;
  /** The first id of a new connection. */
  readonly firstId: () => number;
  /** The names of all open connections (`dialledName`): a caller that comes by one of them has gone round. */
  readonly dialled: Set<string>;
}

const maxWriters = 8;

export class FramePool extends EndpointPool {
  readonly #codec: RpcCodec;
  readonly #context: UpstreamContext;
  /** One for each library that callers use, see `RpcCodec.writer`; nearly always one in all. */
  readonly #shared: UpstreamConnection[] = [];
  readonly #large: UpstreamConnection[] = [];
  readonly #draining = new Set<UpstreamConnection>();

  constructor(key: string, endpoint: Endpoint, protocol: string, direction: Direction, context: UpstreamContext) {
    super(key, endpoint, direction, context);
    this.#codec = context.codecOf(protocol);
    this.#context = context;
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

  /** The server closed its side: the next request takes another connection. */
  ended(connection: UpstreamConnection): void {
    this.#remove(connection);
    this.#draining.add(connection);
  }

  /** A connection of this pool is gone; `connected` says whether it had ever been there. */
  lost(connection: UpstreamConnection, connected: boolean): void {
    this.#remove(connection);
    this.#draining.delete(connection);
    this.connectionLost(connected);
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

  sweep(nowMs: number): void {
    for (const connection of this.#connections()) connection.sweep(nowMs);
  }

  destroy(reason: string): void {
    for (const connection of this.#connections()) connection.destroy(reason);
  }

  #connections(): readonly UpstreamConnection[] {
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
