/**
 * The way of a connection whose protocol has whole frames (Bolt, Dubbo): they are cut where they lie in the read buffer, requests go to
 * `Requests.take`, heartbeats are answered here. A caller that does not take its replies is cut: it never holds back the upstream
 * connection that it shares with others.
 */
import type { ByteBudget } from "@dualmesh/base/byte-budget";
import { FrameError } from "@dualmesh/wire/codec";
import { type FrameKind, frameKind, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import type { DataMetrics, Direction } from "../metrics.ts";
import { FrameReader } from "../transport/frame-reader.ts";
import type { Transport } from "../transport/transport.ts";
import type { Downstream, DownstreamLimits } from "./downstream.ts";
import type { Caller } from "./exchange.ts";
import type { Frozen, MovedState, Obstacle, Relay } from "./moving.ts";
import type { RouteTable } from "./routes.ts";
import type { CarriedProtocol, Way } from "./way.ts";

export interface FrameWayContext {
  readonly metrics: DataMetrics;
  readonly limits: DownstreamLimits;
  readonly partialFrames: ByteBudget;
  /** Takes a request or oneway; `frame` is valid during the call only. */
  readonly take: (caller: FrameWay, frame: RpcFrame) => void;
}

/** The protocol of this codec as a port carries it. */
export function frameProtocol(codec: RpcCodec, context: FrameWayContext): CarriedProtocol {
  const { protocol } = codec;
  return { protocol, sniff: codec.sniff, open: (downstream) => new FrameWay(downstream, codec, context) };
}

export class FrameWay implements Way, Caller {
  readonly codec: RpcCodec;
  readonly protocol: string;
  readonly direction: Direction;
  readonly table: RouteTable;
  readonly transport: Transport;
  readonly #downstream: Downstream;
  readonly #context: FrameWayContext;
  readonly #reader: FrameReader<RpcFrame>;
  #unreadReplies = 0;
  /** Replies that came while the connection stood still. */
  #kept: Buffer[] | undefined;
  #relay: Relay | undefined;
  closed = false;
  /** The calling application; empty until its first request has said it. */
  source = "";
  writer = 0;
  /** The caller is this sidecar itself: somebody gave its own outbound port for an endpoint. */
  isLoop = false;

  constructor(downstream: Downstream, codec: RpcCodec, context: FrameWayContext) {
    this.codec = codec;
    this.protocol = codec.protocol;
    this.direction = downstream.direction;
    this.table = downstream.table;
    this.transport = downstream.transport;
    this.#downstream = downstream;
    this.#context = context;
    this.#reader = new FrameReader(codec, context.partialFrames, (frame) => this.#onFrame(frame));
  }

  get heldBytes(): number {
    return this.#reader.heldBytes;
  }

  onBytes(bytes: Buffer, size: number): void {
    const reader = this.#reader;
    if (reader.read(bytes, size)) {
      // A frame that became whole has ended the time of the one before.
      if (reader.heldBytes === 0) this.#downstream.finishedOne();
    } else if (reader.fault !== undefined)
      this.#downstream.cut(reader.fault === "malformed" ? "malformed" : "frame_budget", reader.faultText);
  }

  #onFrame(frame: RpcFrame): boolean {
    this.#downstream.finishedOne();
    const kind: FrameKind = frame.kind;
    if (kind === frameKind.request || kind === frameKind.oneway) this.#context.take(this, frame);
    else if (kind === frameKind.heartbeat) {
      const reply = this.codec.heartbeatReply(frame);
      this.reply(reply, 0, reply.length);
    } else if (kind !== frameKind.heartbeatReply) this.#context.metrics.event("ignored_frame");
    return !this.closed;
  }

  reply(bytes: Buffer, start: number, end: number): void {
    if (this.closed) {
      this.#context.metrics.event("reply_dropped");
      return;
    }
    if (this.#relay !== undefined) return this.#relay(bytes, start, end);
    if (this.#kept !== undefined) return void this.#kept.push(Buffer.from(bytes.subarray(start, end)));
    const { stageBytes, stageReplies } = this.#context.limits;
    const transport = this.transport;
    if (++this.#unreadReplies > stageReplies || transport.queuedBytes >= stageBytes) {
      // Many replies may have come in one turn: the kernel is asked before the caller is blamed.
      transport.flush();
      const queued = transport.queuedBytes;
      if (queued === 0) this.#unreadReplies = 1;
      else if (queued >= stageBytes || this.#unreadReplies > stageReplies)
        return this.#downstream.cut("downstream_cut", "does not take its replies");
    }
    transport.write(bytes, start, end);
  }

  fault(error: FrameError): void {
    this.#downstream.cut("malformed", error.message);
  }

  onDrain(): void {
    this.#unreadReplies = 0;
  }

  onEnd(): boolean {
    return false;
  }

  onClose(): void {
    this.closed = true;
    this.#reader.close();
  }

  farewell(): void {
    try {
      const bytes = this.codec.farewell();
      if (bytes !== undefined) this.reply(bytes, 0, bytes.length);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.fault(error);
    }
  }

  // ---- to another process ----

  freeze(): Frozen | Obstacle {
    const { transport } = this;
    if (this.closed) return "closing";
    if (!transport.freeze()) return transport.descriptor === undefined ? "closing" : "unread";
    this.#kept = [];
    const { protocol, source, writer, isLoop } = this;
    const state = { protocol, source, writer, isLoop, leaving: false, residual: this.#reader.residual() };
    return { state, descriptors: [transport.descriptor as number], wroteAll: [transport.wroteAll] };
  }

  /** Takes requests that waited for somewhere to go, and were told to another process, as if they came now. */
  again(requests: readonly Buffer[]): void {
    const frame = this.codec.view();
    for (const bytes of requests)
      if (!this.closed && this.codec.decode(bytes, 0, bytes.length, frame) === bytes.length) this.#onFrame(frame);
  }

  thaw(): void {
    const kept = this.#kept ?? [];
    this.#kept = undefined;
    if (this.closed) return;
    this.transport.thaw();
    for (const reply of kept) this.reply(reply, 0, reply.length);
  }

  surrender(relay: Relay): void {
    const kept = this.#kept ?? [];
    this.#kept = undefined;
    this.#reader.close();
    this.transport.letGo();
    this.#relay = relay;
    for (const reply of kept) relay(reply, 0, reply.length);
  }

  inherit({ source, writer, isLoop }: MovedState): void {
    this.source = source;
    this.writer = writer;
    this.isLoop = isLoop;
  }
}
