/**
 * Byte strings that many hold, each kept once outside the heap of JavaScript. Who interns a string has a share of it until it is released; the place of a
 * string is its name as long as somebody has one.
 */
import type { Arena, Place } from "./arena.ts";

/** Words of a slot before the bytes: hash, shares, length, then those of its user. */
const ownWords = 3;
const hashWord = 0;
const sharesWord = 1;
const lengthWord = 2;
const smallestTable = 1024;

export class Interned {
  readonly #arena: Arena;
  readonly #headBytes: number;
  /** Open addressing with linear probing; 0 is an empty place. */
  #table = new Uint32Array(smallestTable);
  #size = 0;

  /** With each string go `words` of its user, 0 at first. */
  constructor(arena: Arena, words = 0) {
    this.#arena = arena;
    this.#headBytes = (ownWords + words) * 4;
  }

  /** How many different strings there are. */
  get size(): number {
    return this.#size;
  }

  /** A share of the string in `bytes[from, to)`, which is copied when it is new. */
  intern(bytes: Uint8Array, from = 0, to: number = bytes.length): Place {
    const hash = hashOf(bytes, from, to);
    const at = this.#find(hash, bytes, from, to);
    const known = this.#table[at] as Place;
    if (known !== 0) {
      this.#arena.setWord(known, sharesWord, this.#arena.word(known, sharesWord) + 1);
      return known;
    }
    const place = this.#arena.allocate(this.#headBytes + to - from);
    for (let word = ownWords; word * 4 < this.#headBytes; word++) this.#arena.setWord(place, word, 0);
    this.#arena.setWord(place, hashWord, hash);
    this.#arena.setWord(place, sharesWord, 1);
    this.#arena.setWord(place, lengthWord, to - from);
    this.#arena.bufferOf(place).set(bytes.subarray(from, to), this.startOf(place));
    this.#table[at] = place;
    this.#size++;
    if (this.#size * 4 > this.#table.length * 3) this.#resize(this.#table.length * 2);
    return place;
  }

  /** The place of a string without a share of it; 0 when nobody has one. */
  placeOf(bytes: Uint8Array, from = 0, to: number = bytes.length): Place {
    return this.#table[this.#find(hashOf(bytes, from, to), bytes, from, to)] as Place;
  }

  release(place: Place): void {
    const shares = this.#arena.word(place, sharesWord) - 1;
    this.#arena.setWord(place, sharesWord, shares);
    if (shares > 0) return;
    this.#removeFromTable(place);
    this.#arena.free(place);
    this.#size--;
    if (this.#table.length > smallestTable && this.#size * 8 < this.#table.length) this.#resize(this.#table.length / 2);
  }

  /** The buffer, and the first byte and the one behind the last. */
  bufferOf(place: Place): Buffer {
    return this.#arena.bufferOf(place);
  }

  startOf(place: Place): number {
    return this.#arena.offsetOf(place) + this.#headBytes;
  }

  /** Of the user's words the `index`-th. */
  word(place: Place, index: number): number {
    return this.#arena.word(place, ownWords + index);
  }

  setWord(place: Place, index: number, value: number): void {
    this.#arena.setWord(place, ownWords + index, value);
  }

  lengthOf(place: Place): number {
    return this.#arena.word(place, lengthWord);
  }

  bytesOf(place: Place): Buffer {
    const start = this.startOf(place);
    return this.bufferOf(place).subarray(start, start + this.lengthOf(place));
  }

  *places(): IterableIterator<Place> {
    for (const place of this.#table) if (place !== 0) yield place;
  }

  /** Where in the table the string is, or would be. */
  #find(hash: number, bytes: Uint8Array, from: number, to: number): number {
    const table = this.#table;
    const mask = table.length - 1;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const place = table[at] as Place;
      if (place === 0 || (this.#arena.word(place, hashWord) === hash && this.#equals(place, bytes, from, to)))
        return at;
    }
  }

  #equals(place: Place, bytes: Uint8Array, from: number, to: number): boolean {
    if (this.#arena.word(place, lengthWord) !== to - from) return false;
    const start = this.startOf(place);
    return this.#arena.bufferOf(place).compare(bytes, from, to, start, start + to - from) === 0;
  }

  /** What was pushed on by the one that goes moves up, so that no marks are left behind. */
  #removeFromTable(place: Place): void {
    const table = this.#table;
    const mask = table.length - 1;
    let hole = this.#arena.word(place, hashWord) & mask;
    while (table[hole] !== place) hole = (hole + 1) & mask;
    for (let at = (hole + 1) & mask; table[at] !== 0; at = (at + 1) & mask) {
      const home = this.#arena.word(table[at] as Place, hashWord) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      table[hole] = table[at] as Place;
      hole = at;
    }
    table[hole] = 0;
  }

  #resize(length: number): void {
    const before = this.#table;
    const table = new Uint32Array(length);
    const mask = length - 1;
    for (const place of before) {
      if (place === 0) continue;
      let at = this.#arena.word(place, hashWord) & mask;
      while (table[at] !== 0) at = (at + 1) & mask;
      table[at] = place;
    }
    this.#table = table;
  }
}

/** FNV-1a of 32 bits, mixed so that the lower bits are good for a table. */
export function hashOf(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x0100_0193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b_3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
