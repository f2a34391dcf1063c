/** The connections of bytes to one endpoint: one for each caller's, made when it comes and never used for another. */
import type { Direction } from "../metrics.ts";
import type { Endpoint } from "../snapshot.ts";
import type { Transport } from "../transport/transport.ts";
import { EndpointPool, type EndpointPoolContext } from "./endpoint-pool.ts";
import { type TcpCarried, TcpUpstream } from "./tcp-connection.ts";

export interface TcpUpstreamLimits {
  readonly connectMs: number;
  /** Connections to one endpoint; beyond, callers are refused. */
  readonly tcpConnections: number;
  /** Without a byte in either direction. */
  readonly tcpIdleMs: number;
}

export interface TcpPoolContext extends EndpointPoolContext {
  readonly limits: TcpUpstreamLimits;
  /** The names of all open connections (`dialledName`): a caller that comes by one of them has gone round. */
  readonly dialled: Set<string>;
}

export class TcpPool extends EndpointPool {
  readonly context: TcpPoolContext;
  readonly #all = new Set<TcpUpstream>();

  constructor(key: string, endpoint: Endpoint, direction: Direction, context: TcpPoolContext) {
    super(key, endpoint, direction, context);
    this.context = context;
  }

  get connectionCount(): number {
    return this.#all.size;
  }

  /** A connection for this exchange, which is told when it is there or cannot be made. Undefined when there are too many. */
  take(carried: TcpCarried): TcpUpstream | undefined {
    if (this.#all.size >= this.context.limits.tcpConnections) return undefined;
    const connection = new TcpUpstream(this, carried);
    this.#all.add(connection);
    return connection;
  }

  /** A connection that another process sent, for the exchange that came with it. */
  adopt(carried: TcpCarried, transport: Transport, endpointEnded: boolean): TcpUpstream {
    const connection = new TcpUpstream(this, carried, { transport, endpointEnded });
    this.#all.add(connection);
    return connection;
  }

  /** A connection is another process's now. */
  moved(connection: TcpUpstream): void {
    this.#all.delete(connection);
  }

  /** A connection is gone; `connected` says whether it had ever been there, `inOrder` whether its end was one. */
  gone(connection: TcpUpstream, connected: boolean, inOrder: boolean): void {
    this.#all.delete(connection);
    if (!inOrder) this.connectionLost(connected);
  }

  /** An endpoint that leaves keeps what it has: nobody but the two ends knows where a conversation may stop. */
  retire(): void {}

  sweep(nowMs: number): void {
    for (const connection of this.#all) connection.sweep(nowMs);
  }

  destroy(reason: string): void {
    for (const connection of [...this.#all]) connection.destroy(reason);
  }
}
