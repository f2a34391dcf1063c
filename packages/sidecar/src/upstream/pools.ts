/** Every pool of the process, each of the shape of its protocol: whole frames, HTTP/1.1 messages, or bytes. */
import type { Direction } from "../metrics.ts";
import type { Endpoint } from "../snapshot.ts";
import { acceptedName, type Transport } from "../transport/transport.ts";
import type { EndpointPool } from "./endpoint-pool.ts";
import { HttpPool, type HttpUpstreamLimits } from "./http-pool.ts";
import { FramePool, type UpstreamContext } from "./pool.ts";
import { TcpPool, type TcpUpstreamLimits } from "./tcp-pool.ts";

export interface PoolsContext extends Omit<UpstreamContext, "dialled"> {
  readonly limits: UpstreamContext["limits"] & HttpUpstreamLimits & TcpUpstreamLimits;
}

export class Pools {
  readonly #pools = new Map<string, EndpointPool>();
  /** The names of all open connections. */
  readonly #dialled = new Set<string>();
  /** Pools that no route refers to any more, until their last connection has ended. */
  readonly #retired = new Set<EndpointPool>();
  readonly #context: PoolsContext & UpstreamContext;

  constructor(context: PoolsContext) {
    this.#context = { ...context, dialled: this.#dialled };
  }

  /** Whether a caller's connection was made by this process itself. */
  isOwn(accepted: Transport): boolean {
    return this.#dialled.has(acceptedName(accepted));
  }

  get connectionCount(): number {
    return this.#all().reduce((sum, pool) => sum + pool.connectionCount, 0);
  }

  /** The pool of an endpoint; each `take` needs its `release`. */
  take(sourceIdentity: string, protocol: string, endpoint: Endpoint, direction: Direction): EndpointPool {
    const key = `${direction}|${sourceIdentity}|${protocol}|${endpoint.address}|${endpoint.port}|${endpoint.security}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = this.#made(key, protocol, endpoint, direction);
      this.#pools.set(key, pool);
    }
    pool.users++;
    return pool;
  }

  #made(key: string, protocol: string, endpoint: Endpoint, direction: Direction): EndpointPool {
    if (protocol === "http") return new HttpPool(key, endpoint, direction, this.#context);
    if (protocol === "tcp") return new TcpPool(key, endpoint, direction, this.#context);
    return new FramePool(key, endpoint, protocol, direction, this.#context);
  }

  release(pool: EndpointPool): void {
    pool.users--;
    if (pool.users > 0) return;
    this.#pools.delete(pool.key);
    pool.retire();
    if (pool.connectionCount > 0) this.#retired.add(pool);
  }

  /** Nothing new is sent anywhere: every connection ends with its last reply. */
  retire(): void {
    for (const pool of this.#all()) pool.retire();
  }

  sweep(nowMs: number): void {
    for (const pool of this.#all()) pool.sweep(nowMs);
    for (const pool of this.#retired) if (pool.connectionCount === 0) this.#retired.delete(pool);
  }

  close(reason: string): void {
    for (const pool of this.#all()) pool.destroy(reason);
  }

  #all(): EndpointPool[] {
    return [...this.#pools.values(), ...this.#retired];
  }
}
