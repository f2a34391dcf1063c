/** Why this exists: the bytes of a head or of trailers that did not come at once, kept until the rest is there, up to a limit. */
const nothing: Buffer = Buffer.alloc(0);

const firstBytes = 1_024;

export class PartialBytes {
  bytes: Buffer = nothing;
  size = 0;
  readonly #maxBytes: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Room is taken by doubling, never for more than twice what is there, and never for more than the limit. */
  append(bytes: Buffer, start: number, end: number): void {
    const size = this.size + end - start;
    if (size > this.bytes.length) {
      const room = Math.min(Math.max(firstBytes, this.bytes.length * 2, size), Math.max(size, this.#maxBytes));
      const larger = Buffer.allocUnsafeSlow(room);
      this.bytes.copy(larger, 0, 0, this.size);
      this.bytes = larger;
    }
    bytes.copy(this.bytes, this.size, start, end);
    this.size = size;
  }

  /** Lets go of the bytes; a view of them stays good, since they are never written again. */
  clear(): void {
    this.bytes = nothing;
    this.size = 0;
  }
}
