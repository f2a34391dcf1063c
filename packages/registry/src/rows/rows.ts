/**
 * All instances with their owners, outside the heap of JavaScript: for each a slot of some sixty bytes with what is its own, which never moves; what
 * it shares with others, its service's name among it, is kept once. An instance is found by service and key, and by its owner.
 */
import { addDigests, type Digest, recordHash, subtractDigests } from "@dualmesh/wire/stream/digest";
import type { Revision } from "@dualmesh/wire/stream/payload";
import { decodeInstance, instanceKeyOf } from "@dualmesh/wire/stream/record";
import type { InstanceRow } from "../store.ts";
import { Arena, type Place } from "./arena.ts";
import { Joiner } from "./form/join.ts";
import { Splitter } from "./form/split.ts";
import { hashOf, Interned } from "./interned.ts";
import type { Members } from "./members.ts";
import { Owners } from "./owners.ts";
import { Services } from "./services.ts";

/** The words of an instance's slot; then two bytes of the length of its own part, and that. */
const word = { shared: 0, service: 1, owner: 2, next: 3, previous: 4, hash: 5, stampLow: 6, stampHigh: 7 } as const;
const ownAt = 32;
const upper = 0x1_0000_0000;
const maxStampCounter = upper * 0x1_0000;
const maxEpochs = 0x1_0000;

/** An instance that is about to be put. */
export interface Put {
  readonly service: string;
  /** Canonical. */
  readonly record: Buffer;
  readonly session: Revision;
  readonly stamp: Revision;
}

export class Rows {
  readonly #arena: Arena = new Arena();
  readonly #shared: Interned = new Interned(this.#arena);
  readonly #splitter: Splitter = new Splitter();
  readonly #joiner: Joiner = new Joiner();
  readonly services: Services = new Services(this.#arena);
  readonly owners: Owners = new Owners(this.#arena, word);
  /** Of stamps: 16 bits in a slot say which. */
  readonly #epochs: number[] = [];
  readonly #epochNumbers = new Map<number, number>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Bytes held for all of it, outside the heap. */
  get heldBytes(): number {
    return this.#arena.heldBytes + this.#members.tableBytes;
  }

  get #members(): Members {
    return this.services.members;
  }

  /** 0 when there is none. `key` are the bytes of the record's key. */
  find(service: Place, key: Buffer): Place {
    if (service === 0) return 0;
    return this.#members.find(service, hashOf(key, 0, key.length), (place) => this.#hasKey(place, key));
  }

  /** Puts one whose key is new in its service. */
  add({ service, record, session, stamp }: Put): Place {
    const opened = this.services.open(service);
    const place = this.#write(opened, record, stamp);
    this.#members.add(opened, this.#arena.word(place, word.hash), place);
    this.owners.add(session, place);
    this.#count++;
    this.#digest(opened, addDigests, record);
    return place;
  }

  /** Puts one in the place of another with its key. The other's place is another's from then on. */
  replace(before: Place, { record, session, stamp }: Omit<Put, "service">): Place {
    const service = this.serviceOf(before);
    const place = this.#write(service, record, stamp);
    this.#digest(service, subtractDigests, this.recordOf(before));
    this.#digest(service, addDigests, record);
    this.#members.replace(service, this.#arena.word(before, word.hash), before, place);
    this.owners.remove(before);
    this.owners.add(session, place);
    this.#forget(before);
    return place;
  }

  remove(place: Place): void {
    const service = this.serviceOf(place);
    this.#digest(service, subtractDigests, this.recordOf(place));
    this.#members.remove(service, this.#arena.word(place, word.hash), place);
    this.owners.remove(place);
    this.#count--;
    this.#forget(place);
    this.services.close(service);
  }

  /** Whether the record at a place has these bytes. */
  holds(place: Place, record: Buffer): boolean {
    const { shared, own } = this.#splitter.split(record);
    const length = this.#ownLength(place);
    if (own.length !== length || !this.#shared.bytesOf(this.#arena.word(place, word.shared)).equals(shared))
      return false;
    const from = this.#arena.offsetOf(place) + ownAt + 2;
    return this.#arena.bufferOf(place).compare(own, 0, length, from, from + length) === 0;
  }

  /** A view of memory that the next call of this, `find`, `remove` or `replace` uses again. */
  recordOf(place: Place): Buffer {
    const shared = this.#arena.word(place, word.shared);
    const from = this.#shared.startOf(shared);
    const own = this.#arena.offsetOf(place) + ownAt + 2;
    const to = from + this.#shared.lengthOf(shared);
    return this.#joiner.join(this.#shared.bufferOf(shared), from, to, this.#arena.bufferOf(place), own);
  }

  serviceOf(place: Place): Place {
    return this.#arena.word(place, word.service);
  }

  stampOf(place: Place): Revision {
    const high = this.#arena.word(place, word.stampHigh);
    const counter = (high & 0xffff) * upper + this.#arena.word(place, word.stampLow);
    return { epoch: this.#epochs[high >>> 16] as number, counter };
  }

  /** With bytes of its own. */
  rowOf(place: Place): InstanceRow {
    const service = this.services.nameOf(this.serviceOf(place));
    const record = Buffer.from(this.recordOf(place));
    const { incarnation } = decodeInstance(service, record);
    const key = instanceKeyOf(record).toString("latin1");
    return { service, key, record, incarnation, session: this.owners.sessionOf(place), stamp: this.stampOf(place) };
  }

  places(service: Place): Iterable<Place> {
    return service === 0 ? [] : this.#members.places(service);
  }

  countOf(service: Place): number {
    return service === 0 ? 0 : this.#members.count(service);
  }

  #hasKey(place: Place, key: Buffer): boolean {
    return this.recordOf(place).compare(key, 0, key.length, 0, key.length) === 0;
  }

  #write(service: Place, record: Buffer, stamp: Revision): Place {
    const { shared, own } = this.#splitter.split(record);
    const place = this.#arena.allocate(ownAt + 2 + own.length);
    const bytes = this.#arena.bufferOf(place);
    const at = this.#arena.offsetOf(place) + ownAt;
    bytes.writeUInt16BE(own.length, at);
    own.copy(bytes, at + 2);
    this.#arena.setWord(place, word.shared, this.#shared.intern(shared));
    this.#arena.setWord(place, word.service, service);
    const key = instanceKeyOf(record);
    this.#arena.setWord(place, word.hash, hashOf(key, 0, key.length));
    if (stamp.counter >= maxStampCounter) throw new RangeError(`stamp ${stamp.counter} is beyond 2^48`);
    this.#arena.setWord(place, word.stampLow, stamp.counter % upper);
    const high = Math.floor(stamp.counter / upper);
    this.#arena.setWord(place, word.stampHigh, ((this.#epochNumber(stamp.epoch) << 16) | high) >>> 0);
    return place;
  }

  #forget(place: Place): void {
    this.#shared.release(this.#arena.word(place, word.shared));
    this.#arena.free(place);
  }

  #digest(service: Place, change: (one: Digest, other: Digest) => Digest, record: Buffer): void {
    this.services.setDigest(service, change(this.services.digestOf(service), recordHash(record)));
  }

  #ownLength(place: Place): number {
    return this.#arena.bufferOf(place).readUInt16BE(this.#arena.offsetOf(place) + ownAt);
  }

  #epochNumber(epoch: number): number {
    const known = this.#epochNumbers.get(epoch);
    if (known !== undefined) return known;
    const number = this.#epochs.length;
    if (number >= maxEpochs) throw new RangeError("instances of more than 65,536 starts of this registry");
    this.#epochs.push(epoch);
    this.#epochNumbers.set(epoch, number);
    return number;
  }
}
