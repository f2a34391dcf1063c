/**
 * Cuts what a peer sends into whole jute records. What is not whole yet is kept in a buffer that grows with what has come, never for a
 * length that was only promised.
 */
import { FrameError } from "@dualmesh/wire/codec";
import { maxJuteBytes } from "@dualmesh/wire/jute/frame";

const lengthBytes = 4;
const nothing = Buffer.alloc(0);

export class JuteFrames {
  readonly #onRecord: (record: Buffer) => boolean;
  readonly #maxBytes: number;
  /** What came of a frame that is not whole yet is `#part[0, #held)`. */
  #part: Buffer = nothing;
  #held = 0;

  /** `onRecord` returns false when it wants no more; a record is valid during the call only. */
  constructor(onRecord: (record: Buffer) => boolean, maxBytes: number = maxJuteBytes) {
    this.#onRecord = onRecord;
    this.#maxBytes = maxBytes;
  }

  /** Bytes of a frame that is not whole yet. */
  get heldBytes(): number {
    return this.#held;
  }

  /** Raises `FrameError` for a length that is not accepted. Returns false once no more was wanted. */
  read(bytes: Buffer): boolean {
    let source = bytes;
    let end = bytes.length;
    if (this.#held > 0) {
      this.#append(bytes);
      source = this.#part;
      end = this.#held;
    }
    let at = 0;
    while (end - at >= lengthBytes) {
      const length = source.readInt32BE(at);
      if (length < 0 || length > this.#maxBytes)
        throw new FrameError("jute", 0, `a record of ${length} bytes is not accepted`);
      if (end - at < lengthBytes + length) break;
      const record = source.subarray(at + lengthBytes, at + lengthBytes + length);
      at += lengthBytes + length;
      if (!this.#onRecord(record)) {
        this.close();
        return false;
      }
    }
    this.#keep(source, at, end);
    return true;
  }

  /** Forgets what is not whole. */
  close(): void {
    this.#part = nothing;
    this.#held = 0;
  }

  #keep(source: Buffer, at: number, end: number): void {
    if (at === end) this.close();
    else if (source === this.#part) {
      this.#part.copyWithin(0, at, end);
      this.#held = end - at;
    } else this.#append(source.subarray(at, end));
  }

  #append(bytes: Buffer): void {
    const size = this.#held + bytes.length;
    if (size > this.#part.length) {
      const most = this.#maxBytes + lengthBytes;
      const grown = Buffer.allocUnsafeSlow(Math.max(size, Math.min(this.#part.length * 2, most)));
      this.#part.copy(grown, 0, 0, this.#held);
      this.#part = grown;
    }
    bytes.copy(this.#part, this.#held);
    this.#held = size;
  }
}
