/**
 * The lists that one session is shown: the providers of an interface, and the instances of an application. Each is made from what the
 * ensemble has, by the session's state, and kept while it differs from it, so that the client hears of a change when what it is
 * shown has changed, and only then. A list that is shown as it is costs nothing but its name.
 */
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Instance } from "@dualmesh/model/instance";
import {
  type EventType,
  encodeEvent,
  errorCode,
  eventType,
  syncConnected,
  type WatchEvent,
} from "@dualmesh/wire/jute/reply";
import { opCode, type Request } from "@dualmesh/wire/jute/request";
import type { Layout, Located } from "../layout.ts";
import type { Applications } from "./applications.ts";
import type { BeforeLimits } from "./limits.ts";
import type { BeforeOwner, RealList, RewriteState } from "./owner.ts";
import type { Passage, Plan } from "./passage.ts";
import { lastSegment, parentOf } from "./paths.ts";
import type { Places } from "./places.ts";
import { answer, bodyOf, type Reply } from "./reply.ts";
import { ageOf, type StandingLists, timesOf } from "./standing.ts";
import type { ClientWatches } from "./watches.ts";

/** What a list must know of the session's own nodes, which the client sees where it put them. */
export interface OwnNodes {
  /** True when one of the session's own nodes in this list is not where the client put it. */
  rewrites(listPath: string): boolean;
  /** The path under which the client knows one of its own nodes; undefined when the node is none of those that were rewritten. */
  clientPath(path: string): string | undefined;
  /** Names of own nodes in this list that are not at the ensemble. */
  missing(listPath: string): readonly string[];
}

export interface ListsHost {
  readonly layouts: Places;
  readonly owner: BeforeOwner;
  readonly limits: BeforeLimits;
  readonly told: ThrottledLog;
  readonly applications: Applications;
  readonly watches: ClientWatches;
  readonly own: OwnNodes;
  readonly passage: Passage | undefined;
  readonly id: string;
}

export interface List {
  readonly path: string;
  /** Undefined for the instances of an application. */
  readonly layout: Layout | undefined;
  /** Of the interface or of the application. */
  readonly name: string;
  /** What the ensemble has, and what the client is shown: an instance with a name that only this door gives. Both while it is followed. */
  real: Set<string> | undefined;
  shown: ReadonlyMap<string, Instance | undefined> | undefined;
  /** True when the client has read what it is shown; else it is told to read again when it comes back with a watch. */
  certain: boolean;
  reading: boolean;
  /** Another reading is wanted after the present one, and those who wait for it. */
  again: boolean;
  waiting: (() => void)[];
}

/** As the ensemble has it, a stand-in of this door's, or nothing although the ensemble has it. */
export type Look =
  | { readonly as: "real" }
  | { readonly as: "hidden" }
  | { readonly as: "standIn"; readonly instance: Instance };

export class SessionLists {
  /** What the session, as a consumer, is shown. */
  state: RewriteState = "direct";
  /** Clock time since when it is shown real addresses, and stand-ins. */
  since: { real: number; mesh: number } = { real: Number.NEGATIVE_INFINITY, mesh: Number.NEGATIVE_INFINITY };
  readonly #host: ListsHost;
  readonly #lists = new Map<string, List>();
  /** How often the lists are being read beside what the state asks for. */
  #preparing = 0;

  constructor(host: ListsHost) {
    this.#host = host;
  }

  get paths(): readonly string[] {
    return [...this.#lists.keys()];
  }

  get(path: string): List | undefined {
    return this.#lists.get(path);
  }

  /** The list at a path, if the path is one. */
  open(path: string, located: Located = this.#host.layouts.locate(path)): List | undefined {
    const known = this.#lists.get(path);
    if (known !== undefined) return known;
    const named = this.#named(path, located);
    if (named === undefined) return undefined;
    const { limits, told, id } = this.#host;
    if (this.#lists.size >= limits.lists) {
      told.error(id, { session: id, path: path.slice(0, 200) }, "a list is shown as it is: the session has too many");
      return undefined;
    }
    const list = {
      path,
      ...named,
      real: undefined,
      shown: undefined,
      certain: false,
      reading: false,
      again: false,
      waiting: [],
    };
    this.#lists.set(path, list);
    return list;
  }

  #named(path: string, { layout, place }: Located): { layout: Layout | undefined; name: string } | undefined {
    if (layout !== undefined && place.kind === "providers") return { layout, name: place.interfaceName };
    const name = this.#host.layouts.applicationOf(path);
    return name === undefined ? undefined : { layout: undefined, name };
  }

  follows(list: List): boolean {
    return this.#preparing > 0 || this.state !== "direct" || this.#host.own.rewrites(list.path);
  }

  /** Learns what the client has been shown, before something is about to differ from it. */
  async prepare(lists: readonly List[] = [...this.#lists.values()]): Promise<void> {
    await Promise.all(lists.filter((list) => list.shown === undefined).map((list) => this.reread(list)));
  }

  /** The lists of interfaces as the ensemble has them now. */
  async real(): Promise<readonly RealList[]> {
    this.#preparing += 1;
    try {
      await Promise.all([...this.#lists.values()].map((list) => this.reread(list)));
      return [...this.#lists.values()].flatMap((list) => this.#realList(list) ?? []);
    } finally {
      this.#preparing -= 1;
      for (const list of this.#lists.values()) this.release(list);
    }
  }

  #realList({ layout, name, path, real }: List): RealList | undefined {
    if (layout === undefined || real === undefined) return undefined;
    const names = this.#asPut(path, real);
    const instances = [...names].flatMap((one) => layout.readProvider(name, one, () => 0) ?? []);
    return { dialect: layout.dialect, interfaceName: name, instances };
  }

  /** Moves the consumer's side of the session one step; resolves when the client has been told. */
  async move(to: RewriteState): Promise<void> {
    if (this.state === "direct" && to !== "direct") {
      this.#preparing += 1;
      try {
        await this.prepare();
      } finally {
        this.#preparing -= 1;
      }
    }
    this.state = to;
    this.showAll();
  }

  showAll(): void {
    for (const list of this.#lists.values()) {
      if (list.real !== undefined) this.#show(list);
      this.release(list);
    }
  }

  /** The ensemble has acknowledged that a node of the session's own is there, or is not; its list may not be watched. */
  note(path: string, isThere: boolean): void {
    const list = this.#lists.get(parentOf(path));
    if (list?.real === undefined) return;
    if (isThere) list.real.add(lastSegment(path));
    else list.real.delete(lastSegment(path));
    this.#show(list);
  }

  /** Forgets what need not be known of a list that is shown as it is. */
  release(list: List): void {
    if (this.follows(list) || list.reading || list.again) return;
    list.real = undefined;
    list.shown = undefined;
    list.certain = false;
  }

  /** What another door has to know of them. */
  standing(now: number): StandingLists {
    const all = [...this.#lists.values()].map(({ path, real, shown, certain }) => ({
      path,
      certain,
      real: real && [...real],
      shown: shown && [...shown.keys()],
    }));
    return { state: this.state, since: ageOf(this.since, now), all };
  }

  /** Goes on with what another door showed; the client is told of what is shown differently here. */
  resume({ state, since, all }: StandingLists, now: number): void {
    this.state = state;
    this.since = timesOf(since, now);
    for (const { path, real, shown, certain } of all) {
      const list = this.open(path);
      if (list === undefined) continue;
      list.real = real && new Set(real);
      list.shown = shown && new Map(shown.map((name) => [name, undefined]));
      list.certain = certain;
    }
    // What is shown of applications follows from what the lists of interfaces have.
    for (const list of this.#lists.values()) if (list.layout !== undefined && list.real !== undefined) this.#show(list);
    this.showAll();
  }

  /** The connection is gone; what the client was shown is kept for when it comes back. */
  detach(): void {
    for (const list of this.#lists.values()) {
      if (list.shown === undefined) list.certain = false;
      list.reading = false;
      list.again = false;
      for (const done of list.waiting.splice(0)) done();
    }
  }

  /** Reads the list at the ensemble, and lets its watch stand again if the client waits for one. */
  reread(list: List): Promise<void> {
    return new Promise((resolve) => this.#reread(list, resolve));
  }

  #reread(list: List, done?: () => void): void {
    const { passage, watches, told, id } = this.#host;
    if (passage === undefined) return done?.();
    if (list.reading) {
      list.again = true;
      if (done !== undefined) list.waiting.push(done);
      return;
    }
    list.reading = true;
    const watch = watches.child.has(list.path);
    passage.ask({ op: "getChildren", code: opCode.getChildren2, path: list.path, watch }, (reply) => {
      if (reply === undefined || this.#host.passage !== passage) return done?.();
      list.reading = false;
      if (reply.error === errorCode.ok) this.#take(list, bodyOf(reply, "children2").children);
      else if (reply.error === errorCode.noNode) this.#take(list, []);
      else told.warn(id, { session: id, path: list.path, error: reply.error }, "a list could not be read again");
      done?.();
      if (!list.again) return;
      list.again = false;
      const waited = list.waiting.splice(0);
      this.#reread(list, () => {
        for (const next of waited) next();
      });
    });
  }

  #take(list: List, children: readonly string[]): void {
    list.real = new Set(children);
    this.#show(list);
    this.release(list);
  }

  /** A client's request for the children of a list. */
  readPlan(list: List, request: Request & { readonly op: "getChildren" }): Plan {
    const kind = request.code === opCode.getChildren ? "children" : "children2";
    const reply = (reply: Reply): Buffer => {
      const { watches } = this.#host;
      const follows = this.follows(list);
      if (reply.error !== errorCode.ok) {
        if (follows && reply.error === errorCode.noNode) this.#take(list, []);
        return reply.frame;
      }
      const body = bodyOf(reply, kind);
      if (follows) {
        list.real = new Set(body.children);
        this.#show(list); // an event comes before what shows the change
      }
      list.certain = true;
      if (request.watch) watches.set("child", list.path);
      if (!follows) return reply.frame;
      const children = [...(list.shown?.keys() ?? [])];
      if (body.kind === "children") return answer(reply.xid, reply.zxid, { kind: "children", children });
      const stat = { ...body.stat, numChildren: children.length };
      return answer(reply.xid, reply.zxid, { kind: "children2", children, stat });
    };
    return { kind: "pass", reply };
  }

  /** What the client sees of a name. */
  look(list: List, name: string): Look {
    const shown = list.shown;
    if (shown === undefined) return { as: "real" };
    const isReal = list.real?.has(name) === true;
    if (!shown.has(name)) return { as: isReal ? "hidden" : "real" };
    const instance = shown.get(name);
    return instance === undefined || isReal ? { as: "real" } : { as: "standIn", instance };
  }

  /** True when the client is to see the event as it came. */
  event(event: WatchEvent): boolean {
    const { watches, own } = this.#host;
    const type = event.type as EventType;
    const list = this.#lists.get(event.path);
    if (list !== undefined) return this.#listEvent(list, type);
    const parent = parentOf(event.path);
    const located = this.#host.layouts.locate(parent);
    const matters = watches.recurses(parent) || own.rewrites(parent);
    const around = this.#lists.get(parent) ?? (matters ? this.open(parent, located) : undefined);
    if (around === undefined || !this.follows(around)) {
      watches.fire(type, event.path);
      return true;
    }
    const name = lastSegment(event.path);
    if (type === eventType.dataChanged) {
      const path = own.clientPath(event.path);
      if (path !== undefined) this.tell(type, path);
      else if (around.shown === undefined || around.shown.has(name)) return watches.fire(type, event.path);
      return false;
    }
    if (around.shown === undefined || around.real === undefined) {
      if (this.state === "direct") {
        watches.fire(type, event.path);
        return true;
      }
      this.#reread(around, () => this.tellAll(around));
      return false;
    }
    if (type === eventType.deleted) around.real.delete(name);
    else around.real.add(name);
    this.#show(around);
    return false;
  }

  #listEvent(list: List, type: EventType): boolean {
    const { watches } = this.#host;
    if (!this.follows(list) || (list.shown === undefined && this.state === "direct")) {
      watches.fire(type, list.path);
      return true;
    }
    if (type === eventType.childrenChanged) {
      const unknown = list.shown === undefined;
      if (watches.followsChildren(list.path)) this.#reread(list, () => unknown && this.tellAll(list));
      return false;
    }
    if (type === eventType.deleted && list.real !== undefined) {
      const told = watches.fire(type, list.path);
      list.real = new Set();
      this.#show(list);
      return told;
    }
    return watches.fire(type, list.path);
  }

  #show(list: List): void {
    const before = list.shown;
    const real = list.real ?? new Set();
    const now = list.layout === undefined ? this.#instances(list, real) : this.#providers(list, list.layout, real);
    list.shown = now;
    if (before === undefined) return;
    const removed = [...before.keys()].filter((name) => !now.has(name));
    const added = [...now.keys()].filter((name) => !before.has(name));
    if (removed.length === 0 && added.length === 0) return;
    list.certain = false; // until it is read: the connection may end before the client has heard of it
    for (const name of removed) this.tell(eventType.deleted, `${list.path}/${name}`);
    for (const name of added) this.tell(eventType.created, `${list.path}/${name}`);
    this.tell(eventType.childrenChanged, list.path);
  }

  /** The client may know anything of this list: it is told of all that it is shown now, and reads the list again. */
  tellAll(list: List): void {
    for (const name of list.shown?.keys() ?? []) this.tell(eventType.created, `${list.path}/${name}`);
    this.tell(eventType.childrenChanged, list.path);
  }

  /** Tells the client of an event if it waits for it. */
  tell(type: EventType, path: string): void {
    if (!this.#host.watches.fire(type, path)) return;
    this.#host.passage?.tell(encodeEvent({ type, state: syncConnected, path }));
  }

  /** The names as the client put them or as others did, without what stands for its own in the mesh. */
  #asPut(path: string, real: ReadonlySet<string>): Set<string> {
    const names = new Set<string>();
    for (const name of real) {
      const own = this.#host.own.clientPath(`${path}/${name}`);
      names.add(own === undefined ? name : lastSegment(own));
    }
    for (const name of this.#host.own.missing(path)) names.add(name);
    return names;
  }

  #providers(list: List, layout: Layout, real: ReadonlySet<string>): Map<string, Instance | undefined> {
    const names = this.#asPut(list.path, real);
    const shown = new Map<string, Instance | undefined>();
    if (this.state === "direct") {
      for (const name of names) shown.set(name, undefined);
      return shown;
    }
    const instances: Instance[] = [];
    for (const name of names) {
      const instance = layout.readProvider(list.name, name, () => 0);
      if (instance !== undefined) {
        instances.push(instance);
        this.#host.applications.add(instance.application);
      }
      if (instance === undefined || this.state === "both") shown.set(name, undefined);
    }
    const { dialect } = layout;
    for (const instance of this.#host.owner.shown({ dialect, interfaceName: list.name, instances })) {
      const name = layout.nameOf(instance);
      if (!shown.has(name)) shown.set(name, names.has(name) ? undefined : instance);
    }
    return shown;
  }

  /**
   * A consumer in the mesh finds the providers of an interface; those of them that are listed by application too would be called
   * past the sidecar, so that way is not shown. Applications that are only listed there stay.
   */
  #instances(list: List, real: ReadonlySet<string>): Map<string, Instance | undefined> {
    const hides = this.state === "mesh" && this.#host.applications.has(list.name);
    const names = this.#asPut(list.path, hides ? new Set() : real);
    return new Map([...names].map((name) => [name, undefined]));
  }
}
