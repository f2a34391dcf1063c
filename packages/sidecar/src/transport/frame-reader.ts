/**
 * Cuts what a connection reads into whole frames. Whole frames are handed on where they lie in the shared read buffer; only what is
 * incomplete at the end of a read is kept, in a buffer that grows with what has arrived and never with what was promised. All
 * partial frames of the process together are bounded by one `ByteBudget` budget.
 */
import type { ByteBudget } from "@dualmesh/base/byte-budget";
import { type FrameCodec, FrameError, maxFrameBytes } from "@dualmesh/wire/codec";

const firstBytes = 1_024;

/** Why a connection cannot be read any further. */
export type ReadFault = "malformed" | "frame-budget";

export class FrameReader<Frame> {
  readonly #codec: FrameCodec<Frame>;
  readonly #frame: Frame;
  readonly #budget: ByteBudget;
  /** Returns false when no further frame is wanted (the connection has been closed meanwhile). */
  readonly #onFrame: (frame: Frame) => boolean;
  #partial: Buffer | undefined;
  #held = 0;
  #need = 0;
  fault: ReadFault | undefined;
  faultText = "";

  constructor(codec: FrameCodec<Frame>, budget: ByteBudget, onFrame: (frame: Frame) => boolean) {
    this.#codec = codec;
    this.#frame = codec.view();
    this.#budget = budget;
    this.#onFrame = onFrame;
  }

  /** Bytes of the frame that is not whole yet. */
  get heldBytes(): number {
    return this.#held;
  }

  /** Takes in `bytes[0, size)`. Returns false when the connection must be closed: see `fault`, or nothing more was wanted. */
  read(bytes: Buffer, size: number): boolean {
    try {
      let offset = 0;
      while (this.#held > 0) {
        if (offset === size) return true;
        const taken = this.#complete(bytes, offset, size);
        if (taken < 0) return false;
        offset += taken;
      }
      return this.#whole(bytes, offset, size);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.fault = "malformed";
      this.faultText = error.message;
      return false;
    }
  }

  /** Gives the budget back; the reader is of no further use. */
  close(): void {
    this.#release();
  }

  /** The partial frame, for a connection that is handed over. */
  residual(): Buffer {
    return Buffer.from(this.#partial?.subarray(0, this.#held) ?? []);
  }

  #whole(bytes: Buffer, from: number, size: number): boolean {
    let offset = from;
    const codec = this.#codec;
    const frame = this.#frame;
    while (offset < size) {
      const length = codec.decode(bytes, offset, size, frame);
      if (length <= 0) return this.#keep(bytes, offset, size, -length);
      if (!this.#onFrame(frame)) return false;
      offset += length;
    }
    return true;
  }

  /** Adds to the partial frame as much as it is known to need, and hands it on once whole. Returns the bytes used, or -1. */
  #complete(bytes: Buffer, offset: number, size: number): number {
    const want = Math.min(this.#need - this.#held, size - offset);
    if (!this.#grow(this.#held + want)) return -1;
    const partial = this.#partial as Buffer;
    bytes.copy(partial, this.#held, offset, offset + want);
    this.#held += want;
    if (this.#held < this.#need) return want;
    const length = this.#codec.decode(partial, 0, this.#held, this.#frame);
    if (length <= 0) {
      this.#need = -length;
      return want;
    }
    const wanted = this.#onFrame(this.#frame);
    this.#release();
    return wanted ? want : -1;
  }

  #keep(bytes: Buffer, offset: number, size: number, need: number): boolean {
    const have = size - offset;
    this.#need = need;
    if (!this.#grow(have)) return false;
    bytes.copy(this.#partial as Buffer, 0, offset, size);
    this.#held = have;
    return true;
  }

  #grow(bytes: number): boolean {
    const old = this.#partial;
    const capacity = old?.length ?? 0;
    if (bytes <= capacity) return true;
    const next = Math.max(bytes, Math.min(Math.max(firstBytes, capacity * 2), this.#need, maxFrameBytes));
    if (!this.#budget.take(next - capacity)) {
      this.fault = "frame-budget";
      this.faultText = "partial frames use all the memory that they may";
      return false;
    }
    const grown = Buffer.allocUnsafeSlow(next);
    old?.copy(grown, 0, 0, this.#held);
    this.#partial = grown;
    return true;
  }

  #release(): void {
    if (this.#partial !== undefined) this.#budget.give(this.#partial.length);
    this.#partial = undefined;
    this.#held = 0;
    this.#need = 0;
  }
}
