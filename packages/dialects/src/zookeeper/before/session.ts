/**
 * A session through the door: what it owns, what it is shown, and how its client's requests are treated. It outlives connections, as
 * the ensemble's session does; the watches are those of one connection.
 */
import { errorCode, eventType, type WatchEvent } from "@dualmesh/wire/jute/reply";
import { openAcl, type Request } from "@dualmesh/wire/jute/request";
import { type List, type ListsHost, SessionLists } from "./lists.ts";
import type { Mover } from "./moves.ts";
import { type OwnNodesHost, SessionNodes } from "./own-nodes.ts";
import type { Conduct, Passage, Plan } from "./passage.ts";
import { lastSegment, parentOf } from "./paths.ts";
import { answer, type Reply, standInStat, underXid } from "./reply.ts";
import type { StandingPassage } from "./standing.ts";
import { ClientWatches } from "./watches.ts";

export type SessionHost = Omit<ListsHost, "watches" | "own" | "passage" | "id"> &
  Omit<OwnNodesHost, "watches" | "passage" | "id" | "known" | "note">;

export interface SessionOptions {
  readonly id: bigint;
  readonly host: SessionHost;
}

const passed: Plan = { kind: "pass" };

export class BeforeSession implements Conduct {
  readonly id: bigint;
  readonly nodes: SessionNodes;
  readonly lists: SessionLists;
  readonly watches = new ClientWatches();
  passage: Passage | undefined;
  remote = "";
  timeoutMs = 0;
  /** True once the client has said that it ends the session. */
  ended = false;
  readonly #host: SessionHost;
  /** Steps of the door's own that are under way, each of several requests. */
  #steps = 0;

  constructor({ id, host }: SessionOptions) {
    this.id = id;
    this.#host = host;
    const session = this;
    const nodes: SessionNodes = new SessionNodes({
      ...host,
      watches: this.watches,
      get passage() {
        return session.passage;
      },
      id,
      known: (path) => this.#known(path),
      note: (path, isThere) => this.lists.note(path, isThere),
    });
    this.nodes = nodes;
    this.lists = new SessionLists({
      ...host,
      watches: this.watches,
      get passage() {
        return session.passage;
      },
      own: nodes,
      id: id.toString(16),
    });
  }

  get mover(): Mover | undefined {
    const { id, passage, nodes, lists, watches } = this;
    return passage?.isOpen === true ? { id, passage, nodes, lists, watches } : undefined;
  }

  attach(passage: Passage, timeoutMs: number, owned: readonly string[]): void {
    this.passage = passage;
    this.remote = passage.remote;
    this.timeoutMs = timeoutMs;
    this.ended = false;
    this.watches.clear();
    this.nodes.attach(owned);
  }

  /** Does a step of several requests, in the middle of which the connection does not stand still. */
  async step<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#steps += 1;
    try {
      return await work();
    } finally {
      this.#steps -= 1;
    }
  }

  /** What another door has to know of it; undefined while a step is under way. */
  standing(): Omit<StandingPassage, "zxid" | "nextXid"> | undefined {
    if (this.#steps > 0) return undefined;
    const { id: session, timeoutMs, ended, nodes, lists, watches } = this;
    return {
      ...{ session, timeoutMs, ended },
      nodes: nodes.standing(),
      lists: lists.standing(this.#host.clock.now()),
      watches: watches.standing(),
    };
  }

  /** Goes on with what another door knew, on a connection that stood still there. */
  resume(passage: Passage, { timeoutMs, ended, nodes, lists, watches }: StandingPassage): void {
    this.passage = passage;
    this.remote = passage.remote;
    this.timeoutMs = timeoutMs;
    this.ended = ended;
    this.watches.resume(watches);
    this.nodes.resume(nodes);
    this.lists.resume(lists, this.#host.clock.now());
  }

  detach(by: "client" | "ensemble"): void {
    this.nodes.detach(by);
    this.passage = undefined;
    this.lists.detach();
  }

  unread(): void {
    this.nodes.releaseAll();
  }

  event(event: WatchEvent): boolean {
    // Without a path it tells of the session, not of a node.
    return event.path === "" || this.lists.event(event);
  }

  plan(request: Request): Plan {
    this.nodes.releaseFor(request);
    if (this.watches.size > this.#host.limits.watches) {
      this.passage?.cut("more watches are set than one client may have");
      return passed;
    }
    if (request.op === "closeSession") this.ended = true;
    if (request.op === "setWatches") return this.#setWatches(request);
    if (request.op === "addWatch") return this.#addWatch(request);
    if (request.op === "removeWatches" || request.op === "checkWatches") return this.#removeWatches(request);
    if (!("path" in request)) return passed;
    const located = this.#host.layouts.locate(request.path);
    const own = this.nodes.plan(request, located);
    if (own !== undefined) return own;
    if (request.op === "getChildren") {
      const list = this.lists.open(request.path, located);
      return list === undefined ? passed : this.lists.readPlan(list, request);
    }
    return this.#node(request);
  }

  /** A request about one node that is not the client's own. */
  #node(request: Request & { readonly path: string }): Plan {
    if (request.op !== "exists" && request.op !== "getData" && request.op !== "getAcl") return passed;
    const parent = parentOf(request.path);
    const list = this.lists.open(parent);
    if (list === undefined) return this.lists.open(request.path) === undefined ? passed : this.#watching(request);
    if (!this.lists.follows(list)) return this.#watching(request);
    if (list.shown !== undefined) return this.#seen(list, request);
    return {
      kind: "steps",
      run: async () => {
        await this.lists.reread(list);
        const plan = this.#seen(list, request);
        if (plan.kind === "answer") return plan.reply();
        const { xid, ...body } = request;
        const got = await (this.passage as Passage).asked(body);
        if (plan.kind === "pass") plan.reply?.(got);
        return underXid(got, xid);
      },
    };
  }

  #seen(list: List, request: Request & { readonly path: string }): Plan {
    const look = this.lists.look(list, lastSegment(request.path));
    if (look.as === "real") return this.#watching(request);
    const { watches } = this;
    const { xid, path } = request;
    const watch = "watch" in request && request.watch;
    const zxid = (): bigint => this.passage?.zxid ?? 0n;
    if (look.as === "hidden") {
      if (watch && request.op === "exists") watches.set("exist", path);
      return { kind: "answer", reply: () => answer(xid, zxid(), { error: errorCode.noNode }) };
    }
    if (watch) watches.set("data", path);
    const data = list.layout?.dataOf(look.instance) ?? Buffer.alloc(0);
    const reply = (): Buffer => {
      const stat = standInStat(zxid(), this.#host.clock.wall(), data.length, 1n);
      if (request.op === "exists") return answer(xid, zxid(), { kind: "stat", stat });
      if (request.op === "getAcl") return answer(xid, zxid(), { kind: "acl", acl: openAcl, stat });
      return answer(xid, zxid(), { kind: "data", data, stat });
    };
    return { kind: "answer", reply };
  }

  /** Goes through; the watch that it may set is noted. */
  #watching(request: Request & { readonly path: string }): Plan {
    if (!("watch" in request) || !request.watch) return passed;
    const { op, path } = request;
    const reply = (reply: Reply): Buffer => {
      if (reply.error === errorCode.ok) this.watches.set("data", path);
      else if (reply.error === errorCode.noNode && op === "exists") this.watches.set("exist", path);
      return reply.frame;
    };
    return { kind: "pass", reply };
  }

  #addWatch(request: Request & { readonly op: "addWatch" }): Plan {
    const reply = (reply: Reply): Buffer => {
      if (reply.error === errorCode.ok) this.watches.add(request.mode, request.path);
      return reply.frame;
    };
    return { kind: "pass", reply };
  }

  /** A watch on what only this door shows is not known to the ensemble. */
  #removeWatches(request: Request & { readonly path: string; readonly kind: number }): Plan {
    if (request.op === "checkWatches") return passed;
    const reply = (reply: Reply): Buffer => {
      const before = this.watches.size;
      this.watches.remove(request.kind, request.path);
      if (reply.error !== errorCode.noWatcher || this.watches.size === before) return reply.frame;
      return answer(reply.xid, reply.zxid, { kind: "none" });
    };
    return { kind: "pass", reply };
  }

  /** After a reconnection the client says what it watches; the ensemble is told of that in its own names. */
  #setWatches(request: Request & { readonly op: "setWatches" }): Plan {
    for (const path of request.persistent) this.watches.add(0, path);
    for (const path of request.recursive) this.watches.add(1, path);
    const followed = new Map<string, List>();
    const around = (path: string): List | undefined => {
      const list = this.lists.open(path);
      if (list === undefined || !this.lists.follows(list)) return undefined;
      followed.set(list.path, list);
      return list;
    };
    for (const path of request.child) if (this.#isOfDiscovery(path)) this.watches.set("child", path);
    for (const path of request.data) if (this.#isOfDiscovery(path)) this.watches.set("data", path);
    for (const path of request.exist) if (this.#isOfDiscovery(path)) this.watches.set("exist", path);
    const child = request.child.filter((path) => around(path) === undefined);
    const inLists = [...request.data, ...request.exist].filter((path) => around(parentOf(path)) !== undefined);
    for (const path of this.lists.paths) if (this.watches.recurses(path)) around(path);
    // What is shown as it is, the ensemble compares itself with what the client has seen.
    for (const path of request.child) {
      const list = followed.has(path) ? undefined : this.lists.get(path);
      if (list !== undefined) list.certain = true;
    }
    if (followed.size === 0) return passed;
    return {
      kind: "steps",
      run: async () => {
        await Promise.all([...followed.values()].map((list) => this.lists.reread(list)));
        for (const list of followed.values()) if (!list.certain) this.lists.tellAll(list);
        const sent = { ...request, child, ...this.#nodesOfWatches(request, new Set(inLists)) };
        const { xid, ...body } = sent;
        return underXid(await (this.passage as Passage).asked(body), xid);
      },
    };
  }

  /** The watches on nodes as the ensemble can keep them; those on what has changed meanwhile are fired. */
  #nodesOfWatches(
    request: Request & { readonly op: "setWatches" },
    inLists: ReadonlySet<string>,
  ): { data: string[]; exist: string[] } {
    const kept = (path: string, waitsForIt: boolean): string | undefined => {
      if (!inLists.has(path)) return path;
      const registration = this.nodes.registrations.get(path);
      if (registration !== undefined) return registration.state === "mesh" ? registration.meshPath : path;
      if (this.nodes.entries.get(path)?.withdrawn !== undefined) return undefined;
      const list = this.lists.get(parentOf(path));
      const name = lastSegment(path);
      if (list?.shown === undefined) return path;
      const isShown = list.shown.has(name);
      if (isShown === waitsForIt) {
        this.lists.tell(waitsForIt ? eventType.created : eventType.deleted, path);
        return undefined;
      }
      return this.lists.look(list, name).as === "real" ? path : undefined;
    };
    const all = (paths: readonly string[], waitsForIt: boolean): string[] =>
      paths.map((path) => kept(path, waitsForIt)).filter((path) => path !== undefined);
    return { data: all(request.data, false), exist: all(request.exist, true) };
  }

  #isOfDiscovery(path: string): boolean {
    return this.lists.open(path) !== undefined || this.lists.open(parentOf(path)) !== undefined;
  }

  #known(listPath: string): Promise<void> | undefined {
    const list = this.lists.open(listPath);
    return list === undefined || list.shown !== undefined ? undefined : this.lists.reread(list);
  }
}
