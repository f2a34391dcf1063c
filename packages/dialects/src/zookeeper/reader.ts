/** What one session sees of the tree: its own nodes, those that everybody sees, and the lists that the directory fills. Changes nothing. */
import { errorCode, type Stat } from "@dualmesh/wire/jute/reply";
import { openAcl } from "@dualmesh/wire/jute/request";
import type { DoorContext } from "../door.ts";
import type { AllHoldings } from "./holdings.ts";
import type { InterfaceNames } from "./interface-names.ts";
import type { Layout, Layouts } from "./layout.ts";
import { childOf, type Node, statOf } from "./nodes.ts";
import type { ProviderLists } from "./provider-lists.ts";
import type { SharedNodes } from "./shared-nodes.ts";
import type { Answer, Sight, TreeRequest, Viewer } from "./tree.ts";

export interface TreeReaderOptions {
  readonly context: DoorContext;
  readonly layouts: Layouts;
  readonly nodes: SharedNodes;
  readonly lists: ProviderLists;
  readonly interfaces: InterfaceNames;
  readonly holdings: AllHoldings;
}

/** What must be known before a request can be answered. */
type Needed =
  | { readonly kind: "nothing" }
  | { readonly kind: "interfaces"; readonly layout: Layout }
  | { readonly kind: "list"; readonly layout: Layout; readonly interfaceName: string };

export class TreeReader {
  readonly #options: TreeReaderOptions;

  constructor(options: TreeReaderOptions) {
    this.#options = options;
  }

  read(viewer: Viewer, request: TreeRequest): Answer {
    const node = this.find(viewer, request.path);
    if (node === undefined) return { error: errorCode.noNode };
    const stat = this.stat(viewer, node);
    switch (request.op) {
      case "getData":
        return { error: errorCode.ok, body: { kind: "data", data: node.data, stat } };
      case "getAcl":
        return { error: errorCode.ok, body: { kind: "acl", acl: openAcl, stat } };
      case "getChildren": {
        const children = this.childrenOf(viewer, node);
        return {
          error: errorCode.ok,
          body: request.code === 12 ? { kind: "children2", children, stat } : { kind: "children", children },
        };
      }
      default:
        return { error: errorCode.ok, body: { kind: "stat", stat } };
    }
  }

  /** Asks the directory for what a request needs that must wait for its turn. */
  prepare(viewer: Viewer, request: TreeRequest): void {
    const { lists, interfaces } = this.#options;
    const needed = this.#needed(viewer, request);
    if (needed.kind === "interfaces") interfaces.follow(needed.layout);
    else if (needed.kind === "list") lists.open(needed.layout, needed.interfaceName)?.expect();
  }

  /**
   * Runs `task` when the directory has told of what is read, or has not for too long since `askedAt`; with false when it cannot be asked.
   */
  whenKnown(viewer: Viewer, request: TreeRequest, askedAt: number, task: (known: boolean) => void): void {
    const { lists, interfaces } = this.#options;
    const needed = this.#needed(viewer, request);
    if (needed.kind === "nothing") return task(true);
    if (needed.kind === "interfaces") return interfaces.whenKnown(needed.layout, askedAt, () => task(true));
    const view = lists.open(needed.layout, needed.interfaceName);
    if (view === undefined) return task(false);
    view.whenKnown(askedAt, () => task(true));
  }

  look(viewer: Viewer, path: string): Stat | undefined | "unknown" {
    const { layouts, interfaces } = this.#options;
    const { layout } = layouts.locate(path);
    if (path === layout?.root) interfaces.follow(layout);
    if (this.#unknownList(viewer, path) !== undefined) return "unknown";
    const node = this.find(viewer, path);
    return node && this.stat(viewer, node);
  }

  /** As `look`, with the content, and without what is not known of the names below a root. */
  see(viewer: Viewer, path: string): Sight {
    const { layouts, interfaces } = this.#options;
    const { layout } = layouts.locate(path);
    const list = this.#unknownList(viewer, path);
    if (list !== undefined) return { as: "unknown", list };
    const root = path === layout?.root ? interfaces.follow(layout) : undefined;
    if (root !== undefined && root.names === undefined) return { as: "unknown", list: path };
    const node = this.find(viewer, path);
    return node === undefined
      ? { as: "nothing" }
      : { as: "node", data: node.data, children: this.childrenOf(viewer, node) };
  }

  *below(viewer: Viewer, path: string): Iterable<string> {
    const node = this.find(viewer, path);
    for (const name of node === undefined ? [] : this.childrenOf(viewer, node)) {
      const child = childOf(path, name);
      yield child;
      yield* this.below(viewer, child);
    }
  }

  /** The list that has to be known before anybody can say what is at a path; the directory is asked for it. */
  #unknownList(viewer: Viewer, path: string): string | undefined {
    const { context, layouts, lists } = this.#options;
    const { layout, place } = layouts.locate(path);
    if (layout === undefined) return undefined;
    if (place.kind !== "providers" && (place.kind !== "provider" || this.#isMine(viewer, path))) return undefined;
    const view = lists.open(layout, place.interfaceName);
    if (view === undefined || view.ready) return undefined;
    view.whenKnown(context.clock.now(), () => {});
    return view.ready ? undefined : layout.providersPath(place.interfaceName);
  }

  find(viewer: Viewer, path: string): Node | undefined {
    const { context, layouts, nodes, holdings } = this.#options;
    const held = holdings.of(viewer);
    const own = held.mine.get(path);
    if (own !== undefined) return own.node;
    const { place } = layouts.locate(path);
    if (place.kind === "private" || held.isHidden(path, context.clock.now())) return undefined;
    const node = nodes.get(path);
    if (node !== undefined) return node;
    return place.kind === "directory" || place.kind === "providers" ? nodes.structural(path) : undefined;
  }

  childrenOf(viewer: Viewer, node: Node): string[] {
    const { context, layouts, nodes, interfaces, holdings } = this.#options;
    const held = holdings.of(viewer);
    const now = context.clock.now();
    const names = new Set<string>();
    for (const name of nodes.get(node.path)?.children ?? []) {
      if (held.hidden.size === 0 || !held.isHidden(childOf(node.path, name), now)) names.add(name);
    }
    for (const name of interfaces.below(node.path)) names.add(name);
    const { place } = layouts.locate(node.path);
    const showsOwn = place.kind !== "providers" || context.place === "registry";
    for (const name of held.childrenOf(node.path)) {
      if (showsOwn || (held.mine.get(childOf(node.path, name))?.listedUntil ?? 0) > now) names.add(name);
    }
    return [...names];
  }

  stat(viewer: Viewer, node: Node): Stat {
    return statOf(node, this.childrenOf(viewer, node).length);
  }

  ephemerals(viewer: Viewer, prefix: string): string[] {
    const held = this.#options.holdings.of(viewer);
    const paths = [...held.ephemerals];
    for (const [path, { node }] of held.mine) if (node.owner !== 0n) paths.push(path);
    return paths.filter((path) => path.startsWith(prefix));
  }

  #needed(viewer: Viewer, { op, path }: TreeRequest): Needed {
    const { layout, place } = this.#options.layouts.locate(path);
    if (layout === undefined) return { kind: "nothing" };
    if (path === layout.root && op === "getChildren") return { kind: "interfaces", layout };
    const isList = place.kind === "providers" && op === "getChildren";
    const isForeign = place.kind === "provider" && !this.#isMine(viewer, path);
    return isList || isForeign ? { kind: "list", layout, interfaceName: place.interfaceName } : { kind: "nothing" };
  }

  #isMine(viewer: Viewer, path: string): boolean {
    return this.#options.holdings.of(viewer).mine.has(path);
  }
}
