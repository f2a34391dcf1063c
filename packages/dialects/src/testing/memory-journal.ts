/** A journal that keeps its content in memory, so that a test can end a door and open another one on what it left. */
import { MeshError } from "@dualmesh/base/errors";
import type { Journal } from "@dualmesh/base/state/journal";

export class MemoryJournal implements Journal {
  readonly #live: Map<string, Buffer>;
  /** While true, nothing can be written, as with a full disk. */
  failing = false;

  constructor(content?: MemoryJournal) {
    this.#live = new Map(content?.entries());
  }

  entries(): IterableIterator<[string, Buffer]> {
    return this.#live.entries();
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

  async flushed(): Promise<void> {
    if (this.failing) throw new MeshError("state.write-failed", "the disk of this test refuses to be written");
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
