/**
 * The way of a connection whose bytes mean nothing here. It opens before the first of them, since in many such protocols (MySQL, SMTP) the
 * server speaks first; its service is the one whose address or published port was called.
 */
import type { Direction } from "../metrics.ts";
import type { Transport } from "../transport/transport.ts";
import type { Downstream } from "./downstream.ts";
import type { Exchange, ExchangeOrigin, StreamOwner } from "./exchange.ts";
import type { Frozen, MovedState, Obstacle } from "./moving.ts";
import type { RouteTable } from "./routes.ts";
import { TcpExchange } from "./tcp-exchange.ts";
import type { AddressedCaller, CarriedProtocol, Rejection, Way } from "./way.ts";

export interface TcpWayContext {
  readonly limits: {
    /** Without a byte in either direction. */
    readonly tcpIdleMs: number;
  };
  readonly now: () => number;
  /** Takes a connection. */
  readonly take: (caller: TcpWay) => void;
}

export const tcpProtocolName = "tcp";

/** Bytes as a port carries them: nothing tells them from anything else, so no port sniffs for them. */
export function tcpProtocol(context: TcpWayContext): CarriedProtocol {
  return { protocol: tcpProtocolName, sniff: () => "no", open: (downstream) => new TcpWay(downstream, context) };
}

const noBytes = Buffer.alloc(0);

export class TcpWay implements Way, AddressedCaller {
  readonly protocol = tcpProtocolName;
  readonly direction: Direction;
  readonly table: RouteTable;
  readonly transport: Transport;
  readonly service: string | undefined;
  readonly heldBytes = 0;
  readonly unfit = undefined;
  readonly #downstream: Downstream;
  readonly #context: TcpWayContext;
  closed = false;
  source = "";
  isLoop = false;
  #exchange: TcpExchange | undefined;
  /** Its conversation is begun when this turn is over, unless it stands still or came from another process. */
  #beginsSoon = true;
  #activeMs: number;
  #queued = 0;

  constructor(downstream: Downstream, context: TcpWayContext) {
    this.direction = downstream.direction;
    this.table = downstream.table;
    this.transport = downstream.transport;
    this.service = downstream.service;
    this.#downstream = downstream;
    this.#context = context;
    this.#activeMs = context.now();
    this.transport.pause();
    // Not before this turn is over: a connection of this process itself is known for one only when both its ends have been told of it.
    setImmediate(() => {
      if (!this.closed && this.#beginsSoon) context.take(this);
    });
  }

  begin(origin: ExchangeOrigin, owner: StreamOwner): Exchange {
    this.#exchange = new TcpExchange(this, owner, origin, this.#context.now);
    return this.#exchange;
  }

  reject(_reason: Rejection, text: string): void {
    this.breakOff(text);
  }

  /** The endpoint's connection is there. */
  joined(): void {
    this.resume();
    this.#downstream.quiet();
  }

  breakOff(reason: string): void {
    this.#exchange = undefined;
    this.transport.reset(reason);
  }

  onBytes(bytes: Buffer, size: number): void {
    this.#activeMs = this.#context.now();
    this.#exchange?.callerBytes(bytes, size);
  }

  /** The endpoint does not take what this caller sends, or is not there yet. */
  pause(): void {
    this.transport.pause();
  }

  resume(): void {
    this.#activeMs = this.#context.now();
    this.transport.resume();
  }

  /** The endpoint has taken what it was sent. */
  taken(): void {
    this.resume();
    this.#downstream.quiet();
  }

  onDrain(): void {
    this.#exchange?.callerDrained();
  }

  /** The other direction goes on until the endpoint ends it. */
  onEnd(): boolean {
    this.#exchange?.callerEnd();
    return this.#exchange !== undefined;
  }

  onClose(): void {
    this.closed = true;
    this.#exchange?.callerLeft();
  }

  /** Closes what has been idle for long: no byte came from either side, and none of those that wait was taken. */
  sweep(nowMs: number): void {
    const exchange = this.#exchange;
    if (exchange?.flowing !== true) return;
    const { tcpIdleMs } = this.#context.limits;
    const queued = this.transport.queuedBytes + exchange.queuedBytes;
    if (queued !== this.#queued) this.#activeMs = nowMs;
    this.#queued = queued;
    if (nowMs - Math.max(this.#activeMs, exchange.heardMs) <= tcpIdleMs) return;
    exchange.idle();
    this.#downstream.cut("idle_closed", `idle for ${tcpIdleMs} ms`);
  }

  /** Bytes have no word for it. */
  farewell(): void {}

  // ---- to another process ----

  /** Both connections go, or none; the caller's alone while the endpoint's is not there, which is begun anew then. */
  freeze(): Frozen | Obstacle {
    const { transport } = this;
    const exchange = this.#exchange;
    if (this.closed || exchange?.ended === true) return "closing";
    const moved = exchange?.flowing === true ? exchange.freeze() : undefined;
    if (typeof moved === "string") return moved;
    if (!transport.freeze()) {
      exchange?.thaw();
      return transport.descriptor === undefined ? "closing" : "unread";
    }
    const { protocol, source, isLoop } = this;
    const state = { protocol, source, writer: 0, isLoop, leaving: false, residual: noBytes };
    if (moved !== undefined) {
      const descriptors = [transport.descriptor as number, moved.descriptor];
      return { state: { ...state, bytes: moved.bytes }, descriptors, wroteAll: [transport.wroteAll, moved.wroteAll] };
    }
    this.#exchange = undefined;
    this.#beginsSoon = false;
    exchange?.unbegin();
    return { state, descriptors: [transport.descriptor as number], wroteAll: [transport.wroteAll] };
  }

  thaw(): void {
    this.transport.thaw();
    if (this.#exchange === undefined) this.#context.take(this);
    else this.#exchange.thaw();
  }

  surrender(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    this.closed = true;
    this.transport.letGo();
    exchange?.surrender();
  }

  inherit({ source, isLoop }: MovedState): void {
    this.source = source;
    this.isLoop = isLoop;
    this.#beginsSoon = false;
  }

  start(): void {
    if (this.#exchange === undefined) return this.#context.take(this);
    this.resume();
    this.#exchange.start();
  }

  /** Goes on with a conversation that another process had begun, in place of `take`. */
  joins(exchange: TcpExchange): void {
    this.#exchange = exchange;
  }
}
