/** The names of all services that have instances or are watched, with what each keeps beside its name, outside the heap of JavaScript. */
import type { Digest } from "@dualmesh/wire/stream/digest";
import type { Arena, Place } from "./arena.ts";
import { Interned } from "./interned.ts";
import { Members } from "./members.ts";

/** The words that go with a name. */
const word = { digestHigh: 0, digestLow: 1, revisionHigh: 2, revisionLow: 3, count: 4, slot: 5, table: 6 } as const;
const words = 7;
const upper = 0x1_0000_0000;

export class Services {
  readonly #names: Interned;
  readonly members: Members;

  constructor(arena: Arena) {
    this.#names = new Interned(arena, words);
    this.members = new Members(arena, this.#names, word);
  }

  get count(): number {
    return this.#names.size;
  }

  /** 0 when there is no such service. */
  find(name: string): Place {
    return this.#names.placeOf(Buffer.from(name));
  }

  /** One more reason for it to stay; `close` takes it away. */
  open(name: string): Place {
    return this.#names.intern(Buffer.from(name));
  }

  close(service: Place): void {
    this.#names.release(service);
  }

  nameOf(service: Place): string {
    return this.#names.bytesOf(service).toString("utf8");
  }

  all(): IterableIterator<Place> {
    return this.#names.places();
  }

  digestOf(service: Place): Digest {
    return { high: this.#names.word(service, word.digestHigh), low: this.#names.word(service, word.digestLow) };
  }

  setDigest(service: Place, { high, low }: Digest): void {
    this.#names.setWord(service, word.digestHigh, high);
    this.#names.setWord(service, word.digestLow, low);
  }

  /** The counter of its newest change. */
  changedAt(service: Place): number {
    return this.#names.word(service, word.revisionHigh) * upper + this.#names.word(service, word.revisionLow);
  }

  setChangedAt(service: Place, counter: number): void {
    this.#names.setWord(service, word.revisionHigh, Math.floor(counter / upper));
    this.#names.setWord(service, word.revisionLow, counter % upper);
  }
}
