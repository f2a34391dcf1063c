/**
 * The last requests that went out, in one ring for the process. When the provider's sidecar answers that the application never saw a request, the
 * request goes to another provider, if its bytes are still here. Keeping it costs one copy and no allocation; what has been overwritten is
 * simply not tried again.
 */

/** Where a request lies in the ring: a position that only grows, -1 for nowhere. */
export interface Replayable {
  replayAt: number;
  replaySize: number;
}

export class ReplayRing {
  readonly #ring: Buffer;
  #written = 0;

  /** `bytes` of memory; frames larger than a quarter of it are not kept. */
  constructor(bytes: number) {
    this.#ring = Buffer.allocUnsafeSlow(bytes);
  }

  keep(item: Replayable, bytes: Buffer, start: number, size: number): void {
    const capacity = this.#ring.length;
    item.replayAt = -1;
    if (size * 4 > capacity) return;
    const left = capacity - (this.#written % capacity);
    if (left < size) this.#written += left; // a frame lies in one piece
    const at = this.#written;
    bytes.copy(this.#ring, at % capacity, start, start + size);
    this.#written = at + size;
    item.replayAt = at;
    item.replaySize = size;
  }

  /** The request's bytes, valid until the next `keep`; undefined when they have been overwritten. */
  find(item: Replayable): Buffer | undefined {
    const { replayAt, replaySize } = item;
    if (replayAt < 0 || this.#written - replayAt > this.#ring.length) return undefined;
    const from = replayAt % this.#ring.length;
    return this.#ring.subarray(from, from + replaySize);
  }
}
