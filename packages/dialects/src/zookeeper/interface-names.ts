/**
 * The interfaces below a layout's root (`/dubbo`), for clients that list everything there is: those that the directory's catalogue
 * names, whether anybody used them at this door or not. The catalogue is watched only while somebody reads or watches such a root.
 */
import type { Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { CatalogueEntry, Watch } from "@dualmesh/model/directory";
import { parseServiceText } from "@dualmesh/model/service";
import { eventType } from "@dualmesh/wire/jute/reply";
import type { DoorContext } from "../door.ts";
import type { Layout } from "./layout.ts";
import type { ZooKeeperLimits } from "./limits.ts";
import { childOf, splitPath } from "./nodes.ts";
import type { SharedNodes } from "./shared-nodes.ts";
import type { TreeListener } from "./tree.ts";

/** The names below a root that nobody watches or reads for this long are forgotten, in milliseconds. */
const unusedMs = 60_000;

export interface InterfaceNamesOptions {
  readonly context: DoorContext;
  readonly limits: ZooKeeperLimits;
  readonly listener: TreeListener;
  readonly told: ThrottledLog;
  readonly nodes: SharedNodes;
}

interface Root {
  readonly layout: Layout;
  watch: Watch | undefined;
  /** Undefined until the catalogue has answered. */
  names: ReadonlySet<string> | undefined;
  readonly waiters: Set<() => void>;
  usedAt: number;
  toldTooMany: boolean;
}

export class InterfaceNames {
  readonly #options: InterfaceNamesOptions;
  /** By path. */
  readonly #roots = new Map<string, Root>();
  readonly #sweep: Timer;

  constructor(options: InterfaceNamesOptions) {
    this.#options = options;
    this.#sweep = options.context.clock.every(unusedMs / 2, () => this.#dropUnused());
  }

  /** What the catalogue names below this path; nothing while it is no root or not known. */
  below(path: string): Iterable<string> {
    return this.#roots.get(path)?.names ?? [];
  }

  /** Runs `task` now, or when the catalogue has answered, or when it has not for too long since `askedAt`. */
  whenKnown(layout: Layout, askedAt: number, task: () => void): void {
    const { clock } = this.#options.context;
    const root = this.follow(layout);
    const leftMs = askedAt + this.#options.limits.holdMs - clock.now();
    if (root === undefined || root.names !== undefined || leftMs <= 0) return task();
    const waiter = (): void => {
      timer.cancel();
      root.waiters.delete(waiter);
      task();
    };
    const timer = clock.after(leftMs, waiter);
    root.waiters.add(waiter);
  }

  /** From now on a change of the names is told to those who watch the root. */
  follow(layout: Layout): Root | undefined {
    const { context, told } = this.#options;
    const known = this.#roots.get(layout.root);
    if (known !== undefined) {
      known.usedAt = context.clock.now();
      return known;
    }
    const usedAt = context.clock.now();
    const root: Root = { layout, watch: undefined, names: undefined, waiters: new Set(), usedAt, toldTooMany: false };
    try {
      root.watch = context.directory.watchCatalogue("*", (entries) => this.#show(root, entries));
    } catch (error) {
      told.error("", { path: layout.root, error: messageOf(error) }, "the catalogue cannot be watched");
      return undefined;
    }
    this.#roots.set(layout.root, root);
    return root;
  }

  close(): void {
    this.#sweep.cancel();
    for (const root of this.#roots.values()) {
      root.watch?.close();
      for (const waiter of [...root.waiters]) waiter();
    }
    this.#roots.clear();
  }

  #show(root: Root, entries: readonly CatalogueEntry[]): void {
    const { nodes, listener } = this.#options;
    if (this.#roots.get(root.layout.root) !== root) return;
    const path = root.layout.root;
    const before = root.names;
    const names = this.#namesOf(root, entries);
    root.names = names;
    if (before === undefined || before.size !== names.size || [...names].some((name) => !before.has(name))) {
      const node = nodes.get(path) ?? nodes.add(nodes.structural(path));
      node.cversion += 1;
      node.pzxid = nodes.next();
      listener.changed({ type: eventType.childrenChanged, path });
    }
    if (before === undefined) listener.known(path);
    for (const waiter of [...root.waiters]) waiter();
  }

  /** As many as fit into an answer that clients take. */
  #namesOf(root: Root, entries: readonly CatalogueEntry[]): Set<string> {
    const { context, limits } = this.#options;
    const { layout } = root;
    const names = new Set<string>();
    let bytes = 0;
    for (const { service } of entries) {
      const parsed = parseServiceText(service);
      if (parsed === undefined || names.has(parsed.name) || !layout.mayShow(parsed.protocol)) continue;
      if (splitPath(childOf(layout.root, parsed.name))?.length !== 2) continue; // no name of a node
      bytes += Buffer.byteLength(parsed.name) + 4;
      if (bytes > limits.interfaceBytes) {
        if (!root.toldTooMany)
          context.log.error({ path: layout.root, shown: names.size }, "not all interfaces fit into one answer");
        root.toldTooMany = true;
        return names;
      }
      names.add(parsed.name);
    }
    return names;
  }

  #dropUnused(): void {
    const { context, listener } = this.#options;
    const now = context.clock.now();
    for (const [path, root] of this.#roots) {
      if (now - root.usedAt < unusedMs || listener.watched(path)) continue;
      root.watch?.close();
      this.#roots.delete(path);
      for (const waiter of [...root.waiters]) waiter();
    }
  }
}
