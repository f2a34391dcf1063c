/**
 * The HTTP/1.1 connections to one endpoint. Each carries one exchange at a time; one that has ended its exchange without any doubt is kept
 * for the next, the newest first, so that the others grow old and go.
 */
import type { Direction } from "../metrics.ts";
import type { Endpoint } from "../snapshot.ts";
import { EndpointPool, type EndpointPoolContext } from "./endpoint-pool.ts";
import { type HttpCarried, HttpUpstream } from "./http-connection.ts";

export interface HttpUpstreamLimits {
  readonly connectMs: number;
  /** Connections to one endpoint, those at rest included; beyond, requests are refused. */
  readonly httpConnections: number;
  /** How long a connection to an application is kept at rest. */
  readonly httpIdleMs: number;
}

export interface HttpPoolContext extends EndpointPoolContext {
  readonly limits: HttpUpstreamLimits;
  /** The names of all open connections (`dialledName`): a caller that comes by one of them has gone round. */
  readonly dialled: Set<string>;
}

interface Loss {
  readonly connected: boolean;
  readonly used: boolean;
  readonly needless: boolean;
}

/** Another sidecar keeps a connection for long and says when it does not. */
const sidecarIdleMs = 60_000;

export class HttpPool extends EndpointPool {
  readonly context: HttpPoolContext;
  /** At rest, the newest last. */
  readonly #idle: HttpUpstream[] = [];
  readonly #all = new Set<HttpUpstream>();
  /** Nobody wants it any more, so that nothing is kept; until somebody does, as after an upgrade that failed late. */
  #retired = false;

  constructor(key: string, endpoint: Endpoint, direction: Direction, context: HttpPoolContext) {
    super(key, endpoint, direction, context);
    this.context = context;
  }

  get connectionCount(): number {
    return this.#all.size;
  }

  get idleMs(): number {
    return this.endpoint.mode === "mesh" ? sidecarIdleMs : this.context.limits.httpIdleMs;
  }

  /**
   * A connection for this exchange: one at rest, or a new one that calls `carried.ready` once it is there and `carried.unreached` when it cannot be
   * made. Undefined when there are too many.
   */
  take(carried: HttpCarried): HttpUpstream | undefined {
    this.#retired = false;
    for (;;) {
      const kept = this.#idle.pop();
      if (kept === undefined) break;
      if (kept.begin(carried)) return kept;
    }
    if (this.#all.size >= this.context.limits.httpConnections) return undefined;
    const connection = new HttpUpstream(this, carried);
    this.#all.add(connection);
    return connection;
  }

  /** The exchange is over and the connection is as good as new. */
  rest(connection: HttpUpstream): void {
    if (this.#retired) connection.close();
    else this.#idle.push(connection);
  }

  /** A connection is gone: whether it had ever been there, whether an exchange was on it, and whether it was not wanted any more. */
  lost(connection: HttpUpstream, { connected, used, needless }: Loss): void {
    this.#all.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (!needless && (used || !connected)) this.connectionLost(connected);
  }

  /** A connection is another process's now. */
  moved(connection: HttpUpstream): void {
    this.#all.delete(connection);
  }

  retire(): void {
    this.#retired = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }

  sweep(nowMs: number): void {
    const { idleMs } = this;
    // The oldest stand first.
    while (this.#idle.length > 0) {
      const oldest = this.#idle[0] as HttpUpstream;
      if (nowMs - oldest.restingSinceMs <= Math.min(idleMs, oldest.keepAliveMs)) break;
      this.#idle.shift();
      oldest.close();
    }
  }

  destroy(reason: string): void {
    for (const connection of [...this.#all]) connection.destroy(reason);
  }
}
