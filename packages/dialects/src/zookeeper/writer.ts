/**
 * What sessions change in the tree. A change takes effect at once, goes to the journal, and is answered when it is durable; a
 * registration, when the directory has taken it on as well. A directory does not wait for its source to do so: a registry that is away
 * keeps nobody from registering. What it refuses is taken out again, and its client is told.
 *
 * The error is SystemError, which every version of the client knows and Curator does not repeat by itself. As was tried with real ones:
 * the export of a SOFA-RPC or Dubbo provider fails with it, and Dubbo with `check=false` starts and registers again every few seconds.
 */
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Instance } from "@dualmesh/model/instance";
import { errorCode, eventType } from "@dualmesh/wire/jute/reply";
import { createFlags } from "@dualmesh/wire/jute/request";
import type { DoorContext } from "../door.ts";
import { Publisher } from "../publisher.ts";
import type { AllHoldings, Holdings, OwnNode } from "./holdings.ts";
import { isOwn, type Layout, type Layouts, type Located, type Place } from "./layout.ts";
import type { ZooKeeperLimits } from "./limits.ts";
import { type Node, newNode, packNode, parentOf } from "./nodes.ts";
import type { ProviderLists } from "./provider-lists.ts";
import type { TreeReader } from "./reader.ts";
import { type Reading, readRegistration } from "./registration.ts";
import { isReserved, type SharedNodes, sizeOf } from "./shared-nodes.ts";
import type { Answer, TreeListener, TreeRequest, Viewer } from "./tree.ts";

type Create = Extract<TreeRequest, { readonly op: "create" }>;
type Done = (answer: Answer) => void;

/** What follows from a change that is durable. */
interface Following {
  /** Rejects when the directory refuses it. */
  readonly register: () => Promise<void> | undefined;
  readonly refused: (error: unknown) => void;
  readonly undo: () => void;
}

/** How long a session's own deletion hides a node that the directory still shows, in milliseconds. */
const hideMs = 2_000;
/** How long a client that waits for its own registration finds it in its list, in milliseconds. */
const listedMs = 5_000;
/** Characters of a path that are logged. */
const toldLength = 500;

export interface TreeWriterOptions {
  readonly context: DoorContext;
  readonly layouts: Layouts;
  readonly limits: ZooKeeperLimits;
  readonly listener: TreeListener;
  readonly told: ThrottledLog;
  readonly nodes: SharedNodes;
  readonly lists: ProviderLists;
  readonly holdings: AllHoldings;
  readonly reader: TreeReader;
}

export class TreeWriter {
  readonly #options: TreeWriterOptions;
  readonly #context: DoorContext;
  readonly #nodes: SharedNodes;
  readonly #holdings: AllHoldings;
  readonly #publisher: Publisher<OwnNode>;
  #incarnations = 0;

  constructor(options: TreeWriterOptions) {
    this.#options = options;
    this.#context = options.context;
    this.#nodes = options.nodes;
    this.#holdings = options.holdings;
    const { directory, clock } = options.context;
    this.#publisher = new Publisher({ directory, clock, told: options.told });
  }

  /** Takes in a node that the journal kept, and publishes at once what it registers. */
  restore(owner: Viewer | undefined, node: Node): void {
    const located = this.#options.layouts.locate(node.path);
    const reading = this.#read(located);
    this.#keep(owner, node, located, reading);
    const own = owner && this.#holdings.of(owner).mine.get(node.path);
    if (own?.instance !== undefined) void this.#publisher.publish(own, own.instance, true);
    if (own === undefined || reading.kind !== "unreadable") return;
    own.refused = reading.reason;
    this.#options.told.warn(
      reading.reason,
      { path: node.path.slice(0, toldLength), reason: reading.reason },
      "a registration of the journal cannot be read and is not published",
    );
  }

  create(viewer: Viewer, request: Create, done: Done): void {
    const { path, flags } = request;
    if (isSequential(flags)) {
      this.#options.told.warn(
        sessionOf(viewer),
        { remote: viewer.remote, path: path.slice(0, toldLength) },
        "sequential nodes are refused: this tree is for discovery only",
      );
      return done({ error: errorCode.unimplemented });
    }
    const located = this.#options.layouts.locate(path);
    const error = this.#conflict(viewer, request, located) || this.#limit(viewer, request, located);
    if (error !== errorCode.ok) return done({ error });
    const reading = this.#read(located);
    if (reading.kind === "unreadable") {
      this.#refuse(viewer, path, "unreadable", reading.reason);
      return done({ error: errorCode.badArguments });
    }
    const ephemeral = flags === createFlags.ephemeral;
    const node = newNode({
      path,
      data: request.data ?? Buffer.alloc(0),
      zxid: this.#nodes.next(),
      wall: this.#context.clock.wall(),
      owner: ephemeral ? viewer.id : 0n,
    });
    const owner = isOwn(located.place) || ephemeral ? viewer : undefined;
    this.#context.journal.put(nodeKey(owner?.id ?? 0n, path), packNode(node));
    this.#keep(owner, node, located, reading);
    if (owner !== undefined) this.#listAtFirst(owner, path, located);
    const stat = this.#options.reader.stat(viewer, node);
    const body = request.code === 1 ? ({ kind: "path", path } as const) : ({ kind: "created", path, stat } as const);
    void this.#settle(
      done,
      { error: errorCode.ok, body },
      {
        register: () => owner && this.#register(owner, node),
        refused: (refusal) => this.#refuse(viewer, path, codeOf(refusal), messageOf(refusal)),
        undo: () => this.#undo(owner, node),
      },
    );
  }

  delete(viewer: Viewer, path: string, version: number, done: Done): void {
    const { layouts, reader, told } = this.#options;
    const { place } = layouts.locate(path);
    const node = reader.find(viewer, path);
    if (node === undefined) return done({ error: errorCode.noNode });
    if (version !== -1 && version !== node.version) return done({ error: errorCode.badVersion });
    if (reader.childrenOf(viewer, node).length > 0) return done({ error: errorCode.notEmpty });
    // What exists by itself stays, and so does what somebody else registered: a session takes back only what is its own.
    if (place.kind === "directory" || place.kind === "providers" || path === "/" || isReserved(path)) {
      return done({ error: errorCode.ok });
    }
    const isMine = this.#holdings.of(viewer).mine.has(path);
    if (place.kind === "provider" && !isMine) {
      told.info(
        sessionOf(viewer),
        { remote: viewer.remote, path: path.slice(0, toldLength) },
        "a session deleted another's registration: it stays",
      );
      return done({ error: errorCode.ok });
    }
    const owner = isMine ? viewer : this.#holdings.get(node.owner)?.viewer;
    this.#nodes.next();
    if (owner !== undefined) this.#drop(owner, path);
    else this.#nodes.remove(path);
    this.#context.journal.delete(nodeKey(owner?.id ?? 0n, path));
    void this.#settle(done, { error: errorCode.ok });
  }

  setData(viewer: Viewer, path: string, data: Buffer, version: number, done: Done): void {
    const { layouts, limits, listener, reader } = this.#options;
    const node = reader.find(viewer, path);
    if (node === undefined) return done({ error: errorCode.noNode });
    if (version !== -1 && version !== node.version) return done({ error: errorCode.badVersion });
    if (data.length > limits.dataBytes) return done({ error: errorCode.systemError });
    const isMine = this.#holdings.of(viewer).mine.has(path);
    const { place } = layouts.locate(path);
    const isStored = isMine || (this.#nodes.get(path) === node && place.kind !== "provider");
    if (isStored) {
      this.#nodes.size += data.length - node.data.length;
      node.data = data;
      node.mzxid = this.#nodes.next();
      node.mtime = this.#context.clock.wall();
      node.version += 1;
      const isKept = place.kind !== "directory" && place.kind !== "providers" && !node.implicit;
      if (isKept) this.#context.journal.put(nodeKey(isMine ? viewer.id : node.owner, path), packNode(node));
      listener.changed({
        type: eventType.dataChanged,
        path,
        ...(isMine ? { to: (id) => id === viewer.id, by: viewer.id } : {}),
      });
    }
    const stat = reader.stat(viewer, node);
    void this.#settle(done, { error: errorCode.ok, body: { kind: "stat", stat } });
  }

  /** The session is over: what lived by it goes. */
  end(viewer: Viewer): void {
    const { journal } = this.#context;
    const held = this.#holdings.of(viewer);
    for (const path of [...held.ephemerals]) this.#nodes.remove(path);
    for (const path of held.ephemerals) journal.delete(nodeKey(viewer.id, path));
    for (const [path, own] of held.mine) {
      journal.delete(nodeKey(viewer.id, path));
      if (own.instance !== undefined) this.#publisher.withdraw(own, own.instance);
      this.#nodes.size -= sizeOf(own.node);
    }
    for (const { view, services } of held.wanted.values()) view.unwant(services);
    this.#holdings.end(viewer);
  }

  close(): void {
    this.#publisher.close();
  }

  // --- whether a node may be created

  /** What stands in the way of a node, or 0. */
  #conflict(viewer: Viewer, { path }: Create, { place }: Located): number {
    if (place.kind === "directory" || place.kind === "providers") return errorCode.nodeExists;
    if (this.#holdings.of(viewer).mine.has(path)) return errorCode.nodeExists;
    if (isOwn(place)) return errorCode.ok;
    const known = this.#nodes.get(path);
    // A consumer's name holds its process and start: whoever writes it again is the same, come back with a new session.
    const comesBack =
      place.kind === "consumer" && known !== undefined && known.owner !== 0n && known.owner !== viewer.id;
    if (comesBack) this.#dispossess(known);
    else if (known !== undefined) return errorCode.nodeExists;
    const isBelowEphemeral = (this.#nodes.get(parentOf(path))?.owner ?? 0n) !== 0n;
    return isBelowEphemeral ? errorCode.noChildrenForEphemerals : errorCode.ok;
  }

  /** The limit that a node would break, as an error, or 0. */
  #limit(viewer: Viewer, { path, data }: Create, { place }: Located): number {
    const { limits } = this.#options;
    const held = this.#holdings.of(viewer);
    const bytes = data?.length ?? 0;
    let reason: string | undefined;
    if (held.count >= limits.nodesPerSession) reason = `a session has at most ${limits.nodesPerSession} nodes`;
    else if (place.kind === "provider" && held.registrations >= limits.registrationsPerSession)
      reason = `a session registers at most ${limits.registrationsPerSession} instances`;
    else if (this.#nodes.count >= limits.nodes) reason = `all sessions together have at most ${limits.nodes} nodes`;
    else if (bytes > limits.dataBytes) reason = `a node has at most ${limits.dataBytes} bytes`;
    else if (this.#nodes.size + path.length + bytes > limits.treeBytes)
      reason = `all nodes together have at most ${limits.treeBytes} bytes`;
    if (reason === undefined) return errorCode.ok;
    this.#refuse(viewer, path, "limit", reason);
    return errorCode.systemError;
  }

  #read({ layout, place }: Located): Reading {
    if (place.kind !== "provider" || layout === undefined) return { kind: "none" };
    return readRegistration(layout, place, () => this.#newIncarnation());
  }

  /** `kind` tells the reasons of one session apart in the log. */
  #refuse(viewer: Viewer, path: string, kind: string, reason: string): void {
    this.#holdings.of(viewer).refuse(path, reason);
    this.#options.told.warn(
      `${sessionOf(viewer)} ${kind}`,
      { remote: viewer.remote, path: path.slice(0, toldLength), reason },
      "a node was refused",
    );
  }

  #dispossess(node: Node): void {
    const former = this.#holdings.get(node.owner);
    if (former !== undefined) {
      this.#drop(former.viewer, node.path);
      this.#context.journal.delete(nodeKey(former.viewer.id, node.path));
    } else this.#nodes.remove(node.path);
  }

  // --- putting in and taking out

  /** Puts a node where it belongs and shows it. */
  #keep(owner: Viewer | undefined, node: Node, { layout, place }: Located, reading: Reading): void {
    if (owner === undefined || !isOwn(place)) {
      if (this.#nodes.get(node.path) !== undefined) return;
      this.#nodes.add(node);
      if (owner !== undefined) {
        this.#holdings.of(owner).ephemerals.add(node.path);
        if (layout !== undefined && place.kind === "consumer") this.#want(owner, layout, place, node.path);
      }
      this.#options.listener.changed({ type: eventType.created, path: node.path });
      this.#nodes.tellParent(node.path);
      return;
    }
    const held = this.#holdings.of(owner);
    const own = held.keep(node);
    held.forgetRefused(node.path);
    this.#nodes.size += sizeOf(node);
    if (place.kind === "private") this.#keepParents(held, node.path);
    this.#tellOwn(owner, eventType.created, node.path, place);
    if (place.kind === "private" && place.application !== undefined) {
      owner.application ||= place.application;
      own.application = place.application;
    }
    if (reading.kind === "instance") this.#hold(held, own, reading.instance);
  }

  #hold(held: Holdings, own: OwnNode, instance: Instance): void {
    held.hidden.delete(own.node.path);
    held.registrations += 1;
    own.instance = instance;
    held.viewer.application = instance.application;
  }

  #keepParents(held: Holdings, path: string): void {
    const parent = parentOf(path);
    if (held.mine.has(parent) || this.#options.layouts.locate(parent).place.kind !== "private") return;
    const node = this.#nodes.implicit(parent);
    held.keep(node);
    this.#nodes.size += sizeOf(node);
    this.#keepParents(held, parent);
  }

  /** Publishes what a node registers; undefined when it registers nothing, or is gone again. */
  #register(owner: Viewer, node: Node): Promise<void> | undefined {
    const own = this.#holdings.of(owner).mine.get(node.path);
    if (own?.node !== node || own.instance === undefined) return undefined;
    return this.#publisher.publish(own, own.instance);
  }

  #want(owner: Viewer, layout: Layout, place: Extract<Place, { kind: "consumer" }>, path: string): void {
    const wanted = layout.readConsumer(place.interfaceName, place.name);
    if (wanted === undefined) return;
    owner.application ||= wanted.application;
    const view = this.#options.lists.open(layout, place.interfaceName);
    if (view === undefined) return;
    for (const service of wanted.services) this.#context.onConsumer?.(service, wanted.timeoutMs);
    view.want(wanted.services);
    this.#holdings.of(owner).wanted.set(path, { view, services: wanted.services });
  }

  /** Takes a node away from the session that holds it, and what it stood for with it. */
  #drop(owner: Viewer, path: string): void {
    const held = this.#holdings.of(owner);
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
      held.registrations -= 1;
      this.#publisher.withdraw(own, own.instance);
      held.hidden.set(path, this.#context.clock.now() + hideMs);
    }
    this.#tellOwn(owner, eventType.deleted, path, this.#options.layouts.locate(path).place);
  }

  /** Takes out what was refused, unless its place was taken since. */
  #undo(owner: Viewer | undefined, node: Node): void {
    const held = owner && this.#holdings.of(owner);
    const isThere = held?.mine.get(node.path)?.node === node || this.#nodes.get(node.path) === node;
    if (!isThere) return;
    if (owner !== undefined) this.#drop(owner, node.path);
    else this.#nodes.remove(node.path);
    held?.hidden.delete(node.path);
    this.#context.journal.delete(nodeKey(owner?.id ?? 0n, node.path));
  }

  /** Answers once the change is durable and what follows from it has been taken on. */
  async #settle(done: Done, answer: Answer, following?: Following): Promise<void> {
    try {
      await this.#context.journal.flushed();
    } catch (error) {
      const fields = { error: messageOf(error) };
      this.#options.told.error("", fields, "a change could not be written to disk and was refused");
      following?.undo();
      return done({ error: errorCode.systemError });
    }
    try {
      await following?.register();
    } catch (error) {
      following?.undo();
      following?.refused(error);
      return done({ error: errorCode.systemError });
    }
    done(answer);
  }

  // --- telling

  /** Shows a node for a moment in its owner's own list, where a sidecar otherwise shows only what the directory hands out. */
  #listAtFirst(owner: Viewer, path: string, { layout, place }: Located): void {
    if (this.#context.place !== "sidecar" || place.kind !== "provider" || !layout?.waitsForItself(place.name)) return;
    this.listForItself(owner, path, listedMs)?.();
  }

  /** The same for so long; gives what tells the owner that its list has changed. */
  listForItself(owner: Viewer, path: string, forMs: number): (() => void) | undefined {
    const { clock } = this.#context;
    const held = this.#holdings.of(owner);
    const own = held.mine.get(path);
    if (own === undefined) return undefined;
    const parent = parentOf(path);
    const tell = (): void => {
      if (held.mine.get(path) !== own) return;
      const list = this.#nodes.get(parent);
      if (list !== undefined) Object.assign(list, { cversion: list.cversion + 1, pzxid: this.#nodes.next() });
      this.#options.listener.changed({ type: eventType.childrenChanged, path: parent, to: (id) => id === owner.id });
    };
    own.listedUntil = clock.now() + forMs;
    clock.after(forMs, tell);
    return tell;
  }

  /** Tells the owner alone of a node that only it sees at this path. */
  #tellOwn(owner: Viewer, type: 1 | 2, path: string, place: Place): void {
    const to = (id: bigint): boolean => id === owner.id;
    this.#options.listener.changed({ type, path, to, by: owner.id });
    if (place.kind === "provider" && this.#context.place === "sidecar") return;
    const parentPath = parentOf(path);
    const parent = this.#options.reader.find(owner, parentPath);
    if (parent === undefined) return;
    parent.cversion += 1;
    parent.pzxid = this.#nodes.zxid;
    this.#options.listener.changed({ type: eventType.childrenChanged, path: parentPath, to, by: owner.id });
  }

  #newIncarnation(): number {
    this.#incarnations += 1;
    return this.#context.epoch * 2 ** 20 + this.#incarnations;
  }
}

/** The key of a node in the journal; session 0 for what outlives sessions. */
function nodeKey(session: bigint, path: string): string {
  return `node/${session.toString(16)}${path}`;
}

function sessionOf(viewer: Viewer): string {
  return viewer.id.toString(16);
}

/** What tells one refusal of the directory from another. */
function codeOf(error: unknown): string {
  return isMeshError(error) ? error.code : "error";
}

function isSequential(flags: number): boolean {
  return (
    flags === createFlags.persistentSequential ||
    flags === createFlags.ephemeralSequential ||
    flags === createFlags.persistentSequentialTtl
  );
}
