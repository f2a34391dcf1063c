/** What one session owns in a tree: nodes that only it sees, ephemeral nodes that everybody sees, and what it said it wants. */
import type { Instance } from "@dualmesh/model/instance";
import { lastOf, type Node, parentOf } from "./nodes.ts";
import type { ProviderView } from "./provider-view.ts";
import type { Viewer } from "./tree.ts";

export interface OwnNode {
  readonly node: Node;
  /** The instance that the node registers. */
  instance: Instance | undefined;
  /** Until when a sidecar's door shows the node in its owner's list. */
  listedUntil: number;
  /** Another owner registered the instance later, elsewhere. */
  superseded: boolean;
  /** The node should register an instance but cannot be read. */
  unreadable: boolean;
  /** The application that the node registers as a whole. */
  application: string | undefined;
}

export interface Wish {
  readonly view: ProviderView;
  readonly services: readonly string[];
}

export class Holdings {
  readonly viewer: Viewer;
  readonly mine = new Map<string, OwnNode>();
  /** Paths of shared nodes that go with the session. */
  readonly ephemerals = new Set<string>();
  /** Paths of own registrations that were deleted but may still be in the directory, with when to believe the directory again. */
  readonly hidden = new Map<string, number>();
  readonly wanted = new Map<string, Wish>();
  readonly #children = new Map<string, Set<string>>();
  toldSequential = false;

  constructor(viewer: Viewer) {
    this.viewer = viewer;
  }

  get count(): number {
    return this.mine.size + this.ephemerals.size;
  }

  keep(node: Node): OwnNode {
    const own: OwnNode = {
      node,
      instance: undefined,
      listedUntil: 0,
      superseded: false,
      unreadable: false,
      application: undefined,
    };
    this.mine.set(node.path, own);
    const parent = parentOf(node.path);
    const names = this.#children.get(parent);
    if (names === undefined) this.#children.set(parent, new Set([lastOf(node.path)]));
    else names.add(lastOf(node.path));
    return own;
  }

  release(path: string): OwnNode | undefined {
    const own = this.mine.get(path);
    if (own === undefined) return undefined;
    this.mine.delete(path);
    const parent = parentOf(path);
    const names = this.#children.get(parent);
    names?.delete(lastOf(path));
    if (names?.size === 0) this.#children.delete(parent);
    return own;
  }

  /** Forgets everything: the session is over. */
  clear(): void {
    this.mine.clear();
    this.ephemerals.clear();
    this.wanted.clear();
    this.#children.clear();
  }

  childrenOf(path: string): Iterable<string> {
    return this.#children.get(path) ?? [];
  }

  isHidden(path: string, now: number): boolean {
    const until = this.hidden.get(path);
    if (until === undefined) return false;
    if (until > now) return true;
    this.hidden.delete(path);
    return false;
  }

  publishesFor(application: string): boolean {
    for (const { instance } of this.mine.values()) if (instance?.application === application) return true;
    return false;
  }
}
