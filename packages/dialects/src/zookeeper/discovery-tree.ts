/**
 * The tree of a door that answers from a directory. Providers are shown as the directory gives them; everything else that clients
 * write is held here. What a session writes goes to the journal before it is answered, and is published behind the answer.
 */

import type { Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { Instance } from "@dualmesh/model/instance";
import { errorCode, eventType, type Stat } from "@dualmesh/wire/jute/reply";
import { createFlags, openAcl } from "@dualmesh/wire/jute/request";
import type { DoorContext } from "../door.ts";
import { Holdings } from "./holdings.ts";
import type { Layout, Place } from "./layout.ts";
import type { ZooKeeperLimits } from "./limits.ts";
import {
  beginning,
  childOf,
  elsewhere,
  lastOf,
  type Node,
  newNode,
  packNode,
  parentOf,
  splitPath,
  statOf,
  unpackNode,
} from "./nodes.ts";
import { ProviderView } from "./provider-view.ts";
import { Publisher } from "./publisher.ts";
import type { Answer, Tree, TreeListener, TreeRequest, Viewer, ViewerDescription } from "./tree.ts";

type Create = Extract<TreeRequest, { readonly op: "create" }>;
type Done = (answer: Answer) => void;

interface Located {
  readonly layout: Layout | undefined;
  readonly place: Place;
}

/** How long a session's own deletion hides a node that the directory still shows, in milliseconds. */
const hideMs = 2_000;
/** How long an application may be registered at application level before it counts as registered only there, in milliseconds. */
const bypassAfterMs = 5_000;
/** A list that nobody watches or reads for this long is dropped, in milliseconds. */
const unusedMs = 60_000;

export interface DiscoveryTreeOptions {
  readonly context: DoorContext;
  readonly layouts: readonly Layout[];
  readonly limits: ZooKeeperLimits;
  readonly listener: TreeListener;
}

export class DiscoveryTree implements Tree {
  readonly #context: DoorContext;
  readonly #layouts: readonly Layout[];
  readonly #limits: ZooKeeperLimits;
  readonly #listener: TreeListener;
  readonly #publisher: Publisher;
  readonly #nodes = new Map<string, Node>();
  readonly #holdings = new Map<bigint, Holdings>();
  readonly #views = new Map<string, ProviderView>();
  readonly #startedWall: number;
  readonly #sweep: Timer;
  #zxid: bigint;
  #incarnations = 0;
  #size = 0;

  constructor(options: DiscoveryTreeOptions) {
    const { context } = options;
    this.#context = context;
    this.#layouts = options.layouts;
    this.#limits = options.limits;
    this.#listener = options.listener;
    this.#publisher = new Publisher(context.directory, context.log);
    this.#zxid = (BigInt(context.epoch) << 32n) | 1n;
    this.#startedWall = context.clock.wall();
    for (const path of ["/", "/zookeeper", "/zookeeper/config"]) this.#addShared(this.#structural(path));
    for (const { root } of this.#layouts) this.#addShared(this.#structural(root));
    this.#addShared(this.#structural("/services"));
    this.#sweep = context.clock.every(unusedMs / 2, () => this.#dropUnused());
  }

  get zxid(): bigint {
    return this.#zxid;
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
      this.#keep(viewer, node, this.#locate(path), true);
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
        return this.#whenKnown(viewer, request.path, request.op === "getChildren", () =>
          done(this.#read(viewer, request)),
        );
    }
  }

  look(viewer: Viewer, path: string): Stat | undefined | "unknown" {
    if (splitPath(path) === undefined) return undefined;
    const { layout, place } = this.#locate(path);
    const isList = place.kind === "providers";
    if (layout !== undefined && (isList || (place.kind === "provider" && !this.#held(viewer).mine.has(path)))) {
      const view = this.#view(layout, place.interfaceName);
      if (view !== undefined && !view.ready) {
        view.whenKnown(() => {});
        if (!view.ready) return "unknown";
      }
    }
    const node = this.#find(viewer, path);
    return node && this.#stat(viewer, node);
  }

  end(viewer: Viewer): void {
    const held = this.#holdings.get(viewer.id);
    if (held === undefined) return;
    for (const path of [...held.ephemerals]) this.#removeShared(path);
    for (const path of held.ephemerals) this.#context.journal.delete(this.#key(viewer.id, path));
    for (const [path, own] of held.mine) {
      this.#context.journal.delete(this.#key(viewer.id, path));
      if (own.instance !== undefined) this.#publisher.withdraw(own, own.instance);
      this.#size -= sizeOf(own.node);
    }
    for (const { view, services } of held.wanted.values()) view.unwant(services);
    this.#holdings.delete(viewer.id);
  }

  describe(viewer: Viewer): ViewerDescription {
    const held = this.#holdings.get(viewer.id);
    if (held === undefined) return { publishes: [], bypassed: [] };
    const publishes = new Set<string>();
    const bypassed: { registration: string; reason: string }[] = [];
    for (const [path, own] of held.mine) {
      if (own.instance !== undefined) publishes.add(own.instance.service);
      else if (own.unreadable) bypassed.push({ registration: path, reason: "unreadable registration" });
      else if (this.#isApplicationLevelOnly(own))
        bypassed.push({ registration: path, reason: "application-level only" });
    }
    return { publishes: [...publishes].sort(), bypassed };
  }

  close(): void {
    this.#sweep.cancel();
    for (const view of this.#views.values()) view.close();
    this.#views.clear();
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
    const located = this.#locate(path);
    const error = this.#refusal(viewer, request, located);
    if (error !== errorCode.ok) return done({ error });
    const ephemeral = flags === createFlags.ephemeral;
    const node = newNode({
      path,
      data: request.data ?? Buffer.alloc(0),
      zxid: this.#next(),
      wall: this.#context.clock.wall(),
      owner: ephemeral ? viewer.id : 0n,
    });
    const owner = this.#isOwn(located.place) || ephemeral ? viewer : undefined;
    this.#context.journal.put(this.#key(owner?.id ?? 0n, path), packNode(node));
    const publish = this.#keep(owner, node, located, false);
    const stat = this.#stat(viewer, node);
    this.#afterFlush(done, { error: errorCode.ok, body: bodyOfCreated(request.code, path, stat) }, publish, () => {
      if (owner !== undefined) this.#drop(owner, path);
      else this.#removeShared(path);
      this.#context.journal.delete(this.#key(owner?.id ?? 0n, path));
    });
  }

  /** Why a node may not be created, or 0. */
  #refusal(viewer: Viewer, request: Create, { place }: Located): number {
    const { path } = request;
    const held = this.#held(viewer);
    if (place.kind === "directory" || place.kind === "providers") return errorCode.nodeExists;
    if (held.mine.has(path)) return errorCode.nodeExists;
    if (!this.#isOwn(place)) {
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
      this.#nodes.size >= this.#limits.nodes ||
      (request.data?.length ?? 0) > this.#limits.dataBytes ||
      this.#size + size > this.#limits.treeBytes
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
    } else this.#removeShared(node.path);
  }

  /**
   * Puts a node where it belongs, shows it, and gives what is to be done once it is durable (at once when it comes from the journal).
   */
  #keep(owner: Viewer | undefined, node: Node, { layout, place }: Located, restored: boolean): () => void {
    if (owner === undefined || !this.#isOwn(place)) {
      if (this.#nodes.has(node.path)) return () => {};
      this.#addShared(node);
      if (owner !== undefined) {
        this.#held(owner).ephemerals.add(node.path);
        if (layout !== undefined && place.kind === "consumer") this.#want(owner, layout, place, node.path);
      }
      this.#tell(eventType.created, node.path);
      this.#tellParent(node.path);
      return () => {};
    }
    const held = this.#held(owner);
    const own = held.keep(node);
    this.#size += sizeOf(node);
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
    const { instance } = own;
    const publish = (): void => {
      if (held.mine.get(node.path) === own) this.#publisher.publish(own, instance);
    };
    if (restored) publish();
    return publish;
  }

  #keepParents(held: Holdings, path: string): void {
    const parent = parentOf(path);
    if (held.mine.has(parent) || this.#locate(parent).place.kind !== "private") return;
    const node = this.#implicit(parent);
    held.keep(node);
    this.#size += sizeOf(node);
    this.#keepParents(held, parent);
  }

  #want(owner: Viewer, layout: Layout, place: Extract<Place, { kind: "consumer" }>, path: string): void {
    const wanted = layout.readConsumer(place.interfaceName, place.name);
    if (wanted === undefined) return;
    owner.application ||= wanted.application;
    const view = this.#view(layout, place.interfaceName);
    if (view === undefined) return;
    view.want(wanted.services);
    this.#held(owner).wanted.set(path, { view, services: wanted.services });
  }

  #delete(viewer: Viewer, path: string, version: number, done: Done): void {
    const { place } = this.#locate(path);
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
    this.#next();
    if (owner !== undefined) this.#drop(owner, path);
    else this.#removeShared(path);
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
    if (held.ephemerals.delete(path)) return this.#removeShared(path);
    const own = held.release(path);
    if (own === undefined) return;
    this.#size -= sizeOf(own.node);
    if (own.instance !== undefined) {
      this.#publisher.withdraw(own, own.instance);
      held.hidden.set(path, this.#context.clock.now() + hideMs);
    }
    this.#tellOwn(owner, eventType.deleted, path, this.#locate(path).place);
  }

  #setData(viewer: Viewer, path: string, data: Buffer, version: number, done: Done): void {
    const node = this.#find(viewer, path);
    if (node === undefined) return done({ error: errorCode.noNode });
    if (version !== -1 && version !== node.version) return done({ error: errorCode.badVersion });
    if (data.length > this.#limits.dataBytes) return done({ error: errorCode.systemError });
    const isMine = this.#held(viewer).mine.has(path);
    const { place } = this.#locate(path);
    const isStored = isMine || (this.#nodes.get(path) === node && place.kind !== "provider");
    if (isStored) {
      this.#size += data.length - node.data.length;
      node.data = data;
      node.mzxid = this.#next();
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

  #whenKnown(viewer: Viewer, path: string, list: boolean, task: () => void): void {
    const { layout, place } = this.#locate(path);
    const needsView =
      place.kind === "provider" ? !this.#held(viewer).mine.has(path) : place.kind === "providers" && list;
    if (layout === undefined || !needsView || (place.kind !== "provider" && place.kind !== "providers")) return task();
    const view = this.#view(layout, place.interfaceName);
    if (view === undefined) return task();
    view.whenKnown(task);
  }

  #find(viewer: Viewer, path: string): Node | undefined {
    const held = this.#held(viewer);
    const own = held.mine.get(path);
    if (own !== undefined) return own.node;
    const { place } = this.#locate(path);
    if (place.kind === "private" || held.isHidden(path, this.#context.clock.now())) return undefined;
    const node = this.#nodes.get(path);
    if (node !== undefined) return node;
    return place.kind === "directory" || place.kind === "providers" ? this.#structural(path) : undefined;
  }

  #childrenOf(viewer: Viewer, node: Node): string[] {
    const held = this.#held(viewer);
    const now = this.#context.clock.now();
    const names = new Set<string>();
    for (const name of this.#nodes.get(node.path)?.children ?? []) {
      if (held.hidden.size === 0 || !held.isHidden(childOf(node.path, name), now)) names.add(name);
    }
    const { place } = this.#locate(node.path);
    const showsOwn = place.kind !== "providers" || this.#context.place === "registry";
    if (showsOwn) for (const name of held.childrenOf(node.path)) names.add(name);
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

  // --- the lists of providers

  #view(layout: Layout, interfaceName: string): ProviderView | undefined {
    const path = layout.providersPath(interfaceName);
    const known = this.#views.get(path);
    if (known !== undefined) return known;
    if (this.#views.size >= this.#limits.lists) {
      this.#context.log.warn({ path }, "a list of providers is shown empty: there are too many lists");
      return undefined;
    }
    const view: ProviderView = new ProviderView({
      layout,
      interfaceName,
      place: this.#context.place,
      directory: this.#context.directory,
      clock: this.#context.clock,
      holdMs: this.#limits.holdMs,
      onList: (names, first) => this.#showList(path, layout, names, first),
    });
    this.#views.set(path, view);
    return view;
  }

  #showList(path: string, layout: Layout, names: ReadonlyMap<string, Instance>, first: boolean): void {
    const parent = this.#nodes.get(path) ?? this.#addShared(this.#structural(path));
    const removed = [...parent.children].filter((name) => !names.has(name));
    const added = [...names].filter(([name]) => !parent.children.has(name));
    if (removed.length === 0 && added.length === 0 && !first) return;
    const zxid = this.#next();
    const wall = this.#context.clock.wall();
    for (const [name, instance] of added) {
      this.#addShared(
        newNode({ path: childOf(path, name), data: layout.dataOf(instance), zxid, wall, owner: elsewhere }),
      );
    }
    for (const name of removed) this.#takeShared(childOf(path, name));
    parent.cversion += added.length + removed.length;
    parent.pzxid = zxid;
    const all = [...added.map(([name]) => name), ...removed].map((name) => childOf(path, name));
    for (const name of removed) this.#tellOthers(eventType.deleted, childOf(path, name));
    for (const [name] of added) this.#tellOthers(eventType.created, childOf(path, name));
    const to = first ? undefined : (id: bigint): boolean => this.#seesChange(id, all);
    this.#listener.changed({ type: eventType.childrenChanged, path, ...(to === undefined ? {} : { to }) });
    for (const held of this.#holdings.values()) for (const name of removed) held.hidden.delete(childOf(path, name));
    if (first) this.#listener.known(path);
  }

  /** At a registry a session's own nodes are in its list from the moment it made them, whatever the directory says of them. */
  #seesChange(id: bigint, paths: readonly string[]): boolean {
    const held = this.#holdings.get(id);
    if (held === undefined || this.#context.place === "sidecar") return true;
    return paths.some((path) => !held.mine.has(path) && !held.hidden.has(path));
  }

  #tellOthers(type: 1 | 2, path: string): void {
    this.#listener.changed({ type, path, to: (id) => this.#holdings.get(id)?.mine.has(path) !== true });
  }

  #dropUnused(): void {
    const now = this.#context.clock.now();
    for (const [path, view] of this.#views) {
      if (now - view.usedAt < unusedMs || view.wantedByConsumers || this.#listener.watched(path)) continue;
      view.close();
      this.#views.delete(path);
      for (const name of [...(this.#nodes.get(path)?.children ?? [])]) this.#takeShared(childOf(path, name));
      this.#prune(path);
    }
  }

  // --- shared nodes

  #addShared(node: Node): Node {
    this.#nodes.set(node.path, node);
    this.#size += sizeOf(node);
    if (node.path === "/") return node;
    const parentPath = parentOf(node.path);
    const parent = this.#nodes.get(parentPath) ?? this.#addShared(this.#implicit(parentPath));
    parent.children.add(lastOf(node.path));
    if (node.czxid > parent.pzxid) parent.pzxid = node.czxid;
    return node;
  }

  #removeShared(path: string): void {
    const parent = this.#nodes.get(parentOf(path));
    if (!this.#takeShared(path)) return;
    if (parent !== undefined) parent.pzxid = this.#next();
    this.#tell(eventType.deleted, path);
    this.#tellParent(path);
    this.#prune(parentOf(path));
  }

  #takeShared(path: string): boolean {
    const node = this.#nodes.get(path);
    if (node === undefined || !this.#nodes.delete(path)) return false;
    this.#size -= sizeOf(node);
    this.#nodes.get(parentOf(path))?.children.delete(lastOf(path));
    return true;
  }

  /** Nodes that were made for their children only go with the last of them. */
  #prune(path: string): void {
    const node = this.#nodes.get(path);
    if (
      node === undefined ||
      !node.implicit ||
      node.children.size > 0 ||
      this.#views.has(path) ||
      this.#listener.watched(path)
    )
      return;
    this.#takeShared(path);
    this.#prune(parentOf(path));
  }

  #structural(path: string): Node {
    const permanent = path === "/" || path.split("/").length === 2 || isReserved(path);
    return newNode({ path, data: Buffer.alloc(0), zxid: beginning, wall: this.#startedWall, implicit: !permanent });
  }

  #implicit(path: string): Node {
    const { place } = this.#locate(path);
    if (place.kind === "directory" || place.kind === "providers") return this.#structural(path);
    return newNode({ path, data: Buffer.alloc(0), zxid: this.#zxid, wall: this.#context.clock.wall(), implicit: true });
  }

  // --- telling

  #tell(type: 1 | 2, path: string): void {
    this.#listener.changed({ type, path });
  }

  #tellParent(path: string): void {
    const parent = this.#nodes.get(parentOf(path));
    if (parent === undefined) return;
    parent.cversion += 1;
    this.#listener.changed({ type: eventType.childrenChanged, path: parent.path });
  }

  /** Tells the owner alone of a node that only it sees at this path. */
  #tellOwn(owner: Viewer, type: 1 | 2, path: string, place: Place): void {
    const to = (id: bigint): boolean => id === owner.id;
    this.#listener.changed({ type, path, to });
    if (place.kind === "provider" && this.#context.place === "sidecar") return;
    const parentPath = parentOf(path);
    const parent = this.#find(owner, parentPath);
    if (parent === undefined) return;
    parent.cversion += 1;
    parent.pzxid = this.#zxid;
    this.#listener.changed({ type: eventType.childrenChanged, path: parentPath, to });
  }

  #locate(path: string): Located {
    const segments = splitPath(path) ?? [];
    for (const layout of this.#layouts) {
      const place = layout.place(segments);
      if (place !== undefined) return { layout, place };
    }
    return { layout: undefined, place: { kind: "plain" } };
  }

  #isOwn(place: Place): boolean {
    return place.kind === "provider" || place.kind === "private";
  }

  #held(viewer: Viewer): Holdings {
    let held = this.#holdings.get(viewer.id);
    if (held === undefined) {
      held = new Holdings(viewer);
      this.#holdings.set(viewer.id, held);
    }
    return held;
  }

  #key(id: bigint, path: string): string {
    return `node/${id.toString(16)}${path}`;
  }

  #next(): bigint {
    this.#zxid += 1n;
    return this.#zxid;
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

function isReserved(path: string): boolean {
  return path === "/zookeeper" || path.startsWith("/zookeeper/");
}

function sizeOf(node: Node): number {
  return node.path.length + node.data.length + 200;
}
