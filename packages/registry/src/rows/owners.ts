/** Which sessions own instances, and the list of those of each, linked through the instances themselves. */
import { revisionText } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import type { Arena, Place } from "./arena.ts";

interface Owner {
  readonly session: Revision;
  first: Place;
  count: number;
}

/** Which words of an instance's slot are used here. */
export interface OwnerWords {
  /** The number of its owner. */
  readonly owner: number;
  readonly next: number;
  readonly previous: number;
}

export class Owners {
  readonly #arena: Arena;
  readonly #words: OwnerWords;
  readonly #numbers = new Map<string, number>();
  readonly #owners: (Owner | undefined)[] = [];
  readonly #vacant: number[] = [];

  constructor(arena: Arena, words: OwnerWords) {
    this.#arena = arena;
    this.#words = words;
  }

  /** Texts of the sessions that own something. */
  texts(): IterableIterator<string> {
    return this.#numbers.keys();
  }

  sessionOf(place: Place): Revision {
    return (this.#owners[this.#arena.word(place, this.#words.owner)] as Owner).session;
  }

  countOf(session: Revision): number {
    return this.#ownerOf(session)?.count ?? 0;
  }

  /** What it owns. The one that is given may be removed, others not, until the next is asked for. */
  *places(session: Revision): IterableIterator<Place> {
    for (let place = this.#ownerOf(session)?.first ?? 0; place !== 0; ) {
      const next = this.#arena.word(place, this.#words.next);
      yield place;
      place = next;
    }
  }

  add(session: Revision, place: Place): void {
    const number = this.#numberOf(session);
    const owner = this.#owners[number] as Owner;
    const { first } = owner;
    this.#arena.setWord(place, this.#words.owner, number);
    this.#arena.setWord(place, this.#words.next, first);
    this.#arena.setWord(place, this.#words.previous, 0);
    if (first !== 0) this.#arena.setWord(first, this.#words.previous, place);
    owner.first = place;
    owner.count++;
  }

  remove(place: Place): void {
    const number = this.#arena.word(place, this.#words.owner);
    const owner = this.#owners[number] as Owner;
    const next = this.#arena.word(place, this.#words.next);
    const previous = this.#arena.word(place, this.#words.previous);
    if (next !== 0) this.#arena.setWord(next, this.#words.previous, previous);
    if (previous === 0) owner.first = next;
    else this.#arena.setWord(previous, this.#words.next, next);
    owner.count--;
    if (owner.count > 0) return;
    this.#numbers.delete(revisionText(owner.session));
    this.#owners[number] = undefined;
    this.#vacant.push(number);
  }

  #ownerOf(session: Revision): Owner | undefined {
    const number = this.#numbers.get(revisionText(session));
    return number === undefined ? undefined : this.#owners[number];
  }

  #numberOf(session: Revision): number {
    const text = revisionText(session);
    const known = this.#numbers.get(text);
    if (known !== undefined) return known;
    const number = this.#vacant.pop() ?? this.#owners.length;
    this.#owners[number] = { session, first: 0, count: 0 };
    this.#numbers.set(text, number);
    return number;
  }
}
