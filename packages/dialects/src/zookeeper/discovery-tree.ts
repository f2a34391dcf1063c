/**
 * The tree of a door that answers from a directory. Providers are shown as the directory gives them; everything else that clients
 * write is held here. What sessions see of it is in reader.ts, what they change in writer.ts.
 */
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import { errorCode, type Stat } from "@dualmesh/wire/jute/reply";
import type { DoorContext } from "../door.ts";
import { AllHoldings, type OwnNode } from "./holdings.ts";
import { InterfaceNames } from "./interface-names.ts";
import type { Layouts } from "./layout.ts";
import type { ZooKeeperLimits } from "./limits.ts";
import { splitPath, unpackNode } from "./nodes.ts";
import { ProviderLists } from "./provider-lists.ts";
import { TreeReader } from "./reader.ts";
import { SharedNodes } from "./shared-nodes.ts";
import type { Answer, Passing, Sight, Tree, TreeListener, TreeRequest, Viewer, ViewerDescription } from "./tree.ts";
import { TreeWriter } from "./writer.ts";

type Done = (answer: Answer) => void;

/** How long an application may be registered at application level before it counts as registered only there, in milliseconds. */
const bypassAfterMs = 5_000;

export interface DiscoveryTreeOptions {
  readonly context: DoorContext;
  readonly layouts: Layouts;
  readonly limits: ZooKeeperLimits;
  readonly listener: TreeListener;
  readonly told: ThrottledLog;
}

export class DiscoveryTree implements Tree {
  readonly #context: DoorContext;
  readonly #nodes: SharedNodes;
  readonly #lists: ProviderLists;
  readonly #interfaces: InterfaceNames;
  readonly #holdings = new AllHoldings();
  readonly #reader: TreeReader;
  readonly #writer: TreeWriter;

  constructor(options: DiscoveryTreeOptions) {
    const { context, layouts, listener } = options;
    this.#context = context;
    const keeps = (path: string): boolean => this.#lists.has(path);
    const startedWall = context.clock.wall();
    const nodes = new SharedNodes({ epoch: context.epoch, startedWall, layouts, listener, keeps });
    const holdings = this.#holdings;
    const lists = new ProviderLists({ ...options, nodes, holdings });
    const interfaces = new InterfaceNames({ ...options, nodes });
    const reader = new TreeReader({ context, layouts, nodes, lists, interfaces, holdings });
    this.#nodes = nodes;
    this.#lists = lists;
    this.#interfaces = interfaces;
    this.#reader = reader;
    this.#writer = new TreeWriter({ ...options, nodes, lists, holdings, reader });
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
      this.#writer.restore(viewer, node);
    }
  }

  prepare(viewer: Viewer, request: TreeRequest): void {
    if (splitPath(request.path) !== undefined) this.#reader.prepare(viewer, request);
  }

  perform(viewer: Viewer, request: TreeRequest, askedAt: number, done: Done): void {
    if (splitPath(request.path) === undefined) return done({ error: errorCode.badArguments });
    switch (request.op) {
      case "create":
        return this.#writer.create(viewer, request, done);
      case "delete":
        return this.#writer.delete(viewer, request.path, request.version, done);
      case "setData":
        return this.#writer.setData(viewer, request.path, request.data ?? Buffer.alloc(0), request.version, done);
      case "sync":
        return done({ error: errorCode.ok, body: { kind: "path", path: request.path } });
      case "getEphemerals": {
        const children = this.#reader.ephemerals(viewer, request.path);
        return done({ error: errorCode.ok, body: { kind: "children", children } });
      }
      default:
        return this.#reader.whenKnown(viewer, request, askedAt, (known) =>
          done(known ? this.#reader.read(viewer, request) : { error: errorCode.systemError }),
        );
    }
  }

  look(viewer: Viewer, path: string): Stat | undefined | "unknown" {
    return splitPath(path) === undefined ? undefined : this.#reader.look(viewer, path);
  }

  see(viewer: Viewer, path: string): Sight {
    return splitPath(path) === undefined ? { as: "nothing" } : this.#reader.see(viewer, path);
  }

  below(viewer: Viewer, path: string): Iterable<string> {
    return splitPath(path) === undefined ? [] : this.#reader.below(viewer, path);
  }

  passing(viewer: Viewer): Passing {
    return this.#holdings.of(viewer).passing(this.#context.clock.now());
  }

  resume(viewer: Viewer, { hidden, listed }: Passing): void {
    const now = this.#context.clock.now();
    for (const [path, leftMs] of hidden) this.#holdings.of(viewer).hidden.set(path, now + leftMs);
    for (const [path, leftMs] of listed) this.#writer.listForItself(viewer, path, leftMs);
  }

  end(viewer: Viewer): void {
    this.#writer.end(viewer);
  }

  describe(viewer: Viewer): ViewerDescription {
    const held = this.#holdings.get(viewer.id);
    if (held === undefined) return { publishes: [], bypassed: [] };
    const publishes = new Set<string>();
    const bypassed: { registration: string; reason: string }[] = [];
    for (const [path, own] of held.mine) {
      if (own.refused !== "") bypassed.push({ registration: path, reason: own.refused });
      else if (own.instance !== undefined && !own.superseded) publishes.add(own.instance.service);
      else if (this.#isApplicationLevelOnly(own))
        bypassed.push({ registration: path, reason: "application-level only" });
    }
    for (const [registration, reason] of held.refused) bypassed.push({ registration, reason });
    return { publishes: [...publishes].sort(), bypassed };
  }

  close(): void {
    this.#writer.close();
    this.#lists.close();
    this.#interfaces.close();
  }

  #isApplicationLevelOnly({ application, node }: OwnNode): boolean {
    if (application === undefined || this.#context.clock.wall() - node.ctime < bypassAfterMs) return false;
    for (const held of this.#holdings.values()) if (held.publishesFor(application)) return false;
    return true;
  }
}
