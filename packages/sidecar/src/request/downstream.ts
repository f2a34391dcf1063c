/**
 * A caller's connection. Its first bytes say which protocol it speaks; from then on it is cut into frames that go to `DataPlane.request`.
 * A caller that does not take its replies is cut: it never holds back the upstream connection that it shares with others.
 */
import { type FrameKind, frameKind, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import type { DataMetrics, Direction } from "../metrics.ts";
import { FrameReader, type PartialFrames } from "../transport/frame-reader.ts";
import type { Transport, TransportEvents } from "../transport/transport.ts";
import type { Caller } from "./exchange.ts";
import type { RouteTable } from "./routes.ts";

export interface DownstreamLimits {
  /** Bytes and replies that a caller may leave unread. */
  readonly stageBytes: number;
  readonly stageReplies: number;
  /** From the first byte of a frame to its last. */
  readonly frameMs: number;
  /** Without a byte in either direction. */
  readonly idleMs: number;
}

export interface DownstreamContext {
  readonly metrics: DataMetrics;
  readonly limits: DownstreamLimits;
  readonly partialFrames: PartialFrames;
  readonly now: () => number;
  /** Recognises the protocol of the first bytes; undefined when it is none that this port carries, "more" when it cannot be told yet. */
  readonly recognise: (head: Uint8Array) => RpcCodec | "more" | undefined;
  readonly request: (downstream: Downstream, frame: RpcFrame) => void;
  readonly gone: (downstream: Downstream) => void;
}

const noBytes = Buffer.alloc(0);
const maxSniffBytes = 32;

export class Downstream implements TransportEvents, Caller {
  readonly direction: Direction;
  readonly table: RouteTable;
  readonly transport: Transport;
  readonly #context: DownstreamContext;
  #codec: RpcCodec | undefined;
  #reader: FrameReader<RpcFrame> | undefined;
  #first: Buffer = noBytes;
  #unreadReplies = 0;
  #frameSinceMs = 0;
  #activeMs: number;
  closed = false;
  /** The calling application; empty until its first request has said it. */
  source = "";
  writer = 0;
  /** The caller is this sidecar itself: somebody gave its own outbound port for an endpoint. */
  isLoop = false;

  constructor(transport: Transport, direction: Direction, table: RouteTable, context: DownstreamContext) {
    this.transport = transport;
    this.direction = direction;
    this.table = table;
    this.#context = context;
    this.#activeMs = context.now();
  }

  get codec(): RpcCodec {
    return this.#codec as RpcCodec;
  }

  /** The protocol of the connection, once its first bytes have come. */
  get recognised(): RpcCodec | undefined {
    return this.#codec;
  }

  /** Asks the caller to send nothing new here, where the protocol can say so. */
  farewell(): void {
    const bytes = this.#codec?.farewell();
    if (bytes !== undefined) this.reply(bytes, 0, bytes.length);
  }

  onBytes(bytes: Buffer, size: number): void {
    this.#activeMs = this.#context.now();
    if (this.#reader === undefined) {
      this.#sniff(bytes, size);
      return;
    }
    this.#read(this.#reader, bytes, size);
  }

  onDrain(): void {
    this.#unreadReplies = 0;
  }

  onPeerEnd(): void {}

  onClose(_reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.#reader?.close();
    this.#context.gone(this);
  }

  reply(bytes: Buffer, start: number, end: number): void {
    if (this.closed) {
      this.#context.metrics.event("reply_dropped");
      return;
    }
    const { stageBytes, stageReplies } = this.#context.limits;
    const transport = this.transport;
    if (++this.#unreadReplies > stageReplies || transport.queuedBytes >= stageBytes) {
      // Many replies may have come in one turn: the kernel is asked before the caller is blamed.
      transport.flush();
      const queued = transport.queuedBytes;
      if (queued === 0) this.#unreadReplies = 1;
      else if (queued >= stageBytes || this.#unreadReplies > stageReplies) {
        this.#context.metrics.event("downstream_cut");
        transport.destroy("does not take its replies");
        return;
      }
    }
    transport.write(bytes, start, end);
  }

  /** Once a second: closes what is stuck in the middle of a frame, or has said nothing for too long. */
  sweep(nowMs: number): void {
    const { frameMs, idleMs } = this.#context.limits;
    if ((this.#reader?.heldBytes ?? this.#first.length) === 0) this.#frameSinceMs = 0;
    else if (this.#frameSinceMs === 0) this.#frameSinceMs = nowMs;
    else if (nowMs - this.#frameSinceMs > frameMs) this.#cut("slow_frame", `a frame took longer than ${frameMs} ms`);
    if (nowMs - this.#activeMs > idleMs) this.#cut("idle_closed", `idle for ${idleMs} ms`);
  }

  #cut(event: "slow_frame" | "idle_closed" | "unknown_protocol" | "malformed" | "frame_budget", reason: string): void {
    if (this.closed) return;
    this.#context.metrics.event(event);
    this.transport.destroy(reason);
  }

  #sniff(bytes: Buffer, size: number): void {
    const head =
      this.#first.length === 0 ? bytes.subarray(0, size) : Buffer.concat([this.#first, bytes.subarray(0, size)]);
    const codec = this.#context.recognise(head);
    if (codec === "more" && head.length < maxSniffBytes) {
      this.#first = Buffer.from(head);
      return;
    }
    if (codec === undefined || codec === "more")
      return this.#cut("unknown_protocol", "the first bytes belong to no protocol that is carried here");
    this.#first = noBytes;
    this.#codec = codec;
    this.#reader = new FrameReader(codec, this.#context.partialFrames, (frame) => this.#onFrame(frame));
    this.#read(this.#reader, head, head.length);
  }

  #read(reader: FrameReader<RpcFrame>, bytes: Buffer, size: number): void {
    if (!reader.read(bytes, size)) {
      if (reader.fault !== undefined)
        this.#cut(reader.fault === "malformed" ? "malformed" : "frame_budget", reader.faultText);
      return;
    }
    // A frame that became whole has ended the time of the one before.
    if (reader.heldBytes === 0) this.#frameSinceMs = 0;
  }

  #onFrame(frame: RpcFrame): boolean {
    this.#frameSinceMs = 0;
    const kind: FrameKind = frame.kind;
    if (kind === frameKind.request || kind === frameKind.oneway) this.#context.request(this, frame);
    else if (kind === frameKind.heartbeat) {
      const reply = this.codec.heartbeatReply(frame);
      this.reply(reply, 0, reply.length);
    } else if (kind !== frameKind.heartbeatReply) this.#context.metrics.event("ignored_frame");
    return !this.closed;
  }
}
