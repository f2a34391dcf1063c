/**
 * A caller's connection. Its first bytes say which protocol it speaks, or where it came to does; from then on it is that protocol's `Way` that reads it. What is the same
 * for all protocols is here: how long a connection may be silent, or in the middle of something, and how it is cut.
 */
import { FrameError } from "@dualmesh/wire/codec";
import type { DataMetrics, Direction, EventName } from "../metrics.ts";
import type { Transport, TransportEvents } from "../transport/transport.ts";
import { type Frozen, isObstacle, type MovedState, type Obstacle, type Relay } from "./moving.ts";
import type { RouteTable } from "./routes.ts";
import { type CarriedProtocol, recognise, type Way } from "./way.ts";

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
  readonly protocols: readonly CarriedProtocol[];
  readonly now: () => number;
  readonly gone: (downstream: Downstream) => void;
}

const noBytes = Buffer.alloc(0);
const maxSniffBytes = 32;

/** Where a caller came in. */
export type Entrance = "outbound" | { readonly service: string } | { readonly inboundPort: number };

export function isInbound(entrance: Entrance): entrance is { readonly inboundPort: number } {
  return entrance !== "outbound" && "inboundPort" in entrance;
}

export class Downstream implements TransportEvents {
  readonly entrance: Entrance;
  readonly direction: Direction;
  readonly table: RouteTable;
  readonly transport: Transport;
  /** The service whose own address was called, where there is one. */
  readonly service: string | undefined;
  readonly #context: DownstreamContext;
  /** Undefined until the first bytes have said which it is. */
  way: Way | undefined;
  #first: Buffer = noBytes;
  #unfinishedSinceMs = 0;
  #activeMs: number;
  closed = false;
  /** Nothing is read, and nothing may be written or ended: another process may have begun to. */
  isStill = false;
  /** Set while it waits to go to another process. */
  onQuiet: ((downstream: Downstream) => boolean) | undefined = undefined;
  /** Told once when the connection is gone. */
  onGone: (() => void) | undefined = undefined;

  constructor(transport: Transport, entrance: Entrance, table: RouteTable, context: DownstreamContext) {
    this.transport = transport;
    this.entrance = entrance;
    this.direction = isInbound(entrance) ? "inbound" : "outbound";
    this.service = entrance !== "outbound" && "service" in entrance ? entrance.service : undefined;
    this.table = table;
    this.#context = context;
    this.#activeMs = context.now();
  }

  /** Nothing has come yet, and nothing says which protocol it will be. */
  get isSilent(): boolean {
    return this.way === undefined && this.#first.length === 0 && !this.closed;
  }

  /** Opens the way of this protocol before the first byte: where nothing that comes says which it is, or somebody else has heard it. */
  speak(protocol: CarriedProtocol): void {
    this.way = protocol.open(this);
  }

  onBytes(bytes: Buffer, size: number): void {
    this.#activeMs = this.#context.now();
    if (this.way === undefined) this.#sniff(bytes, size);
    else this.way.onBytes(bytes, size);
  }

  #sniff(bytes: Buffer, size: number): void {
    const head =
      this.#first.length === 0 ? bytes.subarray(0, size) : Buffer.concat([this.#first, bytes.subarray(0, size)]);
    try {
      this.#choose(head);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.cut("malformed", error.message);
    }
  }

  #choose(head: Buffer): void {
    const protocol = recognise(this.#context.protocols, head);
    if (protocol === "more" && head.length < maxSniffBytes) {
      this.#first = Buffer.from(head);
      return;
    }
    if (protocol === undefined || protocol === "more")
      return this.cut("unknown_protocol", "the first bytes belong to no protocol that is carried here");
    this.#first = noBytes;
    this.way = protocol.open(this);
    this.way.onBytes(head, head.length);
  }

  onDrain(): void {
    this.way?.onDrain();
    this.quiet();
  }

  onPeerEnd(): boolean {
    return this.way?.onEnd() ?? false;
  }

  onClose(_reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.way?.onClose();
    this.#context.gone(this);
    this.onGone?.();
  }

  /** A frame or head became whole: the time of the next one begins with its own first byte. */
  finishedOne(): void {
    this.#unfinishedSinceMs = 0;
  }

  /** Once a second: closes what is stuck in the middle of a frame, or has said nothing for too long. */
  sweep(nowMs: number): void {
    if (this.way?.sweep !== undefined) return this.way.sweep(nowMs);
    const { frameMs, idleMs } = this.#context.limits;
    if ((this.way?.heldBytes ?? this.#first.length) === 0) this.#unfinishedSinceMs = 0;
    else if (this.#unfinishedSinceMs === 0) this.#unfinishedSinceMs = nowMs;
    else if (nowMs - this.#unfinishedSinceMs > frameMs)
      this.cut("slow_frame", `a frame took longer than ${frameMs} ms`);
    if (nowMs - this.#activeMs > idleMs) this.cut("idle_closed", `idle for ${idleMs} ms`);
  }

  // ---- to another process, and from one ----

  /** Stands still and says what another process needs to know to go on; or why that cannot be now, and then nothing has changed. */
  freeze(): Frozen | Obstacle {
    if (this.closed) return "closing";
    const frozen = this.way === undefined ? this.#freezeFirst() : this.way.freeze();
    this.isStill = !isObstacle(frozen);
    return frozen;
  }

  #freezeFirst(): Frozen | Obstacle {
    const { transport } = this;
    if (!transport.freeze()) return "closing";
    const state = { protocol: "", source: "", writer: 0, isLoop: false, leaving: false, residual: this.#first };
    return { state, descriptors: [transport.descriptor as number], wroteAll: [transport.wroteAll] };
  }

  /** Goes on after all. */
  thaw(): void {
    if (this.closed) return;
    this.isStill = false;
    if (this.way === undefined) this.transport.thaw();
    else this.way.thaw();
  }

  /** The other process has the connection. What is still said to its caller goes to `relay`. */
  surrender(relay: Relay): void {
    if (this.way === undefined) this.transport.letGo();
    else this.way.surrender(relay);
    this.closed = true;
    this.onQuiet = this.onGone = undefined;
    this.#context.gone(this);
  }

  /** A moment at which it may be possible to go. True when it has stopped for that. */
  quiet(): boolean {
    return this.onQuiet?.(this) ?? false;
  }

  /** Before it is opened: what was known of it in the process that sent it. */
  inherit(state: MovedState, protocol: CarriedProtocol | undefined): void {
    this.#first = state.residual;
    if (protocol === undefined) return;
    this.way ??= protocol.open(this);
    this.way.inherit(state);
  }

  /** Opens what another process sent: first what that had read, then what comes. */
  begin(): void {
    const first = this.#first;
    this.#first = noBytes;
    if (first.length > 0) this.onBytes(Buffer.from(first), first.length);
    if (this.closed) return;
    this.transport.open(this);
    this.way?.start?.();
  }

  /** Closes at once and counts why. */
  cut(event: EventName, reason: string): void {
    if (this.closed) return;
    this.#context.metrics.event(event);
    this.transport.destroy(reason);
  }
}
