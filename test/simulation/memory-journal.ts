/** A journal without a disk, which forgets what was not flushed when its process is killed. */
import type { Journal } from "@dualmesh/base/state/journal";

export class MemoryJournal implements Journal {
  #live: Map<string, Buffer>;
  #durable: Map<string, Buffer>;

  constructor(durable: ReadonlyMap<string, Buffer> = new Map()) {
    this.#live = new Map(durable);
    this.#durable = new Map(durable);
  }

  entries(): IterableIterator<[string, Buffer]> {
    return new Map(this.#live).entries();
  }

  get(key: string): Buffer | undefined {
    return this.#live.get(key);
  }

  put(key: string, value: Uint8Array | string): void {
    this.#live.set(key, Buffer.from(value as Uint8Array));
  }

  delete(key: string): void {
    this.#live.delete(key);
  }

  flushed(): Promise<void> {
    this.write();
    return Promise.resolve();
  }

  /** What the batch writer of a real journal does every few milliseconds. */
  write(): void {
    this.#durable = new Map(this.#live);
  }

  /** What the next process finds. */
  afterCrash(): MemoryJournal {
    return new MemoryJournal(this.#durable);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.flushed();
  }
}
