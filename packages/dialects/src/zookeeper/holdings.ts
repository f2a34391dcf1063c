/** What one session owns in a tree: nodes that only it sees, ephemeral nodes that everybody sees, and what it said it wants. */
import type { Instance } from "@dualmesh/model/instance";
import { lastOf, type Node, parentOf } from "./nodes.ts";
import type { ProviderView } from "./provider-view.ts";
import type { Passing, Viewer } from "./tree.ts";

export interface OwnNode {
  readonly node: Node;
  /** The instance that the node registers. */
  instance: Instance | undefined;
  /** Until when a sidecar's door shows the node in its owner's list. */
  listedUntil: number;
  /** Another owner registered the instance later, elsewhere. */
  superseded: boolean;
  /** Why the instance that the node registers is not published, although its registration was accepted; empty when it is. */
  refused: string;
  /** The application that the node registers as a whole. */
  application: string | undefined;
}

/** Refused registrations that are shown for one session; older ones are forgotten. */
const maxRefused = 16;
/** Characters of a refused path and of the reason that are shown. */
const maxShown = 500;

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
  /** The newest registrations that were refused, as they are shown, with the reason. */
  readonly refused = new Map<string, string>();
  /** Own nodes that register an instance. */
  registrations = 0;
  readonly #children = new Map<string, Set<string>>();

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
      refused: "",
      application: undefined,
    };
    this.mine.set(node.path, own);
    const parent = parentOf(node.path);
    const names = this.#children.get(parent);
    if (names === undefined) this.#children.set(parent, new Set([lastOf(node.path)]));
    else names.add(lastOf(node.path));
    return own;
  }

  refuse(path: string, reason: string): void {
    this.forgetRefused(path);
    this.refused.set(shown(path), shown(reason));
    for (const [oldest] of this.refused) {
      if (this.refused.size <= maxRefused) return;
      this.refused.delete(oldest);
    }
  }

  forgetRefused(path: string): void {
    if (this.refused.size > 0) this.refused.delete(shown(path));
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
    this.refused.clear();
    this.registrations = 0;
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

  /** What is so for a moment only. */
  passing(now: number): Passing {
    const left = (until: number): number => Math.ceil(until - now);
    return {
      hidden: [...this.hidden].flatMap(([path, until]) => (until > now ? [[path, left(until)] as const] : [])),
      listed: [...this.mine].flatMap(([path, { listedUntil }]) =>
        listedUntil > now ? [[path, left(listedUntil)] as const] : [],
      ),
    };
  }

  publishesFor(application: string): boolean {
    for (const { instance } of this.mine.values()) if (instance?.application === application) return true;
    return false;
  }
}

/** A copy, since a piece of a text keeps the whole of it in memory. */
function shown(text: string): string {
  return text.length <= maxShown ? text : Buffer.from(text.slice(0, maxShown)).toString();
}

/** What all sessions hold. */
export class AllHoldings {
  readonly #bySession = new Map<bigint, Holdings>();
  /** Sessions that are over but may still have an answer on its way: what they hold is kept nowhere. */
  readonly #ended = new WeakSet<Viewer>();

  of(viewer: Viewer): Holdings {
    let held = this.#bySession.get(viewer.id);
    if (held === undefined) {
      held = new Holdings(viewer);
      if (!this.#ended.has(viewer)) this.#bySession.set(viewer.id, held);
    }
    return held;
  }

  get(session: bigint): Holdings | undefined {
    return this.#bySession.get(session);
  }

  values(): Iterable<Holdings> {
    return this.#bySession.values();
  }

  end(viewer: Viewer): void {
    this.#bySession.get(viewer.id)?.clear();
    this.#bySession.delete(viewer.id);
    this.#ended.add(viewer);
  }
}
