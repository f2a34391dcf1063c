/** The lists of interfaces that are open, and how they come through a reconnect together. */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { WatchEvent } from "@dualmesh/wire/jute/reply";
import type { Layout } from "../layout.ts";
import { parentOf } from "../nodes.ts";
import { ChildList, type ServerAge } from "./child-list.ts";
import type { ZooKeeperClient } from "./client.ts";
import { InterfaceList, type InterfaceListOptions } from "./interface-list.ts";
import type { ZooKeeperKeep } from "./keep.ts";

/** Lists at once; whoever needs another one is refused. */
const maxLists = 10_000;
/** A list that nobody needs any more is kept for this long, since owners come and go. */
const unusedMs = 60_000;
/** Between two looks whether lists are what the servers have; so many are looked at each time. */
const auditMs = 30_000;
const auditedAtOnce = 200;

export interface InterfaceListsOptions {
  readonly client: ZooKeeperClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly keep: ZooKeeperKeep;
  readonly settledAt: () => number;
  readonly isTakenBack: (path: string) => boolean;
  readonly onChange: (list: InterfaceList) => void;
}

interface Opened {
  readonly list: InterfaceList;
  users: number;
  forget: Timer | undefined;
}

interface Root {
  readonly children: ChildList;
  readonly listeners: Set<() => void>;
}

export class InterfaceLists {
  readonly #options: InterfaceListsOptions;
  readonly #told: ThrottledLog;
  readonly #opened = new Map<string, Opened>();
  readonly #roots = new Map<string, Root>();
  readonly #remembered: Map<string, ReadonlySet<string>>;
  readonly #auditing: Timer;
  #age: ServerAge = unknownAge();
  #connected = false;
  #audited = 0;

  constructor(options: InterfaceListsOptions) {
    this.#options = options;
    this.#told = new ThrottledLog(options);
    this.#remembered = new Map(options.keep.lists());
    this.#auditing = options.clock.every(auditMs, () => this.#audit());
  }

  *all(): Generator<InterfaceList> {
    for (const { list } of this.#opened.values()) yield list;
  }

  get counts(): Readonly<Record<string, number>> {
    const counts = { lists: this.#opened.size, reads: 0, repairs: 0, heldAnswers: 0 };
    for (const { children, counts: own } of this.all()) {
      counts.reads += children.counts.reads;
      counts.repairs += children.counts.repairs;
      counts.heldAnswers += own.held;
    }
    return counts;
  }

  /** The list of an interface; the caller gives it back with `release`. Throws `registry.limit`. */
  open(layout: Layout, interfaceName: string, isKept: boolean): InterfaceList {
    const path = layout.providersPath(interfaceName);
    let opened = this.#opened.get(path);
    if (opened === undefined) {
      if (this.#opened.size >= maxLists)
        throw new MeshError("registry.limit", `a sidecar watches at most ${maxLists} lists in ZooKeeper`, { path });
      opened = { list: this.#make(layout, interfaceName, path), users: 0, forget: undefined };
      this.#opened.set(path, opened);
      if (this.#connected) opened.list.children.begin(this.#age);
    }
    opened.forget?.cancel();
    opened.forget = undefined;
    opened.users += 1;
    if (isKept) opened.list.remember();
    return opened.list;
  }

  release(list: InterfaceList): void {
    const opened = this.#opened.get(list.path);
    if (opened === undefined) return;
    opened.users -= 1;
    if (opened.users > 0) return;
    opened.forget = this.#options.clock.after(unusedMs, () => {
      this.#opened.delete(list.path);
      list.close();
      this.#unwatch(list);
    });
  }

  /** The names of the interfaces below a layout's root; undefined until the servers have answered. */
  interfaces(layout: Layout): ReadonlySet<string> | undefined {
    const root = this.#roots.get(layout.root)?.children;
    return root?.answered === true || (root?.names.size ?? 0) > 0 ? root?.names : undefined;
  }

  /** Tells of every change of what `interfaces` says, until the returned function is called. */
  followRoot(layout: Layout, listener: () => void): () => void {
    let root = this.#roots.get(layout.root);
    if (root === undefined) {
      const { client } = this.#options;
      const told = this.#told;
      const listeners = new Set<() => void>();
      const onNames = (): void => {
        for (const one of [...listeners]) one();
      };
      root = { children: new ChildList({ client, told, path: layout.root, recursive: false, onNames }), listeners };
      this.#roots.set(layout.root, root);
      if (this.#connected) root.children.begin(this.#age);
    }
    root.listeners.add(listener);
    return () => void root.listeners.delete(listener);
  }

  onConnected(resumed: boolean, since: bigint): void {
    this.#connected = true;
    const age = resumed ? nextAge(this.#age) : unknownAge();
    this.#age = age;
    if (!resumed) for (const children of this.#children()) children.begin(age);
    else void this.#resume(age, since);
  }

  onDown(): void {
    this.#connected = false;
    for (const list of this.all()) list.down();
    for (const { children } of this.#roots.values()) children.down();
  }

  onEvent({ type, path }: WatchEvent): void {
    const own = this.#opened.get(path) ?? this.#opened.get(parentOf(path));
    own?.list.children.event(type, path);
    this.#roots.get(path)?.children.event(type, path);
  }

  onProven(): void {
    const wall = this.#options.clock.wall();
    for (const list of this.all()) list.proven(wall);
  }

  close(): void {
    this.#auditing.cancel();
    for (const { list, forget } of this.#opened.values()) {
      forget?.cancel();
      list.leave();
    }
    for (const { children } of this.#roots.values()) children.down();
  }

  #make(layout: Layout, interfaceName: string, path: string): InterfaceList {
    const { client, clock, keep, settledAt, isTakenBack, onChange } = this.#options;
    const remembered = this.#remembered.get(path);
    this.#remembered.delete(path);
    const told = this.#told;
    const options: InterfaceListOptions = {
      ...{ client, clock, keep, settledAt, isTakenBack, onChange, told },
      ...{ layout, interfaceName, remembered },
    };
    return new InterfaceList(options);
  }

  *#children(): Generator<ChildList> {
    for (const { children } of this.all()) yield children;
    for (const { children } of this.#roots.values()) yield children;
  }

  /** The session goes on: the watches are set again in few words, and only what has changed is read. */
  async #resume(age: ServerAge, since: bigint): Promise<void> {
    const { client, log } = this.#options;
    const all = [...this.#children()];
    for (const children of all) children.resume(age);
    const single = all.filter((children) => !children.isRecursive);
    const watches = {
      recursive: all.filter((children) => children.isRecursive).map(({ path }) => path),
      child: single.filter(({ isMissing }) => !isMissing).map(({ path }) => path),
      exist: single.filter(({ isMissing }) => isMissing).map(({ path }) => path),
    };
    try {
      await client.setWatches(watches, since);
      if (watches.recursive.length > 0) age.accepted = true;
      for (const children of single) children.toldAll();
    } catch (error) {
      if (isMeshError(error, "zookeeper.unimplemented")) age.recursive = false;
      if (isMeshError(error, "zookeeper.connection-lost")) age.ended = watches.recursive.length > 0;
      if (isMeshError(error, "zookeeper.connection-lost") || !client.open || this.#age !== age) return;
      log.warn({ error: messageOf(error) }, "watches could not be set again; every list is read anew");
      for (const children of this.#children()) children.begin(age);
    }
  }

  #unwatch({ children, path }: InterfaceList): void {
    const { client, log } = this.#options;
    // A one-shot watch ends with the next change; and servers that know no others may not know how to end it.
    if (!this.#connected || !children.isRecursive) return;
    client.removeWatch(path, "recursive").catch((error: unknown) => {
      log.debug({ path, error: messageOf(error) }, "a watch that is not needed any more stays at the server");
    });
  }

  #audit(): void {
    if (!this.#connected) return;
    const all = [...this.#children()];
    const from = this.#audited % Math.max(1, all.length);
    for (const children of all.slice(from, from + auditedAtOnce)) children.audit();
    this.#audited = from + auditedAtOnce >= all.length ? 0 : from + auditedAtOnce;
  }
}

/** Connections in a row that may end upon a recursive watch: of servers that are not known to know them, and of those that are. */
const maxLost = { unknown: 1, known: 3 };

function unknownAge(): ServerAge {
  return { recursive: true, accepted: false, ended: false, lost: 0 };
}

/** What the next connection of a session begins with. */
function nextAge({ recursive, accepted, ended, lost: before }: ServerAge): ServerAge {
  const lost = ended ? before + 1 : 0;
  return { recursive: recursive && lost < (accepted ? maxLost.known : maxLost.unknown), accepted, ended: false, lost };
}
