/**
 * Watches of connections that stood still at another door: what their sessions had seen there is compared with what is there now, and only
 * what differs is told, once. What cannot be compared yet, since the directory has not told a list, is compared when it has; until then
 * such a session hears nothing of that list.
 */
import { type EventType, errorCode, eventType } from "@dualmesh/wire/jute/reply";
import type { Request } from "@dualmesh/wire/jute/request";
import { parentOf } from "./nodes.ts";
import { digestOf, digestOfNames, type Seen } from "./standing.ts";
import type { Answer, Tree, Viewer } from "./tree.ts";

export interface InheritedOptions {
  readonly tree: () => Tree;
  /** Fires the watches of one session. */
  readonly tell: (viewer: Viewer, type: EventType, path: string) => void;
  /** The paths below which a session watches everything. */
  readonly recursive: (viewer: Viewer) => readonly string[];
}

const nothing: Seen = { node: "", children: "" };
const anything: Seen = { node: undefined, children: undefined };

export class InheritedWatches {
  readonly #options: InheritedOptions;
  /** Of each session that waits for a list, what it has seen. */
  readonly #seen = new Map<Viewer, Map<string, Seen>>();
  /** By path of a list that is not known, the sessions that wait for it. */
  readonly #waiting = new Map<string, Set<Viewer>>();

  constructor(options: InheritedOptions) {
    this.#options = options;
  }

  /** What a session that watches these paths has seen there, for another door; where nobody can say, what it had seen before. */
  seenBy(viewer: Viewer, watched: readonly string[]): ReadonlyMap<string, Seen> {
    const seen = new Map<string, Seen>();
    const before = this.#seen.get(viewer);
    for (const path of this.#pathsOf(viewer, watched)) {
      const now = this.#see(viewer, path);
      if (!("list" in now)) seen.set(path, now);
    }
    for (const [path, one] of before ?? []) if (!seen.has(path)) seen.set(path, one);
    return seen;
  }

  /** The session, whose watches are set already, goes on here. */
  inherit(viewer: Viewer, watched: readonly string[], seen: ReadonlyMap<string, Seen>): void {
    this.#seen.set(viewer, new Map(seen));
    this.#compare(viewer, new Set([...seen.keys(), ...this.#pathsOf(viewer, watched)]));
  }

  /** A list is known from now on. */
  known(list: string): void {
    const waiting = this.#waiting.get(list);
    this.#waiting.delete(list);
    for (const viewer of waiting ?? []) {
      const seen = [...(this.#seen.get(viewer)?.keys() ?? [])];
      const isHere = (path: string): boolean => path === list || parentOf(path) === list;
      this.#compare(viewer, new Set([...seen.filter(isHere), ...this.#pathsOf(viewer, []).filter(isHere)]));
    }
  }

  /** Those that hear nothing of this path yet. */
  waitingFor(path: string): ReadonlySet<Viewer> | undefined {
    return this.#waiting.size === 0 ? undefined : (this.#waiting.get(path) ?? this.#waiting.get(parentOf(path)));
  }

  /** A session has read something itself: that is what it has seen now. */
  read(viewer: Viewer, { op, path }: Request & { readonly path: string }, { error, body }: Answer): void {
    const seen = this.#seen.get(viewer);
    if (seen === undefined || this.waitingFor(path)?.has(viewer) !== true) return;
    const before = seen.get(path) ?? anything;
    if (error === errorCode.noNode) seen.set(path, nothing);
    else if (body?.kind === "children" || body?.kind === "children2")
      seen.set(path, { ...before, children: digestOfNames(body.children) });
    else if (body?.kind === "data") seen.set(path, { ...before, node: digestOf(body.data ?? Buffer.alloc(0)) });
    else if (op === "exists" && before.node === "") seen.set(path, { ...before, node: undefined });
  }

  /** A session has changed something itself, of which it is told at once. */
  changed(viewer: Viewer, type: EventType, path: string): void {
    const before = this.#seen.get(viewer)?.get(path);
    if (type === eventType.childrenChanged && before !== undefined)
      this.#seen.get(viewer)?.set(path, { ...before, children: undefined });
    else if (type !== eventType.childrenChanged) {
      const seen = this.#seen.get(viewer) ?? new Map<string, Seen>();
      this.#seen.set(viewer, seen.set(path, type === eventType.deleted ? nothing : anything));
    }
  }

  forget(viewer: Viewer): void {
    this.#seen.delete(viewer);
    for (const [list, waiting] of this.#waiting) {
      waiting.delete(viewer);
      if (waiting.size === 0) this.#waiting.delete(list);
    }
  }

  /** What is watched, and whatever is there now below what is watched as a whole. */
  #pathsOf(viewer: Viewer, watched: readonly string[]): string[] {
    const { recursive, tree } = this.#options;
    const below = recursive(viewer).flatMap((root) => [...tree().below(viewer, root)]);
    return [...new Set([...watched, ...below])];
  }

  /** What a session sees; the list that has to be known first where nobody can say. */
  #see(viewer: Viewer, path: string): Seen | { readonly list: string } {
    const sight = this.#options.tree().see(viewer, path);
    if (sight.as === "unknown") return { list: sight.list };
    if (sight.as === "nothing") return nothing;
    return { node: digestOf(sight.data), children: digestOfNames(sight.children) };
  }

  #compare(viewer: Viewer, paths: ReadonlySet<string>): void {
    const seen = this.#seen.get(viewer) ?? new Map<string, Seen>();
    const news: { readonly type: EventType; readonly path: string }[] = [];
    for (const path of paths) {
      const now = this.#see(viewer, path);
      if ("list" in now) {
        this.#wait(viewer, now.list);
        continue;
      }
      const { node = now.node, children = now.children } =
        seen.get(path) ?? (this.#isNew(viewer, path) ? nothing : anything);
      seen.set(path, now);
      if (node === "" && now.node !== "") news.push({ type: eventType.created, path });
      else if (now.node === "" && node !== "") news.push({ type: eventType.deleted, path });
      else {
        if (node !== now.node) news.push({ type: eventType.dataChanged, path });
        if (children !== now.children) news.push({ type: eventType.childrenChanged, path });
      }
    }
    if (![...this.#waiting.values()].some((waiting) => waiting.has(viewer))) this.#seen.delete(viewer);
    // Of a node before its list, as ever.
    const ofLists = news.filter(({ type }) => type === eventType.childrenChanged);
    const ofNodes = news.filter(({ type }) => type !== eventType.childrenChanged);
    for (const { type, path } of [...ofNodes, ...ofLists]) this.#options.tell(viewer, type, path);
  }

  /** What is watched by itself was told of by the other door, if anybody could; the rest came since. */
  #isNew(viewer: Viewer, path: string): boolean {
    return this.#options
      .recursive(viewer)
      .some((root) => path !== root && (root === "/" || path.startsWith(`${root}/`)));
  }

  #wait(viewer: Viewer, list: string): void {
    const waiting = this.#waiting.get(list);
    if (waiting === undefined) this.#waiting.set(list, new Set([viewer]));
    else waiting.add(viewer);
  }
}
