/** Cuts what arrives into whole records. What is incomplete grows with what has come, never with what was only promised. */
import { FrameError } from "@dualmesh/wire/codec";
import type { PartialBytes } from "@dualmesh/wire/stream/channel";

const nothing = Buffer.alloc(0);

export interface RecordCutterOptions {
  readonly maxBytes: number;
  /** What the incomplete records of all connections take. */
  readonly partial: PartialBytes;
  /** A whole frame, length first, valid during the call only. False when no more is wanted. */
  readonly onFrame: (frame: Buffer) => boolean;
}

export class RecordCutter {
  readonly #options: RecordCutterOptions;
  /** What came of a frame that is not whole yet is `#part[0, #held)`. */
  #part: Buffer = nothing;
  #held = 0;

  constructor(options: RecordCutterOptions) {
    this.#options = options;
  }

  push(bytes: Buffer): void {
    let source = bytes;
    if (this.#held > 0) {
      this.#append(bytes);
      source = this.#part.subarray(0, this.#held);
    }
    let offset = 0;
    while (source.length - offset >= 4) {
      const length = source.readInt32BE(offset);
      if (length < 0 || length > this.#options.maxBytes)
        throw new FrameError("jute", 0, `a record of ${length} bytes is not accepted`);
      const end = offset + 4 + length;
      if (end > source.length) break;
      const wanted = this.#options.onFrame(source.subarray(offset, end));
      if (!wanted) return this.clear();
      offset = end;
    }
    const left = source.length - offset;
    if (left === 0) return this.clear();
    if (this.#held > 0) {
      this.#part.copyWithin(0, offset, this.#held);
      this.#held = left;
    } else this.#append(bytes.subarray(offset));
  }

  /** What came of a frame that is not whole yet; it is kept. */
  get rest(): Buffer {
    return Buffer.from(this.#part.subarray(0, this.#held));
  }

  clear(): void {
    this.#options.partial.used -= this.#part.length;
    this.#part = nothing;
    this.#held = 0;
  }

  #append(bytes: Buffer): void {
    const size = this.#held + bytes.length;
    if (size > this.#part.length) {
      const { partial } = this.#options;
      const capacity = Math.max(size, Math.min(this.#part.length * 2, this.#part.length + 2 ** 20));
      const more = capacity - this.#part.length;
      if (partial.used + more > partial.limit)
        throw new FrameError("jute", 0, "incomplete records take all the memory that they may");
      partial.used += more;
      const grown = Buffer.allocUnsafeSlow(capacity);
      this.#part.copy(grown, 0, 0, this.#held);
      this.#part = grown;
    }
    bytes.copy(this.#part, this.#held);
    this.#held = size;
  }
}
