/**
 * The tree of a door that answers from a directory. Providers are shown as the directory gives them; everything else that clients
 * write is held here. What a session writes goes to the journal before it is answered, and is published behind the answer.
 */

import { messageOf } from "@dualmesh/base/errors";
import { errorCode, eventType, type Stat } from "@dualmesh/wire/jute/reply";
import { createFlags, openAcl } from "@dualmesh/wire/jute/request";
import type { DoorContext } from "../door.ts";
import { Holdings, type OwnNode } from "./holdings.ts";
import { InterfaceNames } from "./interface-names.ts";
import { isOwn, type Layout, type Layouts, type Located, type Place } from "./layout.ts";
import type { ZooKeeperLimits } from "./limits.ts";
import { childOf, type Node, newNode, packNode, parentOf, splitPath, statOf, unpackNode } from "./nodes.ts";
import { ProviderLists } from "./provider-lists.ts";
import { Publisher } from "./publisher.ts";
import { isReserved, SharedNodes, sizeOf } from "./shared-nodes.ts";
import type { Answer, Tree, TreeListener, TreeRequest, Viewer, ViewerDescription } from "./tree.ts";

type Create = Extract<TreeRequest, { readonly op: "create" }>;
type Done = (answer: Answer) => void;

/** How long a session's own deletion hides a node that the directory still shows, in milliseconds. */
const hideMs = 2_000;
/** How long a client that waits for its own registration finds it in its list, in milliseconds. */
const listedMs = 5_000;
/** How long an application may be registered at application level before it counts as registered only there, in milliseconds. */
const bypassAfterMs = 5_000;

export interface DiscoveryTreeOptions {
  readonly context: DoorContext;
  readonly layouts: Layouts;
  readonly limits: ZooKeeperLimits;
  readonly listener: TreeListener;
}

export class DiscoveryTree implements Tree {
  readonly #context: DoorContext;
  readonly #layouts: Layouts;
  readonly #limits: ZooKeeperLimits;
  readonly #listener: TreeListener;
  readonly #publisher: Publisher<OwnNode>;
  readonly #nodes: SharedNodes;
  readonly #lists: ProviderLists;
  readonly #interfaces: InterfaceNames;
  readonly #holdings = new Map<bigint, Holdings>();
  /** Sessions that are over but may still have an answer on its way. */
  readonly #ended = new WeakSet<Viewer>();
  #incarnations = 0;

  constructor({ context, layouts, limits, listener }: DiscoveryTreeOptions) {
    this.#context = context;
    this.#layouts = layouts;
    this.#limits = limits;
    this.#listener = listener;
    this.#publisher = new Publisher(context.directory, context.log);
    const keeps = (path: string): boolean => this.#lists.has(path);
    const startedWall = context.clock.wall();
    this.#nodes = new SharedNodes({ epoch: context.epoch, startedWall, layouts, listener, keeps });
    this.#lists = new ProviderLists({ context, limits, listener, nodes: this.#nodes, holdings: this.#holdings });
    this.#interfaces = new InterfaceNames({ context, limits, listener, nodes: this.#nodes });
  }

  get zxid(): bigint {
    return this.#nodes.zxid;
  }

  /** Takes in what the journal kept: the nodes of these sessions, published at once, and what outlives sessions. */
  restore(viewers: ReadonlyMap<bigint, Viewer>): void {
    const { journal, log } = this.#context;
    const kept: { id: bigint; path: string; key: string; value: Buffer }[] = [];
    for (const [key, value] of journal.entries()) {
      const match = /^node\/([0-9a-f]+)(\/.*)$/s.exec(key);
      if (match !== null) kept.push({ id: BigInt(`0x${match[1]}`), path: match[2] as string, key, value });
    }
    kept.sort((one, other) => (one.path < other.path ? -1 : 1)); // parents first
    for (const { id, path, key, value } of kept) {
      const viewer = viewers.get(id);
      const node = unpackNode(path, value);
      if (node === undefined || splitPath(path) === undefined || (id !== 0n && viewer === undefined)) {
        journal.delete(key);
        if (node === undefined) log.warn({ path }, "a node of the journal could not be read and is left out");
        continue;
      }
      this.#keep(viewer, node, this.#layouts.locate(path), true);
    }
  }

  perform(viewer: Viewer, request: TreeRequest, done: Done): void {
    const segments = splitPath(request.path);
    if (segments === undefined) return done({ error: errorCode.badArguments });
    switch (request.op) {
      case "create":
        return this.#create(viewer, request, done);
      case "delete":
        return this.#delete(viewer, request.path, request.version, done);
      case "setData":
        return this.#setData(viewer, request.path, request.data ?? Buffer.alloc(0), request.version, done);
      case "sync":
        return done({ error: errorCode.ok, body: { kind: "path", path: request.path } });
      case "getEphemerals":
        return done({
          error: errorCode.ok,
          body: { kind: "children", children: this.#ephemerals(viewer, request.path) },
        });
      default:
        return this.#whenKnown(viewer, request, (known) =>
          done(known ? this.#read(viewer, request) : { error: errorCode.systemError }),
        );
    }
  }

  look(viewer: Viewer, path: string): Stat | undefined | "unknown" {
    if (splitPath(path) === undefined) return undefined;
    const { layout, place } = this.#layouts.locate(path);
    const isList = place.kind === "providers";
    if (path === layout?.root) this.#interfaces.follow(layout);
    if (layout !== undefined && (isList || (place.kind === "provider" && !this.#held(viewer).mine.has(path)))) {
      const view = this.#lists.open(layout, place.interfaceName);
      if (view !== undefined && !view.ready) {
        view.whenKnown(() => {});
        if (!view.ready) return "unknown";
      }
    }
    const node = this.#find(viewer, path);
    return node && this.#stat(viewer, node);
  }

  end(viewer: Viewer): void {
    const held = this.#held(viewer);
    for (const path of [...held.ephemerals]) this.#nodes.remove(path);
    for (const path of held.ephemerals) this.#context.journal.delete(this.#key(viewer.id, path));
    for (const [path, own] of held.mine) {
      this.#context.journal.delete(this.#key(viewer.id, path));
      if (own.instance !== undefined) this.#publisher.withdraw(own, own.instance);
      this.#nodes.size -= sizeOf(own.node);
    }
    for (const { view, services } of held.wanted.values()) view.unwant(services);
    held.clear();
    this.#holdings.delete(viewer.id);
    this.#ended.add(viewer);
  }

  describe(viewer: Viewer): ViewerDescription {
    const held = this.#holdings.get(viewer.id);
    if (held === undefined) return { publishes: [], bypassed: [] };
    const publishes = new Set<string>();
    const bypassed: { registration: string; reason: string }[] = [];
    for (const [path, own] of held.mine) {
      if (own.instance !== undefined && !own.superseded) publishes.add(own.instance.service);
      else if (own.unreadable) bypassed.push({ registration: path, reason: "unreadable registration" });
      else if (this.#isApplicationLevelOnly(own))
        bypassed.push({ registration: path, reason: "application-level only" });
    }
    return { publishes: [...publishes].sort(), bypassed };
  }

  close(): void {
    this.#lists.close();
    this.#interfaces.close();
  }

  // --- writes

  #create(viewer: Viewer, request: Create, done: Done): void {
    const { path, flags } = request;
    const held = this.#held(viewer);
    if (isSequential(flags)) {
      if (!held.toldSequential) {
        held.toldSequential = true;
        this.#context.log.warn(
          { remote: viewer.remote, path },
          "sequential nodes are refused: this tree is for discovery only",
        );
      }
      return done({ error: errorCode.unimplemented });
    }
    const located = this.#layouts.locate(path);
    const error = this.#refusal(viewer, request, located);
    if (error !== errorCode.ok) return done({ error });
    const ephemeral = flags === createFlags.ephemeral;
    const node = newNode({
      path,
      data: request.data ?? Buffer.alloc(0),
      zxid: this.#nodes.next(),
      wall: this.#context.clock.wall(),
      owner: ephemeral ? viewer.id : 0n,
    });
    const owner = isOwn(located.place) || ephemeral ? viewer : undefined;
    this.#context.journal.put(this.#key(owner?.id ?? 0n, path), packNode(node));
    const publish = this.#keep(owner, node, located, false);
    const stat = this.#stat(viewer, node);
    this.#afterFlush(done, { error: errorCode.ok, body: bodyOfCreated(request.code, path, stat) }, publish, () => {
      if (owner !== undefined) this.#drop(owner, path);
      else this.#nodes.remove(path);
      this.#context.journal.delete(this.#key(owner?.id ?? 0n, path));
    });
  }

  /** Why a node may not be created, or 0. */
  #refusal(viewer: Viewer, request: Create, { place }: Located): number {
    const { path } = request;
    const held = this.#held(viewer);
    if (place.kind === "directory" || place.kind === "providers") return errorCode.nodeExists;
    if (held.mine.has(path)) return errorCode.nodeExists;
    if (!isOwn(place)) {
      const known = this.#nodes.get(path);
      // A consumer's name holds its process and start: whoever writes it again is the same, come back with a new session.
      const comesBack =
        place.kind === "consumer" && known !== undefined && known.owner !== 0n && known.owner !== viewer.id;
      if (comesBack) this.#dispossess(known);
      else if (known !== undefined) return errorCode.nodeExists;
      if ((this.#nodes.get(parentOf(path))?.owner ?? 0n) !== 0n) return errorCode.noChildrenForEphemerals;
    }
    const size = path.length + (request.data?.length ?? 0);
    if (
      held.count >= this.#limits.nodesPerSession ||
      this.#nodes.count >= this.#limits.nodes ||
      (request.data?.length ?? 0) > this.#limits.dataBytes ||
      this.#nodes.size + size > this.#limits.treeBytes
    ) {
      this.#context.log.warn(
        { remote: viewer.remote, path: path.slice(0, 200) },
        "a node was refused: a limit of the tree is reached",
      );
      return errorCode.systemError;
    }
    return errorCode.ok;
  }

  #dispossess(node: Node): void {
    const former = this.#holdings.get(node.owner);
    if (former !== undefined) {
      this.#drop(former.viewer, node.path);
      this.#context.journal.delete(this.#key(former.viewer.id, node.path));
    } else this.#nodes.remove(node.path);
  }

  /**
   * Puts a node where it belongs, shows it, and gives what is to be done once it is durable (at once when it comes from the journal).
   */
  #keep(owner: Viewer | undefined, node: Node, { layout, place }: Located, restored: boolean): () => void {
    if (owner === undefined || !isOwn(place)) {
      if (this.#nodes.get(node.path) !== undefined) return () => {};
      this.#nodes.add(node);
      if (owner !== undefined) {
        this.#held(owner).ephemerals.add(node.path);
        if (layout !== undefined && place.kind === "consumer") this.#want(owner, layout, place, node.path);
      }
      this.#listener.changed({ type: eventType.created, path: node.path });
      this.#nodes.tellParent(node.path);
      return () => {};
    }
    const held = this.#held(owner);
    const own = held.keep(node);
    this.#nodes.size += sizeOf(node);
    if (place.kind === "private") this.#keepParents(held, node.path);
    this.#tellOwn(owner, eventType.created, node.path, place);
    if (place.kind === "private" && place.application !== undefined) {
      owner.application ||= place.application;
      own.application = place.application;
    }
    if (place.kind !== "provider" || layout === undefined) return () => {};
    held.hidden.delete(node.path);
    own.instance = layout.readProvider(place.interfaceName, place.name, () => this.#newIncarnation());
    if (own.instance === undefined) {
      own.unreadable = true;
      this.#context.log.warn(
        { remote: owner.remote, path: node.path.slice(0, 500) },
        "a provider's node cannot be read and is not published",
      );
      return () => {};
    }
    owner.application = own.instance.application;
    if (!restored && this.#context.place === "sidecar" && layout.waitsForItself(place.name))
      this.#listForItself(held, own);
    const { instance } = own;
    const publish = (): void => {
      if (held.mine.get(node.path) === own) this.#publisher.publish(own, instance);
    };
    if (restored) publish();
    return publish;
  }

  /** Shows a node for a moment in its owner's own list, where a sidecar otherwise shows only what the directory hands out. */
  #listForItself(held: Holdings, own: OwnNode): void {
    const { clock } = this.#context;
    const path = parentOf(own.node.path);
    const tell = (): void => {
      if (held.mine.get(own.node.path) !== own) return;
      const list = this.#nodes.get(path);
      if (list !== undefined) Object.assign(list, { cversion: list.cversion + 1, pzxid: this.#nodes.next() });
      this.#listener.changed({ type: eventType.childrenChanged, path, to: (id) => id === held.viewer.id });
    };
    own.listedUntil = clock.now() + listedMs;
    clock.after(listedMs, tell);
    tell();
  }

  #keepParents(held: Holdings, path: string): void {
    const parent = parentOf(path);
    if (held.mine.has(parent) || this.#layouts.locate(parent).place.kind !== "private") return;
    const node = this.#nodes.implicit(parent);
    held.keep(node);
    this.#nodes.size += sizeOf(node);
    this.#keepParents(held, parent);
  }

  #want(owner: Viewer, layout: Layout, place: Extract<Place, { kind: "consumer" }>, path: string): void {
    const wanted = layout.readConsumer(place.interfaceName, place.name);
    if (wanted === undefined) return;
    owner.application ||= wanted.application;
    const view = this.#lists.open(layout, place.interfaceName);
    if (view === undefined) return;
    for (const service of wanted.services) this.#context.onConsumer?.(service, wanted.timeoutMs);
    view.want(wanted.services);
    this.#held(owner).wanted.set(path, { view, services: wanted.services });
  }

  #delete(viewer: Viewer, path: string, version: number, done: Done): void {
    const { place } = this.#layouts.locate(path);
    const node = this.#find(viewer, path);
    if (node === undefined) return done({ error: errorCode.noNode });
    if (version !== -1 && version !== node.version) return done({ error: errorCode.badVersion });
    if (this.#childrenOf(viewer, node).length > 0) return done({ error: errorCode.notEmpty });
    // What exists by itself stays, and so does what somebody else registered: a session takes back only what is its own.
    if (place.kind === "directory" || place.kind === "providers" || path === "/" || isReserved(path)) {
      return done({ error: errorCode.ok });
    }
    const isMine = this.#held(viewer).mine.has(path);
    if (place.kind === "provider" && !isMine) {
      this.#context.log.info(
        { remote: viewer.remote, path: path.slice(0, 500) },
        "a session deleted another's registration: it stays",
      );
      return done({ error: errorCode.ok });
    }
    const owner = isMine ? viewer : this.#holdings.get(node.owner)?.viewer;
    this.#nodes.next();
    if (owner !== undefined) this.#drop(owner, path);
    else this.#nodes.remove(path);
    this.#context.journal.delete(this.#key(owner?.id ?? 0n, path));
    this.#afterFlush(done, { error: errorCode.ok });
  }

  /** Takes a node away from the session that holds it, and what it stood for with it. */
  #drop(owner: Viewer, path: string): void {
    const held = this.#held(owner);
    const wanted = held.wanted.get(path);
    if (wanted !== undefined) {
      held.wanted.delete(path);
      wanted.view.unwant(wanted.services);
    }
    if (held.ephemerals.delete(path)) return this.#nodes.remove(path);
    const own = held.release(path);
    if (own === undefined) return;
    this.#nodes.size -= sizeOf(own.node);
    if (own.instance !== undefined) {
      this.#publisher.withdraw(own, own.instance);
      held.hidden.set(path, this.#context.clock.now() + hideMs);
    }
    this.#tellOwn(owner, eventType.deleted, path, this.#layouts.locate(path).place);
  }

  #setData(viewer: Viewer, path: string, data: Buffer, version: number, done: Done): void {
    const node = this.#find(viewer, path);
    if (node === undefined) return done({ error: errorCode.noNode });
    if (version !== -1 && version !== node.version) return done({ error: errorCode.badVersion });
    if (data.length > this.#limits.dataBytes) return done({ error: errorCode.systemError });
    const isMine = this.#held(viewer).mine.has(path);
    const { place } = this.#layouts.locate(path);
    const isStored = isMine || (this.#nodes.get(path) === node && place.kind !== "provider");
    if (isStored) {
      this.#nodes.size += data.length - node.data.length;
      node.data = data;
      node.mzxid = this.#nodes.next();
      node.mtime = this.#context.clock.wall();
      node.version += 1;
      const isKept = place.kind !== "directory" && place.kind !== "providers" && !node.implicit;
      if (isKept) this.#context.journal.put(this.#key(isMine ? viewer.id : node.owner, path), packNode(node));
      this.#listener.changed({
        type: eventType.dataChanged,
        path,
        ...(isMine ? { to: (id) => id === viewer.id } : {}),
      });
    }
    this.#afterFlush(done, { error: errorCode.ok, body: { kind: "stat", stat: this.#stat(viewer, node) } });
  }

  #afterFlush(done: Done, answer: Answer, then?: () => void, undo?: () => void): void {
    this.#context.journal.flushed().then(
      () => {
        then?.();
        done(answer);
      },
      (error) => {
        this.#context.log.error({ error: messageOf(error) }, "a change could not be written to disk and was refused");
        undo?.();
        done({ error: errorCode.systemError });
      },
    );
  }

  // --- reads

  #read(viewer: Viewer, request: TreeRequest): Answer {
    const node = this.#find(viewer, request.path);
    if (node === undefined) return { error: errorCode.noNode };
    const stat = this.#stat(viewer, node);
    switch (request.op) {
      case "getData":
        return { error: errorCode.ok, body: { kind: "data", data: node.data, stat } };
      case "getAcl":
        return { error: errorCode.ok, body: { kind: "acl", acl: openAcl, stat } };
      case "getChildren": {
        const children = this.#childrenOf(viewer, node);
        return {
          error: errorCode.ok,
          body: request.code === 12 ? { kind: "children2", children, stat } : { kind: "children", children },
        };
      }
      default:
        return { error: errorCode.ok, body: { kind: "stat", stat } };
    }
  }

  /** Runs `task` when the directory has told of what is read, or has not for too long; with false when it cannot be asked. */
  #whenKnown(viewer: Viewer, { op, path }: TreeRequest, task: (known: boolean) => void): void {
    const { layout, place } = this.#layouts.locate(path);
    const isForeign = place.kind === "provider" && !this.#held(viewer).mine.has(path);
    const isList = place.kind === "providers" && op === "getChildren";
    if (path === layout?.root && op === "getChildren") return this.#interfaces.whenKnown(layout, () => task(true));
    if (layout === undefined || !(isForeign || isList)) return task(true);
    const view = this.#lists.open(layout, place.interfaceName);
    if (view === undefined) return task(false);
    view.whenKnown(() => task(true));
  }

  #find(viewer: Viewer, path: string): Node | undefined {
    const held = this.#held(viewer);
    const own = held.mine.get(path);
    if (own !== undefined) return own.node;
    const { place } = this.#layouts.locate(path);
    if (place.kind === "private" || held.isHidden(path, this.#context.clock.now())) return undefined;
    const node = this.#nodes.get(path);
    if (node !== undefined) return node;
    return place.kind === "directory" || place.kind === "providers" ? this.#nodes.structural(path) : undefined;
  }

  #childrenOf(viewer: Viewer, node: Node): string[] {
    const held = this.#held(viewer);
    const now = this.#context.clock.now();
    const names = new Set<string>();
    for (const name of this.#nodes.get(node.path)?.children ?? []) {
      if (held.hidden.size === 0 || !held.isHidden(childOf(node.path, name), now)) names.add(name);
    }
    for (const name of this.#interfaces.below(node.path)) names.add(name);
    const { place } = this.#layouts.locate(node.path);
    const showsOwn = place.kind !== "providers" || this.#context.place === "registry";
    for (const name of held.childrenOf(node.path)) {
      if (showsOwn || (held.mine.get(childOf(node.path, name))?.listedUntil ?? 0) > now) names.add(name);
    }
    return [...names];
  }

  #stat(viewer: Viewer, node: Node): Stat {
    return statOf(node, this.#childrenOf(viewer, node).length);
  }

  #ephemerals(viewer: Viewer, prefix: string): string[] {
    const held = this.#held(viewer);
    const paths = [...held.ephemerals];
    for (const [path, { node }] of held.mine) if (node.owner !== 0n) paths.push(path);
    return paths.filter((path) => path.startsWith(prefix));
  }

  #isApplicationLevelOnly(own: { readonly application: string | undefined; readonly node: Node }): boolean {
    const { application, node } = own;
    if (application === undefined || this.#context.clock.wall() - node.ctime < bypassAfterMs) return false;
    for (const held of this.#holdings.values()) if (held.publishesFor(application)) return false;
    return true;
  }

  // --- telling and finding

  /** Tells the owner alone of a node that only it sees at this path. */
  #tellOwn(owner: Viewer, type: 1 | 2, path: string, place: Place): void {
    const to = (id: bigint): boolean => id === owner.id;
    this.#listener.changed({ type, path, to });
    if (place.kind === "provider" && this.#context.place === "sidecar") return;
    const parentPath = parentOf(path);
    const parent = this.#find(owner, parentPath);
    if (parent === undefined) return;
    parent.cversion += 1;
    parent.pzxid = this.#nodes.zxid;
    this.#listener.changed({ type: eventType.childrenChanged, path: parentPath, to });
  }

  #held(viewer: Viewer): Holdings {
    let held = this.#holdings.get(viewer.id);
    if (held === undefined) {
      held = new Holdings(viewer);
      if (!this.#ended.has(viewer)) this.#holdings.set(viewer.id, held);
    }
    return held;
  }

  #key(id: bigint, path: string): string {
    return `node/${id.toString(16)}${path}`;
  }

  #newIncarnation(): number {
    this.#incarnations += 1;
    return this.#context.epoch * 2 ** 20 + this.#incarnations;
  }
}

function isSequential(flags: number): boolean {
  return (
    flags === createFlags.persistentSequential ||
    flags === createFlags.ephemeralSequential ||
    flags === createFlags.persistentSequentialTtl
  );
}

function bodyOfCreated(code: Create["code"], path: string, stat: Stat): NonNullable<Answer["body"]> {
  return code === 1 ? { kind: "path", path } : { kind: "created", path, stat };
}
