/**
 * One connection of bytes: a caller's and an endpoint's, joined for as long as either likes. Nothing of what passes is read; whichever side
 * does not take it stops the other, an end of one direction is passed on as such, and a break as a break.
 */
import type { ReplyReason } from "@dualmesh/wire/rpc";
import type { Transport } from "../transport/transport.ts";
import type { EndpointPool } from "../upstream/endpoint-pool.ts";
import type { TcpCarried, TcpUpstream } from "../upstream/tcp-connection.ts";
import type { TcpPool } from "../upstream/tcp-pool.ts";
import { Exchange, type ExchangeOrigin, type StreamOwner } from "./exchange.ts";
import type { MovedBytes, MovedEndpoint, Obstacle } from "./moving.ts";
import type { TcpWay } from "./tcp-way.ts";

/** Bytes that one side may leave unread before the other is not read any more. */
const congestedBytes = 256 * 1024;
/** How long a sidecar that did not reach its application is passed over; the registry will have said so by then. */
const unreachedMs = 1_000;
const nothing = Buffer.alloc(0);

export class TcpExchange extends Exchange implements TcpCarried {
  readonly caller: TcpWay;
  readonly oneway = false;
  readonly #owner: StreamOwner;
  readonly #now: () => number;
  #upstream: TcpUpstream | undefined;
  #callerEnded = false;
  #endpointEnded = false;
  #spoken = false;
  /** Clock time of the last byte from the endpoint. */
  heardMs = 0;

  constructor(caller: TcpWay, owner: StreamOwner, origin: ExchangeOrigin, now: () => number) {
    super(origin);
    this.caller = caller;
    this.#owner = owner;
    this.#now = now;
  }

  get callerGone(): boolean {
    return this.caller.closed;
  }

  /** Bytes that wait for the endpoint to take them. */
  get queuedBytes(): number {
    return this.#upstream?.queuedBytes ?? 0;
  }

  /** Dials an endpoint; the caller is not read until it is there. */
  sendTo(pool: EndpointPool): boolean {
    // The pools of tcp are such pools.
    this.#upstream = (pool as TcpPool).take(this);
    return this.#upstream !== undefined;
  }

  /** Bytes have no word for it: a break is what a caller understands. */
  answer(_reason: ReplyReason, text: string): void {
    this.drop(text);
    this.caller.breakOff(text);
  }

  override drop(reason: string): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    upstream?.leave(reason);
  }

  // ---- the caller's side ----

  callerBytes(bytes: Buffer, size: number): void {
    this.#spoken = true;
    this.series.receivedBytes += size;
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    upstream.write(bytes, 0, size);
    if (upstream.queuedBytes > congestedBytes && upstream.backlog > congestedBytes) this.caller.pause();
  }

  callerDrained(): void {
    this.#upstream?.resume();
  }

  /** The caller sends nothing more. */
  callerEnd(): void {
    this.#callerEnded = true;
    if (this.flowing) this.#upstream?.endWriting();
  }

  /** The caller's connection is closed. */
  callerLeft(): void {
    if (this.ended) return;
    if (!this.flowing) return this.#owner.abandoned(this);
    if (!this.#endpointEnded) {
      this.drop("the caller broke off");
      return this.#owner.parted(this, "cancelled");
    }
    // Both directions are at their end; what the endpoint has not taken yet goes on leaving.
    if (!this.#callerEnded) this.drop("the caller broke off");
    if (this.#upstream === undefined) this.#owner.parted(this, "ok");
  }

  /** Nothing has passed for long enough. */
  idle(): void {
    this.drop("idle");
    this.#owner.parted(this, "ok");
  }

  // ---- to another process ----

  /** Both connections stand still; or why they cannot now, and then nothing has changed. */
  freeze(): MovedEndpoint | Obstacle {
    const upstream = this.#upstream;
    const endpoint = this.pool?.endpoint;
    if (!this.flowing || upstream === undefined || endpoint === undefined) return "dialling";
    const descriptor = upstream.freeze();
    if (descriptor === undefined) return "unread";
    const { service } = this;
    const [callerEnded, endpointEnded, spoken] = [this.#callerEnded, this.#endpointEnded, this.#spoken];
    return {
      descriptor,
      wroteAll: upstream.wroteAll,
      bytes: { service, endpoint, callerEnded, endpointEnded, spoken },
    };
  }

  thaw(): void {
    this.#upstream?.thaw();
  }

  /** It was never begun, and is begun anew, here or by another process. */
  unbegin(): void {
    this.place?.forget(this);
    const upstream = this.#upstream;
    this.#upstream = undefined;
    upstream?.leave("the connection goes to another process");
    this.#owner.moved(this);
  }

  surrender(): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    upstream?.surrender();
    this.#owner.moved(this);
  }

  /** Goes on with what another process had begun. */
  inherit(pool: TcpPool, transport: Transport, { callerEnded, endpointEnded, spoken }: MovedBytes): void {
    this.#callerEnded = callerEnded;
    this.#endpointEnded = endpointEnded;
    this.#spoken = spoken;
    this.pool = pool;
    this.heardMs = this.#now();
    this.#upstream = pool.adopt(this, transport, endpointEnded);
    this.caller.joins(this);
    this.#owner.joined(this);
  }

  /** Both connections are read from now on. */
  start(): void {
    this.#upstream?.start();
  }

  // ---- the endpoint's side ----

  ready(): void {
    this.#owner.joined(this);
    this.heardMs = this.#now();
    if (this.#callerEnded) this.#upstream?.endWriting();
    this.caller.joined();
  }

  unreached(reason: string): void {
    const { pool } = this;
    this.#upstream = undefined;
    this.held = nothing;
    if (pool !== undefined) this.#owner.notSent(this, pool, reason);
  }

  endpointBytes(bytes: Buffer, size: number): void {
    this.#spoken = true;
    this.heardMs = this.#now();
    this.series.sentBytes += size;
    const { transport } = this.caller;
    transport.write(bytes, 0, size);
    if (transport.queuedBytes <= congestedBytes) return;
    transport.flush();
    if (transport.queuedBytes > congestedBytes) this.#upstream?.pause();
  }

  endpointDrained(): void {
    this.caller.taken();
  }

  endpointEnded(): void {
    this.#endpointEnded = true;
    this.caller.transport.endWriting();
  }

  endpointGone(reason: string): void {
    this.#upstream = undefined;
    if (this.ended) return;
    if (this.#endpointEnded) {
      if (!this.#callerEnded) this.caller.transport.end();
      // What the caller has not taken yet goes on leaving.
      if (this.callerGone) this.#owner.parted(this, "ok");
      return;
    }
    if (this.pool?.endpoint.mode === "mesh" && !this.#spoken) return this.#unspoken(this.pool, reason);
    this.#owner.parted(this, "unavailable");
    this.caller.breakOff(`the endpoint broke off (${reason})`);
  }

  /** A sidecar that breaks off before a byte has passed did not reach its application: another endpoint may. */
  #unspoken(pool: EndpointPool, reason: string): void {
    this.held = nothing;
    pool.avoidFor(unreachedMs);
    this.caller.pause();
    this.#owner.notSent(this, pool, reason);
  }
}
