/**
 * Who watches what. Watches belong to a connection, as in ZooKeeper: a client that comes back says anew what it watches. One-shot
 * watches go when they fire; persistent ones stay, and recursive ones see everything below their path but no changes of lists.
 */
import { type EventType, eventType } from "@dualmesh/wire/jute/reply";
import { parentOf } from "./nodes.ts";
import type { Change } from "./tree.ts";

export interface Watcher {
  readonly id: bigint;
  notify(type: EventType, path: string): void;
}

/** `data` was set on a node that is there, `exist` on one that is not: only the latter hears of a creation. */
export type WatchKind = "data" | "exist" | "child" | "persistent" | "recursive";

export const watchKinds: readonly WatchKind[] = ["data", "exist", "child", "persistent", "recursive"];
type Index = Map<string, Set<Watcher>>;

export class Watches {
  readonly #index: Readonly<Record<WatchKind, Index>> = {
    data: new Map(),
    exist: new Map(),
    child: new Map(),
    persistent: new Map(),
    recursive: new Map(),
  };
  readonly #byWatcher = new Map<Watcher, Map<string, Set<WatchKind>>>();
  readonly #counts = new Map<Watcher, number>();

  add(watcher: Watcher, kind: WatchKind, path: string): void {
    const paths = this.#byWatcher.get(watcher) ?? new Map<string, Set<WatchKind>>();
    this.#byWatcher.set(watcher, paths);
    const own = paths.get(path);
    if (own?.has(kind)) return;
    if (own === undefined) paths.set(path, new Set([kind]));
    else own.add(kind);
    this.#counts.set(watcher, this.count(watcher) + 1);
    const index = this.#index[kind];
    const watchers = index.get(path);
    if (watchers === undefined) index.set(path, new Set([watcher]));
    else watchers.add(watcher);
  }

  has(watcher: Watcher, kind: WatchKind, path: string): boolean {
    return this.#byWatcher.get(watcher)?.get(path)?.has(kind) ?? false;
  }

  remove(watcher: Watcher, kind: WatchKind, path: string): boolean {
    const paths = this.#byWatcher.get(watcher);
    const own = paths?.get(path);
    if (paths === undefined || own === undefined || !own.delete(kind)) return false;
    if (own.size === 0) paths.delete(path);
    this.#counts.set(watcher, this.count(watcher) - 1);
    const index = this.#index[kind];
    const watchers = index.get(path);
    watchers?.delete(watcher);
    if (watchers?.size === 0) index.delete(path);
    return true;
  }

  count(watcher: Watcher): number {
    return this.#counts.get(watcher) ?? 0;
  }

  /** The paths that somebody watches, to show. */
  paths(watcher: Watcher): readonly string[] {
    return [...(this.#byWatcher.get(watcher)?.keys() ?? [])];
  }

  /** All that one watches. */
  *of(watcher: Watcher): Iterable<{ readonly kind: WatchKind; readonly path: string }> {
    for (const [path, own] of this.#byWatcher.get(watcher) ?? []) for (const kind of own) yield { kind, path };
  }

  clear(watcher: Watcher): void {
    for (const [path, own] of this.#byWatcher.get(watcher) ?? [])
      for (const kind of [...own]) this.remove(watcher, kind, path);
    this.#byWatcher.delete(watcher);
    this.#counts.delete(watcher);
  }

  /** True while anybody watches this very path, or the whole of a tree that it is in. */
  watched(path: string): boolean {
    if (watchKinds.some((kind) => this.#index[kind].has(path))) return true;
    return [...lineage(path)].some((ancestor) => this.#index.recursive.has(ancestor));
  }

  fire({ type, path, to }: Change): void {
    const told = new Set<Watcher>();
    const tell = (kind: WatchKind, at: string): void => {
      for (const watcher of [...(this.#index[kind].get(at) ?? [])]) {
        if (to !== undefined && !to(watcher.id)) continue;
        if (kind === "data" || kind === "exist" || kind === "child") this.remove(watcher, kind, at);
        told.add(watcher);
      }
    };
    if (type === eventType.childrenChanged) tell("child", path);
    else {
      tell("exist", path);
      if (type !== eventType.created) tell("data", path);
      if (type === eventType.deleted) tell("child", path);
      for (const ancestor of lineage(path)) tell("recursive", ancestor);
    }
    tell("persistent", path);
    for (const watcher of told) watcher.notify(type, path);
  }
}

/** A path and its ancestors. */
function* lineage(path: string): Generator<string> {
  for (let at = path; ; at = parentOf(at)) {
    yield at;
    if (at === "/") return;
  }
}
