/**
 * The nodes that everybody at a door sees, and the order of all changes. Parents are made as they are needed and go with their last
 * child; the folders of a layout exist by themselves and are kept only while something is in them.
 */
import { eventType } from "@dualmesh/wire/jute/reply";
import type { Layouts } from "./layout.ts";
import { beginning, lastOf, type Node, newNode, parentOf } from "./nodes.ts";
import type { TreeListener } from "./tree.ts";

export interface SharedNodesOptions {
  readonly epoch: number;
  readonly startedWall: number;
  readonly layouts: Layouts;
  readonly listener: TreeListener;
  /** True for nodes that stay although they are empty. */
  readonly keeps: (path: string) => boolean;
}

export class SharedNodes {
  readonly #options: SharedNodesOptions;
  readonly #nodes = new Map<string, Node>();
  #zxid: bigint;
  /** Bytes that nodes take, those of sessions included. */
  size = 0;

  constructor(options: SharedNodesOptions) {
    this.#options = options;
    this.#zxid = (BigInt(options.epoch) << 32n) | 1n;
    for (const path of ["/", "/zookeeper", "/zookeeper/config", ...options.layouts.roots])
      this.add(this.structural(path));
  }

  get zxid(): bigint {
    return this.#zxid;
  }

  next(): bigint {
    this.#zxid += 1n;
    return this.#zxid;
  }

  get count(): number {
    return this.#nodes.size;
  }

  get(path: string): Node | undefined {
    return this.#nodes.get(path);
  }

  add(node: Node): Node {
    this.#nodes.set(node.path, node);
    this.size += sizeOf(node);
    if (node.path === "/") return node;
    const parent = this.parentFor(node.path);
    parent.children.add(lastOf(node.path));
    if (node.czxid > parent.pzxid) parent.pzxid = node.czxid;
    return node;
  }

  parentFor(path: string): Node {
    const parent = parentOf(path);
    return this.#nodes.get(parent) ?? this.add(this.implicit(parent));
  }

  /** Takes a node out and tells everybody. */
  remove(path: string): void {
    const parent = this.#nodes.get(parentOf(path));
    if (!this.take(path)) return;
    if (parent !== undefined) parent.pzxid = this.next();
    this.#options.listener.changed({ type: eventType.deleted, path });
    this.tellParent(path);
    this.prune(parentOf(path));
  }

  /** Takes a node out without a word. */
  take(path: string): boolean {
    const node = this.#nodes.get(path);
    if (node === undefined || !this.#nodes.delete(path)) return false;
    this.size -= sizeOf(node);
    this.#nodes.get(parentOf(path))?.children.delete(lastOf(path));
    return true;
  }

  tellParent(path: string): void {
    const parent = this.#nodes.get(parentOf(path));
    if (parent === undefined) return;
    parent.cversion += 1;
    this.#options.listener.changed({ type: eventType.childrenChanged, path: parent.path });
  }

  /** Takes out what was made for its children only and has none. */
  prune(path: string): void {
    const node = this.#nodes.get(path);
    const { keeps, listener } = this.#options;
    if (node === undefined || !node.implicit || node.children.size > 0 || keeps(path) || listener.watched(path)) return;
    this.take(path);
    this.prune(parentOf(path));
  }

  /** A node that exists by itself. */
  structural(path: string): Node {
    const permanent = path === "/" || path.split("/").length === 2 || isReserved(path);
    const { startedWall } = this.#options;
    return newNode({ path, data: Buffer.alloc(0), zxid: beginning, wall: startedWall, implicit: !permanent });
  }

  /** A node that a child needs. */
  implicit(path: string): Node {
    if (this.#options.layouts.existsByItself(path)) return this.structural(path);
    const { startedWall } = this.#options;
    return newNode({ path, data: Buffer.alloc(0), zxid: this.#zxid, wall: startedWall, implicit: true });
  }
}

/** ZooKeeper's own corner of the tree. */
export function isReserved(path: string): boolean {
  return path === "/zookeeper" || path.startsWith("/zookeeper/");
}

/** What a node counts for, with what the runtime needs for it. */
export function sizeOf(node: Node): number {
  return node.path.length + node.data.length + 200;
}
