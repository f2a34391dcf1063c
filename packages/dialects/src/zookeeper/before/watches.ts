/**
 * The watches that one connection's client has set on what may be rewritten, under the names that the client knows. The ensemble
 * fires them; this says which of its events the client still waits for, and which the door must make itself.
 */
import { type EventType, eventType } from "@dualmesh/wire/jute/reply";
import type { StandingWatches } from "./standing.ts";

type OneShot = "data" | "exist" | "child";

export class ClientWatches {
  readonly data = new Set<string>();
  readonly exist = new Set<string>();
  readonly child = new Set<string>();
  readonly #persistent = new Set<string>();
  readonly #recursive = new Set<string>();

  get size(): number {
    return this.data.size + this.exist.size + this.child.size + this.#persistent.size + this.#recursive.size;
  }

  set(kind: OneShot, path: string): void {
    this[kind].add(path);
  }

  /** `mode` as in an addWatch request: 0 persistent, 1 persistent and recursive. */
  add(mode: number, path: string): void {
    (mode === 1 ? this.#recursive : this.#persistent).add(path);
  }

  /** `kind` as in a removeWatches request: 1 children, 2 data, 3 any, 4 persistent, 5 recursive. */
  remove(kind: number, path: string): void {
    if (kind === 1 || kind === 3) this.child.delete(path);
    if (kind === 2 || kind === 3) {
      this.data.delete(path);
      this.exist.delete(path);
    }
    if (kind === 3 || kind === 4) this.#persistent.delete(path);
    if (kind === 3 || kind === 5) this.#recursive.delete(path);
  }

  /** All of them, for another door; and the reverse. */
  standing(): StandingWatches {
    return {
      data: [...this.data],
      exist: [...this.exist],
      child: [...this.child],
      persistent: [...this.#persistent],
      recursive: [...this.#recursive],
    };
  }

  resume({ data, exist, child, persistent, recursive }: StandingWatches): void {
    for (const path of data) this.data.add(path);
    for (const path of exist) this.exist.add(path);
    for (const path of child) this.child.add(path);
    for (const path of persistent) this.#persistent.add(path);
    for (const path of recursive) this.#recursive.add(path);
  }

  clear(): void {
    for (const paths of [this.data, this.exist, this.child, this.#persistent, this.#recursive]) paths.clear();
  }

  persists(path: string): boolean {
    return this.#persistent.has(path);
  }

  recurses(path: string): boolean {
    if (this.#recursive.size === 0) return false;
    if (this.#recursive.has("/")) return true;
    for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1)) {
      if (this.#recursive.has(path.slice(0, end))) return true;
    }
    return false;
  }

  /** True when somebody waits to hear of the children of a list, of whatever kind. */
  followsChildren(path: string): boolean {
    return this.child.has(path) || this.#persistent.has(path) || this.recurses(path);
  }

  /** Takes what an event fires; true when the client is to be told. */
  fire(type: EventType, path: string): boolean {
    const lasting = this.#persistent.has(path) || (type !== eventType.childrenChanged && this.recurses(path));
    let taken = false;
    if (type === eventType.childrenChanged || type === eventType.deleted) taken = this.child.delete(path);
    if (type === eventType.dataChanged || type === eventType.deleted) taken = this.data.delete(path) || taken;
    if (type === eventType.created) taken = this.exist.delete(path);
    return taken || lasting;
  }
}
