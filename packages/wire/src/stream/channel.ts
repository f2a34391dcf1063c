/**
 * What both ends of the registry stream know of a connection, so that a simulation can stand in for TCP, and the cutting of what
 * arrives into messages.
 */
import { FrameError } from "../codec.ts";
import { frameHeadBytes, type StreamFrame, streamCodec } from "./codec.ts";
import { maxStreamFrameBytes } from "./limits.ts";

export interface Channel {
  /** `address:port` of the peer, to show. */
  readonly remote: string;
  /** Takes the bytes over; they must not be changed afterwards. Does nothing once the channel is closed. */
  send(bytes: Buffer): void;
  /** Bytes that the peer has not taken yet. */
  readonly queuedBytes: number;
  /** Closes once what was sent has left; the peer that does not take it is cut after a while. */
  close(): void;
  /** Closes now. */
  destroy(): void;
  pause(): void;
  resume(): void;
}

export interface ChannelEvents {
  /** `bytes` is valid during the call only. */
  received(bytes: Buffer): void;
  /** Everything that was sent has been taken, after a time when it had not. */
  drained(): void;
  /** The connection is gone, once, whoever closed it. */
  closed(reason: string): void;
}

/** What the incomplete frames of many connections may take together, in bytes. */
export class PartialBytes {
  readonly limit: number;
  used = 0;

  constructor(limit: number) {
    this.limit = limit;
  }
}

/** Cuts bytes into frames. What is incomplete is kept in a buffer that grows with what arrived, up to the limit. */
export class FrameCutter {
  readonly #frame: StreamFrame = streamCodec.view();
  readonly #onFrame: (frame: StreamFrame) => boolean;
  /** The largest frame that is accepted now. */
  maxBytes: number;
  readonly #budget: PartialBytes;
  #partial: Buffer = noBytes;
  #held = 0;
  /** Bytes that the partial frame is known to need. */
  #need = 0;
  /** When the partial frame began. */
  #since = 0;
  #now = 0;

  /** `onFrame` returns false when it wants no more; a frame is valid during the call only. */
  constructor(
    maxBytes: number,
    onFrame: (frame: StreamFrame) => boolean,
    budget: PartialBytes = new PartialBytes(maxStreamFrameBytes),
  ) {
    this.#budget = budget;
    this.maxBytes = maxBytes;
    this.#onFrame = onFrame;
  }

  get heldBytes(): number {
    return this.#held;
  }

  /** For how long, at `now`, a frame has been waiting for its last byte; 0 when none is incomplete. */
  unfinishedMs(now: number): number {
    return this.#held === 0 ? 0 : now - this.#since;
  }

  /** Counts the time of an incomplete frame from `now` on: what lay before was not its sender's doing. */
  restartFrameTime(now: number): void {
    this.#since = now;
  }

  /**
   * Takes what arrived at `now`. Raises `FrameError` on malformed bytes; the connection must then be closed. Returns false once no more
   * was wanted.
   */
  read(bytes: Buffer, now: number): boolean {
    this.#now = now;
    let at = 0;
    while (this.#held > 0) {
      if (at === bytes.length) return true;
      const want = Math.min(this.#need - this.#held, bytes.length - at);
      this.#keep(bytes, at, at + want);
      at += want;
      if (this.#held < this.#need) return true;
      const size = this.#decode(this.#partial, 0, this.#held);
      if (size <= 0) {
        this.#need = -size;
        continue;
      }
      const wanted = this.#onFrame(this.#frame);
      this.close();
      if (!wanted) return false;
    }
    while (at < bytes.length) {
      const size = this.#decode(bytes, at, bytes.length);
      if (size <= 0) {
        this.#need = -size;
        this.#keep(bytes, at, bytes.length);
        return true;
      }
      at += size;
      if (!this.#onFrame(this.#frame)) return false;
    }
    return true;
  }

  /** Forgets what is incomplete and gives its memory back. */
  close(): void {
    this.#budget.used -= this.#partial.length;
    this.#partial = noBytes;
    this.#held = 0;
  }

  #decode(bytes: Buffer, at: number, end: number): number {
    const size = streamCodec.decode(bytes, at, end, this.#frame);
    if (Math.abs(size) > this.maxBytes && Math.abs(size) > frameHeadBytes)
      throw new FrameError("stream", 4, `a frame of ${Math.abs(size)} bytes, allowed here are ${this.maxBytes}`);
    return size;
  }

  #keep(bytes: Buffer, from: number, to: number): void {
    if (this.#held === 0) this.#since = this.#now;
    const size = this.#held + to - from;
    if (size > this.#partial.length) {
      const capacity = Math.max(size, Math.min(this.#need, this.#partial.length * 2));
      const more = capacity - this.#partial.length;
      if (this.#budget.used + more > this.#budget.limit)
        throw new FrameError("stream", 0, "incomplete frames take all the memory that they may");
      this.#budget.used += more;
      const grown = Buffer.allocUnsafeSlow(capacity);
      this.#partial.copy(grown, 0, 0, this.#held);
      this.#partial = grown;
    }
    bytes.copy(this.#partial, this.#held, from, to);
    this.#held = size;
  }
}

const noBytes = Buffer.alloc(0);
