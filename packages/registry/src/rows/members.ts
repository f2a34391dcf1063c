/**
 * The instances of each service, found by their keys: pairs of a key's hash and an instance's place. While they are few the pairs stand side by side in
 * one slot and are read from end to end; above that they stand in a table of open addresses.
 */
import type { Arena, Place } from "./arena.ts";
import type { Interned } from "./interned.ts";

/** Beyond this a table takes over, which gives way again at a quarter of it. */
const mostInSlot = 128;
const smallestTable = 512;
const pairWords = 2;

/** Which words of a service's own are used here. */
export interface MembersWords {
  readonly count: number;
  /** The slot of pairs; 0 for none. */
  readonly slot: number;
  /** The number of the table and 1; 0 for none. */
  readonly table: number;
}

/** Whether the instance at a place is the one that is looked for. */
export type Matches = (place: Place) => boolean;

export class Members {
  readonly #arena: Arena;
  readonly #services: Interned;
  readonly #words: MembersWords;
  /** Pairs; a place of 0 is empty. */
  readonly #tables: (Uint32Array | undefined)[] = [];
  readonly #vacant: number[] = [];

  constructor(arena: Arena, services: Interned, words: MembersWords) {
    this.#arena = arena;
    this.#services = services;
    this.#words = words;
  }

  count(service: Place): number {
    return this.#services.word(service, this.#words.count);
  }

  find(service: Place, hash: number, matches: Matches): Place {
    const table = this.#tableOf(service);
    if (table !== undefined) return table[probe(table, hash, matches) + 1] as Place;
    const index = this.#indexInSlot(service, hash, matches);
    return index < 0 ? 0 : this.#arena.word(this.#slot(service), index * pairWords + 1);
  }

  /** Of one that is not there yet. */
  add(service: Place, hash: number, place: Place): void {
    const count = this.count(service);
    const table = this.#tableOf(service);
    if (table !== undefined) this.#addToTable(service, table, hash, place, count);
    else if (count >= mostInSlot) this.#addToTable(service, this.#openTable(service), hash, place, count);
    else this.#addToSlot(service, hash, place, count);
    this.#services.setWord(service, this.#words.count, count + 1);
  }

  /** Another place for the instance with the same key. */
  replace(service: Place, hash: number, before: Place, place: Place): void {
    const table = this.#tableOf(service);
    if (table !== undefined) table[probe(table, hash, (one) => one === before) + 1] = place;
    else {
      const index = this.#indexInSlot(service, hash, (one) => one === before);
      this.#arena.setWord(this.#slot(service), index * pairWords + 1, place);
    }
  }

  remove(service: Place, hash: number, place: Place): void {
    const count = this.count(service) - 1;
    const table = this.#tableOf(service);
    if (table === undefined)
      this.#removeFromSlot(
        service,
        this.#indexInSlot(service, hash, (one) => one === place),
        count,
      );
    else
      removeFrom(
        table,
        probe(table, hash, (one) => one === place),
      );
    this.#services.setWord(service, this.#words.count, count);
    if (table === undefined) this.#fitSlot(service, count);
    else if (count * 4 <= mostInSlot) this.#closeTable(service, table);
    else if (count * 8 < table.length / pairWords) this.#setTable(service, resized(table, table.length / 2));
  }

  *places(service: Place): IterableIterator<Place> {
    const table = this.#tableOf(service);
    if (table !== undefined) {
      for (let at = 1; at < table.length; at += pairWords) if (table[at] !== 0) yield table[at] as Place;
      return;
    }
    const slot = this.#slot(service);
    for (let index = 0, count = this.count(service); index < count; index++)
      yield this.#arena.word(slot, index * pairWords + 1);
  }

  /** Bytes of the tables, which are no part of the arena. */
  get tableBytes(): number {
    return this.#tables.reduce((sum, table) => sum + (table?.byteLength ?? 0), 0);
  }

  #slot(service: Place): Place {
    return this.#services.word(service, this.#words.slot);
  }

  #indexInSlot(service: Place, hash: number, matches: Matches): number {
    const count = this.count(service);
    if (count === 0) return -1;
    const slot = this.#slot(service);
    for (let index = 0; index < count; index++)
      if (this.#arena.word(slot, index * pairWords) === hash && matches(this.#arena.word(slot, index * pairWords + 1)))
        return index;
    return -1;
  }

  #addToSlot(service: Place, hash: number, place: Place, count: number): void {
    let slot = this.#slot(service);
    if (slot === 0 || this.#arena.sizeOf(slot) < (count + 1) * pairWords * 4)
      slot = this.#moveSlot(service, count, roomFor(count + 1));
    this.#arena.setWord(slot, count * pairWords, hash);
    this.#arena.setWord(slot, count * pairWords + 1, place);
  }

  /** The last pair, the `last`-th, takes its room. */
  #removeFromSlot(service: Place, index: number, last: number): void {
    const slot = this.#slot(service);
    this.#arena.setWord(slot, index * pairWords, this.#arena.word(slot, last * pairWords));
    this.#arena.setWord(slot, index * pairWords + 1, this.#arena.word(slot, last * pairWords + 1));
  }

  /** Another slot for the first `count` pairs, with room for `room`. */
  #moveSlot(service: Place, count: number, room: number): Place {
    const before = this.#slot(service);
    const slot = room === 0 ? 0 : this.#arena.allocate(room * pairWords * 4);
    for (let word = 0; word < count * pairWords; word++)
      this.#arena.setWord(slot, word, this.#arena.word(before, word));
    if (before !== 0) this.#arena.free(before);
    this.#services.setWord(service, this.#words.slot, slot);
    return slot;
  }

  /** Gives room back when less than half of it is used. */
  #fitSlot(service: Place, count: number): void {
    const slot = this.#slot(service);
    if (count === 0) this.#moveSlot(service, 0, 0);
    else if (count * 2 * pairWords * 4 < this.#arena.sizeOf(slot)) this.#moveSlot(service, count, roomFor(count));
  }

  // ---- tables ----

  #tableOf(service: Place): Uint32Array | undefined {
    const number = this.#services.word(service, this.#words.table);
    return number === 0 ? undefined : this.#tables[number - 1];
  }

  #setTable(service: Place, table: Uint32Array): void {
    this.#tables[this.#services.word(service, this.#words.table) - 1] = table;
  }

  #openTable(service: Place): Uint32Array {
    const table = new Uint32Array(smallestTable * pairWords);
    const slot = this.#slot(service);
    for (let index = 0; index < mostInSlot; index++)
      insert(table, this.#arena.word(slot, index * pairWords), this.#arena.word(slot, index * pairWords + 1));
    this.#moveSlot(service, 0, 0);
    const number = this.#vacant.pop() ?? this.#tables.length;
    this.#tables[number] = table;
    this.#services.setWord(service, this.#words.table, number + 1);
    return table;
  }

  #addToTable(service: Place, table: Uint32Array, hash: number, place: Place, count: number): void {
    const isFull = (count + 1) * 4 > (table.length / pairWords) * 3;
    const roomy = isFull ? resized(table, table.length * 2) : table;
    if (isFull) this.#setTable(service, roomy);
    insert(roomy, hash, place);
  }

  #closeTable(service: Place, table: Uint32Array): void {
    const number = this.#services.word(service, this.#words.table) - 1;
    this.#services.setWord(service, this.#words.table, 0);
    this.#tables[number] = undefined;
    this.#vacant.push(number);
    let count = 0;
    for (let at = 0; at < table.length; at += pairWords)
      if (table[at + 1] !== 0) this.#addToSlot(service, table[at] as number, table[at + 1] as Place, count++);
  }
}

/** Half as much again, so that a service that grows one by one is not moved each time. */
function roomFor(count: number): number {
  return count <= 2 ? count : Math.ceil(count * 1.25);
}

/** Where in the table the pair is, or would be. */
function probe(table: Uint32Array, hash: number, matches: Matches): number {
  const mask = table.length / pairWords - 1;
  for (let at = hash & mask; ; at = (at + 1) & mask) {
    const place = table[at * pairWords + 1] as Place;
    if (place === 0 || (table[at * pairWords] === hash && matches(place))) return at * pairWords;
  }
}

function insert(table: Uint32Array, hash: number, place: Place): void {
  const at = probe(table, hash, () => false);
  table[at] = hash;
  table[at + 1] = place;
}

/** What was pushed on by the one that goes moves up, so that no marks are left behind. */
function removeFrom(table: Uint32Array, from: number): void {
  const mask = table.length / pairWords - 1;
  let hole = from / pairWords;
  for (let at = (hole + 1) & mask; table[at * pairWords + 1] !== 0; at = (at + 1) & mask) {
    const home = (table[at * pairWords] as number) & mask;
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    table.copyWithin(hole * pairWords, at * pairWords, at * pairWords + pairWords);
    hole = at;
  }
  table.fill(0, hole * pairWords, hole * pairWords + pairWords);
}

function resized(table: Uint32Array, length: number): Uint32Array {
  const next = new Uint32Array(length);
  for (let at = 0; at < table.length; at += pairWords)
    if (table[at + 1] !== 0) insert(next, table[at] as number, table[at + 1] as Place);
  return next;
}
