/**
 * The nodes that this directory has in the ensemble. Each is wanted or not, and is brought to that as soon as the servers can be reached;
 * again with each new session, since nodes go with the old one. A node at the same path that belongs to somebody else is never touched; one
 * that a former session of this very directory left is replaced in one step, which nobody sees.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Session, ZooKeeperClient } from "./client.ts";
import { isSessionOver, isUndecided } from "./failure.ts";
import type { ZooKeeperKeep } from "./keep.ts";

/** Sessions of this directory whose nodes may still be there; the oldest are forgotten. */
const maxFormer = 16;
/** Nodes taken back a short while ago, by which a list that lost them is understood. */
const maxTakenBack = 2_000;
/** Between two tries to bring a node about at which somebody else's stands. */
const foreignMs = 5_000;
const retryMs = 1_000;
/** How often every node is looked for: somebody may have deleted it. */
const auditMs = 60_000;
const maxSteps = 20;
/** Refusals that say nothing of the next try: parents came and went meanwhile, or there was no room. */
const passing = new Set(["zookeeper.too-many", "zookeeper.no-node", "zookeeper.node-exists"]);

export interface OwnNodesOptions {
  readonly client: ZooKeeperClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly keep: ZooKeeperKeep;
}

interface Waiter {
  readonly wanted: boolean;
  readonly resolve: () => void;
  readonly reject: (error: MeshError) => void;
}

interface OwnNode {
  readonly path: string;
  data: Buffer;
  wanted: boolean;
  /** As far as known on this session. */
  state: "unknown" | "present" | "foreign";
  /** Left by a former process, and not asked for yet by this one. */
  orphan: boolean;
  running: boolean;
  again: boolean;
  retry: Timer | undefined;
  waiters: Waiter[];
}

export class OwnNodes {
  readonly #options: OwnNodesOptions;
  readonly #told: ThrottledLog;
  readonly #nodes = new Map<string, OwnNode>();
  readonly #takenBack = new Set<string>();
  readonly #former: Set<bigint>;
  readonly #auditing: Timer;
  #session = 0n;
  #connected = false;
  #closed = false;
  readonly counts = { created: 0, replaced: 0, deleted: 0, foreign: 0, refused: 0 };

  constructor(options: OwnNodesOptions) {
    this.#options = options;
    this.#told = new ThrottledLog(options);
    this.#former = new Set(options.keep.session()?.former);
    for (const path of options.keep.ownPaths()) this.#nodes.set(path, newNode(path, true));
    this.#auditing = options.clock.every(auditMs, () => this.#audit());
  }

  /** What is not as it is wanted. */
  get pending(): number {
    let count = 0;
    for (const { orphan, wanted, state } of this.#nodes.values())
      if (!orphan && (!wanted || state === "unknown")) count++;
    return count;
  }

  get former(): ReadonlySet<bigint> {
    return this.#former;
  }

  isTakenBack(path: string): boolean {
    return this.#takenBack.has(path);
  }

  /** Resolves when the node is there; rejects with `registry.refused` when the servers refuse it. */
  want(path: string, data: Buffer): Promise<void> {
    const node = this.#nodes.get(path) ?? newNode(path, false);
    this.#nodes.set(path, node);
    this.#takenBack.delete(path);
    node.data = data;
    node.wanted = true;
    node.orphan = false;
    // On disk first, so that a process that dies now leaves nothing that its successor does not know.
    this.#options.keep.putOwn(path);
    if (node.state !== "unknown" && !node.running) return Promise.resolve();
    return this.#until(node, true);
  }

  /** Resolves when the node is gone, or was never ours. */
  unwant(path: string): Promise<void> {
    const node = this.#nodes.get(path);
    if (node === undefined) return Promise.resolve();
    node.wanted = false;
    node.orphan = false;
    this.#noteTakenBack(path);
    return this.#until(node, false);
  }

  /** What a former process left and nobody has asked for goes. */
  restored(): void {
    for (const node of [...this.#nodes.values()]) if (node.orphan) void this.unwant(node.path);
  }

  onConnected(session: Session, resumed: boolean): void {
    if (!resumed || this.#session === 0n) for (const node of this.#nodes.values()) node.state = "unknown";
    this.#session = session.id;
    this.#former.delete(session.id);
    this.#connected = true;
    this.#options.keep.putSession(session, this.#former);
    for (const node of this.#nodes.values()) this.#start(node);
  }

  onDown(): void {
    this.#connected = false;
  }

  onExpired(session: Session): void {
    this.#former.add(session.id);
    for (const id of this.#former) {
      if (this.#former.size <= maxFormer) break;
      this.#former.delete(id);
    }
    for (const node of this.#nodes.values()) node.state = "unknown";
  }

  /** A node that stood in the way, or one of ours, is gone. */
  onDeleted(path: string): void {
    const node = this.#nodes.get(path);
    if (node === undefined) return;
    node.state = "unknown";
    this.#start(node);
  }

  close(): void {
    this.#closed = true;
    this.#connected = false;
    this.#auditing.cancel();
    const error = new MeshError("registry.closed", "the connection to ZooKeeper was closed");
    for (const node of this.#nodes.values()) {
      node.retry?.cancel();
      for (const waiter of node.waiters.splice(0)) {
        if (waiter.wanted) waiter.reject(error);
        else waiter.resolve();
      }
    }
  }

  #until(node: OwnNode, wanted: boolean): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // What was waited for before is not wanted any more.
    for (const waiter of node.waiters.filter((one) => one.wanted !== wanted)) {
      if (waiter.wanted) waiter.reject(new MeshError("registry.withdrawn", `${node.path.slice(0, 200)} was withdrawn`));
      else waiter.resolve();
    }
    node.waiters = node.waiters.filter((one) => one.wanted === wanted);
    node.waiters.push({ wanted, resolve, reject });
    this.#start(node);
    return promise;
  }

  #start(node: OwnNode): void {
    node.again = true;
    node.retry?.cancel();
    if (!node.running && this.#connected) void this.#run(node);
  }

  async #run(node: OwnNode): Promise<void> {
    node.running = true;
    try {
      while (node.again && this.#connected && !node.orphan) {
        node.again = false;
        if (node.wanted) await this.#bring(node);
        else await this.#take(node);
      }
    } catch (error) {
      this.#failed(node, error);
    } finally {
      node.running = false;
      if (node.again && this.#connected && !node.orphan) void this.#run(node);
    }
  }

  async #bring(node: OwnNode): Promise<void> {
    const { client, log } = this.#options;
    const { path, data } = node;
    const session = this.#session;
    if (node.state === "present") return this.#settle(node);
    for (let step = 0; step < maxSteps; step += 1) {
      try {
        await client.createWithParents(path, data, "ephemeral");
        this.counts.created++;
        node.state = "present";
        return this.#settle(node);
      } catch (error) {
        if (!isMeshError(error, "zookeeper.node-exists")) throw error;
      }
      const stat = await client.exists(path, true);
      if (stat === undefined) continue;
      if (stat.ephemeralOwner === session) {
        node.state = "present";
        return this.#settle(node);
      }
      if (!this.#former.has(stat.ephemeralOwner)) {
        this.counts.foreign++;
        node.state = "foreign";
        log.info(
          { path: path.slice(0, 300) },
          "a node of the same name belongs to another client and stays; it is made again when it goes",
        );
        node.retry = this.#options.clock.after(foreignMs, () => this.onDeleted(path));
        return this.#settle(node);
      }
      if (await this.#replaced(path, data)) {
        this.counts.replaced++;
        node.state = "present";
        return this.#settle(node);
      }
    }
    throw new MeshError("zookeeper.timeout", `${path.slice(0, 200)} came and went ${maxSteps} times`);
  }

  /** In one step where the servers can; false when the node has changed meanwhile. */
  async #replaced(path: string, data: Buffer): Promise<boolean> {
    const { client } = this.#options;
    try {
      await client.multi([{ op: "delete", path, version: -1 }, client.createPart(path, data, "ephemeral")]);
      return true;
    } catch (error) {
      if (isMeshError(error, "zookeeper.no-node") || isMeshError(error, "zookeeper.node-exists")) return false;
      if (!isMeshError(error, "zookeeper.unimplemented")) throw error;
    }
    const gone = client.delete(path).catch((error: unknown) => {
      if (!isMeshError(error, "zookeeper.no-node")) throw error;
    });
    await Promise.all([gone, client.create(path, data, "ephemeral")]);
    return true;
  }

  async #take(node: OwnNode): Promise<void> {
    const { client } = this.#options;
    const stat = await client.exists(node.path);
    if (node.wanted) return; // asked for again meanwhile, which has set `again`
    const isOurs =
      stat !== undefined && (stat.ephemeralOwner === this.#session || this.#former.has(stat.ephemeralOwner));
    if (isOurs) {
      this.#noteTakenBack(node.path);
      try {
        await client.delete(node.path);
        this.counts.deleted++;
      } catch (error) {
        if (!isMeshError(error, "zookeeper.no-node")) throw error;
      }
    }
    node.state = "unknown";
    if (node.wanted) return;
    this.#forget(node);
    this.#settle(node);
  }

  #failed(node: OwnNode, error: unknown): void {
    if (this.#closed || isUndecided(error) || isSessionOver(error)) {
      if (node.state === "present") node.state = "unknown";
      if (this.#connected && !this.#closed) this.#later(node);
      return;
    }
    const isRefused = isMeshError(error) && !passing.has(error.code);
    const fields = { path: node.path.slice(0, 300), error: messageOf(error) };
    if (!isRefused || !node.wanted) {
      this.#told.warn("", fields, "a node in ZooKeeper is not yet as it should be, and is tried again");
      return this.#later(node);
    }
    this.counts.refused++;
    this.#told.error("", fields, "ZooKeeper refuses an instance");
    this.#forget(node);
    const refused = new MeshError("registry.refused", messageOf(error), fields, { cause: error });
    for (const waiter of node.waiters.splice(0)) {
      if (waiter.wanted) waiter.reject(refused);
      else waiter.resolve();
    }
  }

  #later(node: OwnNode): void {
    node.retry?.cancel();
    node.retry = this.#options.clock.after(retryMs, () => this.#start(node));
  }

  #forget(node: OwnNode): void {
    node.retry?.cancel();
    if (this.#nodes.get(node.path) !== node) return;
    this.#nodes.delete(node.path);
    this.#options.keep.deleteOwn(node.path);
  }

  #settle(node: OwnNode): void {
    for (const waiter of node.waiters.splice(0)) waiter.resolve();
  }

  #noteTakenBack(path: string): void {
    this.#takenBack.delete(path);
    this.#takenBack.add(path);
    for (const oldest of this.#takenBack) {
      if (this.#takenBack.size <= maxTakenBack) break;
      this.#takenBack.delete(oldest);
    }
  }

  #audit(): void {
    for (const node of this.#nodes.values()) {
      if (node.state !== "present" || node.running || !this.#connected) continue;
      node.state = "unknown";
      this.#start(node);
    }
  }
}

function newNode(path: string, orphan: boolean): OwnNode {
  const state = { wanted: orphan, state: "unknown", running: false, again: false, retry: undefined } as const;
  return { path, data: Buffer.alloc(0), orphan, waiters: [], ...state };
}
