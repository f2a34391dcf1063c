/**
 * Memory outside the heap of JavaScript, in slots that never move: a place is a number, and the collector sees a handful of buffers however many
 * instances there are. Chunks of 1 MiB each hold slots of one size. A chunk whose last slot was freed serves any size next, and beyond a
 * few its memory is given back.
 */

/** The place of a slot: the chunk in the upper 15 bits, and eights of bytes in it in the lower 17. Never 0. */
export type Place = number;

const chunkBytes = 1024 * 1024;
const unitBits = 17;
const unitMask = (1 << unitBits) - 1;
const maxChunks = 1 << (32 - unitBits);
/** Empty chunks that are kept for what comes next. */
const keptChunks = 4;
/** Of a slot; the largest record with what stands before it fits. */
export const maxSlotBytes = 64 * 1024;

interface Chunk {
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly slotBytes: number;
  readonly slots: number;
  used: number;
  /** Slots that were never used begin here, counted in slots. */
  fresh: number;
  /** The unit of the first freed slot, whose first word holds the next; 0 for none, since the first unit of a chunk is never used. */
  freed: number;
  /** Among those of its size that have room. */
  isOpen: boolean;
}

export class Arena {
  readonly #chunks: (Chunk | undefined)[] = [];
  /** Numbers of chunks that were given back. */
  readonly #vacant: number[] = [];
  readonly #empty: ArrayBuffer[] = [];
  /** By size class: the chunks with room, the newest last. */
  readonly #open: number[][] = slotSizes.map(() => []);
  #used = 0;

  /** Bytes of all chunks, with the empty ones that are kept. */
  get heldBytes(): number {
    return (this.#chunks.length - this.#vacant.length + this.#empty.length) * chunkBytes;
  }

  /** Bytes of the slots in use. */
  get usedBytes(): number {
    return this.#used;
  }

  /** A slot of at least `bytes`, whose content is whatever was there. Throws `RangeError` when all that can be addressed (32 GiB) is in use. */
  allocate(bytes: number): Place {
    const size = classOf(bytes);
    const open = this.#open[size] as number[];
    const number = open.at(-1) ?? this.#openChunk(size);
    const chunk = this.#chunks[number] as Chunk;
    chunk.used++;
    this.#used += chunk.slotBytes;
    const unit = takeSlot(chunk);
    if (chunk.used === chunk.slots) {
      chunk.isOpen = false;
      open.pop();
    }
    return ((number << unitBits) | unit) >>> 0;
  }

  free(place: Place): void {
    const number = place >>> unitBits;
    const chunk = this.#chunkOf(place);
    const unit = place & unitMask;
    chunk.words[unit * 2] = chunk.freed;
    chunk.freed = unit;
    chunk.used--;
    this.#used -= chunk.slotBytes;
    if (chunk.used === 0) this.#close(number, chunk);
    else if (!chunk.isOpen) {
      chunk.isOpen = true;
      // Before the newest, so that the one that is filled now is filled first and others may become empty.
      (this.#open[classOf(chunk.slotBytes)] as number[]).unshift(number);
    }
  }

  /** How many bytes the slot has. */
  sizeOf(place: Place): number {
    return this.#chunkOf(place).slotBytes;
  }

  word(place: Place, index: number): number {
    return this.#chunkOf(place).words[(place & unitMask) * 2 + index] as number;
  }

  setWord(place: Place, index: number, value: number): void {
    this.#chunkOf(place).words[(place & unitMask) * 2 + index] = value;
  }

  /** The buffer in which the slot is, from `offsetOf` on. */
  bufferOf(place: Place): Buffer {
    return this.#chunkOf(place).bytes;
  }

  offsetOf(place: Place): number {
    return (place & unitMask) * 8;
  }

  #chunkOf(place: Place): Chunk {
    return this.#chunks[place >>> unitBits] as Chunk;
  }

  #openChunk(size: number): number {
    const slotBytes = slotSizes[size] as number;
    const number = this.#vacant.pop() ?? this.#chunks.length;
    if (number >= maxChunks) throw new RangeError("the registry holds as much as it can address, 32 GiB");
    const memory = this.#empty.pop() ?? new ArrayBuffer(chunkBytes);
    this.#chunks[number] = {
      bytes: Buffer.from(memory),
      words: new Uint32Array(memory),
      slotBytes,
      // Without the first unit: place 0 is none, and so is unit 0.
      slots: Math.floor((chunkBytes - 8) / slotBytes),
      used: 0,
      fresh: 0,
      freed: 0,
      isOpen: true,
    };
    (this.#open[size] as number[]).push(number);
    return number;
  }

  #close(number: number, { bytes, slotBytes }: Chunk): void {
    const open = this.#open[classOf(slotBytes)] as number[];
    const at = open.indexOf(number);
    if (at >= 0) open.splice(at, 1);
    this.#chunks[number] = undefined;
    this.#vacant.push(number);
    if (this.#empty.length < keptChunks) this.#empty.push(bytes.buffer as ArrayBuffer);
  }
}

function takeSlot(chunk: Chunk): number {
  const { freed } = chunk;
  if (freed !== 0) {
    chunk.freed = chunk.words[freed * 2] as number;
    return freed;
  }
  return 1 + (chunk.fresh++ * chunk.slotBytes) / 8;
}

/** Multiples of 8 up to 256, then each an eighth to a quarter larger. */
const slotSizes: readonly number[] = sizes();
const smallClasses = 256 / 8;

function sizes(): readonly number[] {
  const all: number[] = [];
  for (let size = 8; size <= 256; size += 8) all.push(size);
  for (let size = 256; size < maxSlotBytes; ) {
    size = Math.min(maxSlotBytes, Math.ceil((size * 1.15) / 8) * 8);
    all.push(size);
  }
  return all;
}

function classOf(bytes: number): number {
  if (bytes <= 256) return bytes <= 8 ? 0 : ((bytes + 7) >> 3) - 1;
  if (bytes > maxSlotBytes) throw new RangeError(`a slot of ${bytes} bytes, allowed are ${maxSlotBytes}`);
  let low = smallClasses;
  let high = slotSizes.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((slotSizes[middle] as number) < bytes) low = middle + 1;
    else high = middle;
  }
  return low;
}
