/**
 * Why this exists: every request names its service in bytes, and a process sees the same few names over and over. `TextTable` gives
 * the same JavaScript string for the same bytes without decoding them again, so that looking up a service costs a comparison of
 * bytes and no allocation. It is bounded: a name whose places are all taken replaces one that stood there.
 */

/** How many texts one table remembers (`hash` gives so many values), and in how many places of it one text may stand. */
const slots = 1_024;
const ways = 4;

/** A longer slice is decoded each time, so that a table holds half a megabyte of keys at the very most. */
const maxSliceBytes = 512;

const nothing: Buffer = Buffer.alloc(0);

/** Makes the text of `bytes[start, end)`; undefined (remembered too) when the bytes have none. */
type ReadText = (bytes: Buffer, start: number, end: number) => string | undefined;

export class TextTable {
  readonly #read: ReadText;
  readonly #keys: Buffer[];
  readonly #texts: (string | undefined)[];
  #lastKey: Buffer;
  #lastText: string | undefined;
  #victim: number;

  constructor(read: ReadText) {
    this.#read = read;
    this.#keys = new Array<Buffer>(slots).fill(nothing);
    this.#texts = new Array<string | undefined>(slots).fill(undefined);
    this.#lastKey = nothing;
    this.#lastText = undefined;
    this.#victim = 0;
  }

  /** The text of `bytes[start, end)`, which must lie within `bytes` and not be empty. */
  textOf(bytes: Buffer, start: number, end: number): string | undefined {
    if (equalAt(this.#lastKey, bytes, start, end)) return this.#lastText;
    if (end - start > maxSliceBytes) return this.#read(bytes, start, end);
    const first = hash(bytes, start, end) & (slots - ways);
    for (let slot = first; slot < first + ways; slot++) {
      if (equalAt(this.#keys[slot] as Buffer, bytes, start, end)) return this.#remember(slot);
    }
    const slot = first + this.#victim;
    this.#victim = (this.#victim + 1) % ways;
    const key = Buffer.alloc(end - start); // Buffer.from would take a piece of the shared pool and keep all of it alive
    bytes.copy(key, 0, start, end);
    this.#texts[slot] = this.#read(bytes, start, end);
    this.#keys[slot] = key;
    return this.#remember(slot);
  }

  #remember(slot: number): string | undefined {
    this.#lastKey = this.#keys[slot] as Buffer;
    this.#lastText = this.#texts[slot];
    return this.#lastText;
  }
}

/** True when `bytes[start, end)` is exactly `key`. */
export function equalAt(key: Buffer, bytes: Buffer, start: number, end: number): boolean {
  const length = end - start;
  if (key.length !== length) return false;
  // From the end, since names of one company begin alike and differ at their end.
  for (let at = length - 1; at >= 0; at--) {
    if (key[at] !== bytes[start + at]) return false;
  }
  return true;
}

function hash(bytes: Buffer, start: number, end: number): number {
  let sum = end - start;
  for (let at = start; at < end; at++) sum = (Math.imul(sum, 31) + (bytes[at] as number)) | 0;
  return Math.imul(sum, 0x9e3779b1) >>> 22; // ten bits, the best mixed ones
}
