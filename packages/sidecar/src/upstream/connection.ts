/**
 * One multiplexed connection to an endpoint, shared by all callers. A request enters only when whole, under an id of this connection; its
 * reply is found by that id. Nothing a caller does can pause it.
 */
import { FrameError } from "@dualmesh/wire/codec";
import { frameKind, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import type { FrameExchange } from "../request/exchange.ts";
import { FrameReader } from "../transport/frame-reader.ts";
import { dialTransport } from "../transport/tcp.ts";
import { dialledName, type Transport, type TransportEvents } from "../transport/transport.ts";
import { PendingTable } from "./pending.ts";
import type { FramePool, UpstreamContext } from "./pool.ts";

/** Why a request could not be handed to a connection. */
export type Refusal = "overload" | undefined;

export class UpstreamConnection implements TransportEvents {
  readonly pool: FramePool;
  /** The library of all callers on this connection (`RpcCodec.writer`). */
  readonly writer: number;
  readonly #context: UpstreamContext;
  readonly #codec: RpcCodec;
  readonly #reader: FrameReader<RpcFrame>;
  readonly #pending: PendingTable<FrameExchange>;
  /** Requests that wait for the connection, in order of arrival. */
  #waiting = new Set<FrameExchange>();
  #transport: Transport | undefined;
  #name = "";
  #giveUp: (() => void) | undefined;
  #heardMs: number;
  #sentMs: number;
  #closed = false;
  /** No further request goes here; it closes when the last reply has come. */
  draining = false;

  constructor(pool: FramePool, codec: RpcCodec, writer: number, context: UpstreamContext) {
    this.pool = pool;
    this.writer = writer;
    this.#codec = codec;
    this.#context = context;
    this.#pending = new PendingTable(context.limits.inFlightPerConnection, context.firstId());
    this.#reader = new FrameReader(codec, context.partialFrames, (frame) => this.#onFrame(frame));
    this.#heardMs = this.#sentMs = context.clock.now();
    const { address: host, port } = pool.endpoint;
    this.#giveUp = dialTransport({ host, port, timeoutMs: context.limits.connectMs }, (transport, reason) =>
      this.#dialled(transport, reason),
    );
  }

  /** Requests that are here and not answered. */
  get load(): number {
    return this.#pending.size + this.#waiting.size;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Takes the whole frame `bytes[start, start + size)`, whose id it rewrites in place. */
  send(exchange: FrameExchange, bytes: Buffer, start: number, size: number): Refusal {
    const { limits } = this.#context;
    if (this.load >= limits.inFlightPerConnection) return "overload";
    const transport = this.#transport;
    if (transport === undefined) return this.#wait(exchange, bytes, start, size);
    if (transport.queuedBytes > limits.upstreamQueueBytes) return "overload";
    let id: number;
    if (exchange.oneway) id = this.#pending.skip();
    else {
      id = this.#pending.add(exchange);
      exchange.place = this;
    }
    this.#codec.rewriteId(bytes, start, size, 0, id);
    this.#sentMs = this.#context.clock.now();
    transport.write(bytes, start, start + size);
    if (exchange.oneway) this.#context.owner.sent(exchange);
    return undefined;
  }

  /** The exchange ended before its reply: a late one will find nobody. */
  forget(exchange: FrameExchange): void {
    if (this.#waiting.delete(exchange)) this.#context.held.give(exchange.held?.length ?? 0);
    else this.#pending.take(exchange.upstreamId);
    this.#closeIfDrained();
  }

  /** Once a second: a heartbeat where it was quiet, an end where nothing answers. */
  sweep(nowMs: number): void {
    const transport = this.#transport;
    if (transport === undefined) return;
    const { heartbeatMs, deadMs } = this.#context.limits;
    if (nowMs - this.#heardMs > heartbeatMs + deadMs) {
      this.#context.metrics.event("upstream_dead");
      transport.destroy(`no answer to a heartbeat within ${deadMs} ms`);
    } else if (nowMs - this.#heardMs > heartbeatMs && nowMs - this.#sentMs > heartbeatMs / 3) {
      this.#sentMs = nowMs;
      this.#ask(transport);
    }
  }

  #ask(transport: Transport): void {
    try {
      const heartbeat = this.#codec.heartbeat(this.#pending.skip());
      transport.write(heartbeat, 0, heartbeat.length);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#context.metrics.event("malformed");
      transport.destroy(error.message);
    }
  }

  /** Takes no more requests, and closes when the last reply has come. */
  drain(): void {
    this.draining = true;
    this.#closeIfDrained();
  }

  destroy(reason: string): void {
    if (this.#transport !== undefined) this.#transport.destroy(reason);
    else this.#fail(reason);
  }

  onBytes(bytes: Buffer, size: number): void {
    this.#heardMs = this.#context.clock.now();
    if (this.#reader.read(bytes, size)) return;
    if (this.#reader.fault !== undefined) {
      this.#context.metrics.event(this.#reader.fault === "malformed" ? "malformed" : "frame_budget");
      this.#transport?.destroy(this.#reader.faultText);
    }
  }

  onDrain(): void {}

  /** Nothing new is sent to a server that has closed its side; what was sent may still be lost with it. */
  onPeerEnd(): undefined {
    this.draining = true;
    this.pool.ended(this);
  }

  onClose(reason: string): void {
    if (this.#pending.size > 0) this.#context.metrics.event("upstream_lost");
    this.#fail(reason);
  }

  #onFrame(frame: RpcFrame): boolean {
    switch (frame.kind) {
      case frameKind.response: {
        const exchange = frame.idHigh === 0 ? this.#pending.take(frame.id) : undefined;
        if (exchange === undefined) this.#context.metrics.event("late_reply");
        else this.#answered(exchange, frame);
        if (this.draining) this.#closeIfDrained();
        break;
      }
      case frameKind.heartbeat: {
        this.#answerHeartbeat(frame);
        break;
      }
      case frameKind.heartbeatReply:
        break;
      case frameKind.readOnly:
        this.pool.goingAway(this.#context.limits.readOnlyMs);
        break;
      default:
        this.#context.metrics.event("ignored_frame");
    }
    return !this.#closed;
  }

  /** A reply that the codec cannot pass on is lost to its caller, and so is whatever came behind it. */
  #answered(exchange: FrameExchange, frame: RpcFrame): void {
    try {
      this.#context.owner.answered(exchange, frame);
    } catch (error) {
      if (error instanceof FrameError) this.#context.owner.lost(exchange, error.message);
      throw error;
    }
  }

  /** A server that asks and asks and does not read its answers gets no more of them. */
  #answerHeartbeat(frame: RpcFrame): void {
    const transport = this.#transport;
    if (transport === undefined || transport.queuedBytes > this.#context.limits.upstreamQueueBytes) return;
    const reply = this.#codec.heartbeatReply(frame);
    transport.write(reply, 0, reply.length);
  }

  #wait(exchange: FrameExchange, bytes: Buffer, start: number, size: number): Refusal {
    if (!this.#context.held.take(size)) return "overload";
    exchange.held = Buffer.from(bytes.subarray(start, start + size));
    exchange.place = this;
    this.#waiting.add(exchange);
    return undefined;
  }

  #dialled(transport: Transport | undefined, reason: string): void {
    this.#giveUp = undefined;
    if (this.#closed) return transport?.destroy("given up");
    if (transport === undefined) return this.#fail(reason);
    this.#transport = transport;
    this.#name = dialledName(transport);
    this.#context.dialled.add(this.#name);
    this.#heardMs = this.#context.clock.now();
    this.pool.connected();
    transport.open(this);
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const exchange of waiting) {
      const held = exchange.held as Buffer;
      exchange.held = undefined;
      exchange.place = undefined;
      this.#context.held.give(held.length);
      this.#sendHeld(exchange, held);
    }
    this.#closeIfDrained();
  }

  #sendHeld(exchange: FrameExchange, held: Buffer): void {
    try {
      if (this.send(exchange, held, 0, held.length) !== undefined) this.#context.owner.refused(exchange, "overload");
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      exchange.caller.fault(error);
    }
  }

  /** The connection was never made (what waits may try elsewhere) or is lost (what was sent may have been carried out). */
  #fail(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#giveUp?.();
    this.#reader.close();
    const connected = this.#transport !== undefined;
    this.#context.dialled.delete(this.#name);
    this.#transport = undefined;
    this.pool.lost(this, connected);
    for (const exchange of this.#pending.drain()) this.#context.owner.lost(exchange, reason);
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const exchange of waiting) {
      this.#context.held.give(exchange.held?.length ?? 0);
      exchange.place = undefined;
      this.#context.owner.notSent(exchange, this.pool, reason);
    }
  }

  #closeIfDrained(): void {
    if (!this.draining || this.load > 0) return;
    if (this.#transport !== undefined) this.#transport.end();
    else this.#fail("not needed any more");
  }
}
