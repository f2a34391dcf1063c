/** The lists of providers that are open at a door, and how a change of one reaches the shared nodes and those who watch. */
import type { Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Instance } from "@dualmesh/model/instance";
import { eventType } from "@dualmesh/wire/jute/reply";
import type { DoorContext } from "../door.ts";
import type { AllHoldings } from "./holdings.ts";
import type { Layout } from "./layout.ts";
import type { ZooKeeperLimits } from "./limits.ts";
import { childOf, elsewhere, newNode } from "./nodes.ts";
import { ProviderView } from "./provider-view.ts";
import type { SharedNodes } from "./shared-nodes.ts";
import type { TreeListener } from "./tree.ts";

/** A list that nobody watches or reads for this long is dropped, in milliseconds. */
const unusedMs = 60_000;

export interface ProviderListsOptions {
  readonly context: DoorContext;
  readonly limits: ZooKeeperLimits;
  readonly listener: TreeListener;
  readonly told: ThrottledLog;
  readonly nodes: SharedNodes;
  readonly holdings: AllHoldings;
}

export class ProviderLists {
  readonly #options: ProviderListsOptions;
  readonly #views = new Map<string, ProviderView>();
  readonly #sweep: Timer;

  constructor(options: ProviderListsOptions) {
    this.#options = options;
    this.#sweep = options.context.clock.every(unusedMs / 2, () => this.#dropUnused());
  }

  has(path: string): boolean {
    return this.#views.has(path);
  }

  /** The list of an interface's providers, opened if need be; undefined when there are too many. */
  open(layout: Layout, interfaceName: string): ProviderView | undefined {
    const { context, limits, told } = this.#options;
    const path = layout.providersPath(interfaceName);
    const known = this.#views.get(path);
    if (known !== undefined) return known;
    if (this.#views.size >= limits.lists) {
      told.error("", { path: path.slice(0, 200) }, "a list of providers was refused: there are too many lists");
      return undefined;
    }
    try {
      const view = new ProviderView({
        layout,
        interfaceName,
        place: context.place,
        directory: context.directory,
        clock: context.clock,
        holdMs: limits.holdMs,
        onList: (names, first) => this.#show(path, layout, names, first),
        onRefused: (service, error) =>
          told.error("", { service, error: messageOf(error) }, "a service cannot be watched and is not shown"),
      });
      this.#views.set(path, view);
      return view;
    } catch (error) {
      const fields = { path: path.slice(0, 200), error: messageOf(error) };
      told.error("", fields, "a list of providers was refused: the catalogue cannot be watched");
      return undefined;
    }
  }

  close(): void {
    this.#sweep.cancel();
    for (const view of this.#views.values()) view.close();
    this.#views.clear();
  }

  #show(path: string, layout: Layout, names: ReadonlyMap<string, Instance>, first: boolean): void {
    const { nodes, listener, holdings, context } = this.#options;
    const parent = nodes.get(path) ?? nodes.add(nodes.structural(path));
    const removed = [...parent.children].filter((name) => !names.has(name)).map((name) => childOf(path, name));
    const added: string[] = [];
    const news = [...names].filter(([name]) => !parent.children.has(name));
    if (removed.length === 0 && news.length === 0 && !first) return;
    const zxid = nodes.next();
    const wall = context.clock.wall();
    for (const [name, instance] of news) {
      const node = nodes.add(
        newNode({ path: childOf(path, name), data: layout.dataOf(instance), zxid, wall, owner: elsewhere }),
      );
      added.push(node.path);
    }
    for (const child of removed) nodes.take(child);
    parent.cversion += added.length + removed.length;
    parent.pzxid = zxid;
    for (const child of removed) this.#tellOthers(eventType.deleted, child);
    for (const child of added) this.#tellOthers(eventType.created, child);
    const all = [...added, ...removed];
    const to = (id: bigint): boolean => first || this.#seesChange(id, all);
    listener.changed({ type: eventType.childrenChanged, path, to });
    for (const held of holdings.values()) for (const child of removed) held.hidden.delete(child);
    if (first) listener.known(path);
  }

  /** At a registry a session's own nodes are in its list from the moment it made them, whatever the directory says of them. */
  #seesChange(id: bigint, paths: readonly string[]): boolean {
    const held = this.#options.holdings.get(id);
    if (held === undefined || this.#options.context.place === "sidecar") return true;
    return paths.some((path) => !held.mine.has(path) && !held.hidden.has(path));
  }

  #tellOthers(type: 1 | 2, path: string): void {
    const { listener, holdings } = this.#options;
    listener.changed({ type, path, to: (id) => holdings.get(id)?.mine.has(path) !== true });
  }

  #dropUnused(): void {
    const { context, listener, nodes } = this.#options;
    const now = context.clock.now();
    for (const [path, view] of this.#views) {
      if (now - view.usedAt < unusedMs || view.wantedByConsumers || listener.watched(path)) continue;
      view.close();
      this.#views.delete(path);
      for (const name of [...(nodes.get(path)?.children ?? [])]) nodes.take(childOf(path, name));
      nodes.prune(path);
    }
  }
}
