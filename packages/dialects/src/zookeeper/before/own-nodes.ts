/**
 * The nodes that one session's client has put into discovery: its registrations as a provider, which may stand at the ensemble
 * under another address, its entries in lists by application, which may be taken back for a while, and whatever else of discovery
 * is its own and is written again after a reconnection. The client always finds them where it put them.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import type { Instance } from "@dualmesh/model/instance";
import { errorCode } from "@dualmesh/wire/jute/reply";
import { type Acl, createFlags, type Request } from "@dualmesh/wire/jute/request";
import type { Layout, Located, Place } from "../layout.ts";
import type { BeforeLimits } from "./limits.ts";
import type { OwnNodes } from "./lists.ts";
import { type Entry, meshPathOf, type Registration, standing } from "./own-node.ts";
import type { BeforeOwner } from "./owner.ts";
import type { Passage, Plan } from "./passage.ts";
import { lastSegment, parentOf } from "./paths.ts";
import type { Places } from "./places.ts";
import { answer, bodyOf, kindOf, type Reply, standInStat, underXid } from "./reply.ts";
import { ageOf, type StandingNodes, timesOf } from "./standing.ts";
import type { ClientWatches } from "./watches.ts";

export interface OwnNodesHost {
  readonly clock: Clock;
  readonly limits: BeforeLimits;
  readonly layouts: Places;
  readonly owner: BeforeOwner;
  readonly watches: ClientWatches;
  readonly passage: Passage | undefined;
  readonly id: bigint;
  /** How something that the client registers now begins. */
  begins(instance: Instance): "direct" | "mesh";
  /** Resolves when the list around a path is known, so that a watch on one of its nodes can be answered for. */
  known(listPath: string): Promise<void> | undefined;
  /** True when entries of this application's instance are not to be shown to others. */
  withdraws(application: string, name: string): boolean;
  /** A node of the session's own is there at the ensemble, or is not. */
  note(path: string, isThere: boolean): void;
  /** A withdrawn entry has changed, or is gone. */
  kept(entry: Entry): void;
  /** A registration has begun in the mesh. */
  begunInMesh(registration: Registration): void;
}

type Pathed = Request & { readonly path: string };
type CreateRequest = Request & { readonly op: "create" };
type DeleteRequest = Request & { readonly op: "delete" };

interface HeldDeletion {
  readonly timer: Timer;
  readonly until: number;
}

export class SessionNodes implements OwnNodes {
  readonly registrations = new Map<string, Registration>();
  readonly entries = new Map<string, Entry>();
  /** What is registered and not carried, by path: it stays where the client put it. */
  readonly uncarried = new Map<string, Instance>();
  /** What says whom the client calls, by path. */
  readonly #consumers = new Set<string>();
  readonly #host: OwnNodesHost;
  readonly #byMesh = new Map<string, Registration>();
  /** Those that the ensemble has taken. */
  readonly #standing = new WeakSet<Registration>();
  /** What the session owned when it was resumed and the client has not yet written again, as the client knows it. */
  #resumed = new Set<string>();
  #resumedUntil = 0;
  /** Deletions that the client was told of and that wait for the creation, as the client knows them. */
  readonly #held = new Map<string, HeldDeletion>();
  /** Held deletions that could not be done before the connection ended. */
  readonly #owed = new Set<string>();

  constructor(host: OwnNodesHost) {
    this.#host = host;
  }

  rewrites(listPath: string): boolean {
    for (const one of this.registrations.values())
      if ((one.state !== "direct" || one.moving) && parentOf(one.path) === listPath) return true;
    for (const one of this.entries.values())
      if ((one.withdrawn !== undefined || one.moving) && parentOf(one.path) === listPath) return true;
    return false;
  }

  clientPath(path: string): string | undefined {
    return this.#byMesh.get(path)?.path;
  }

  missing(listPath: string): readonly string[] {
    const names: string[] = [];
    for (const { path, name, withdrawn, wanted } of this.entries.values())
      if (withdrawn !== undefined && wanted && parentOf(path) === listPath) names.push(name);
    return names;
  }

  /** The session is there, with what it owns at the ensemble: what stands there says in which state a registration is. */
  attach(owned: readonly string[]): void {
    const { clock, limits, layouts, owner } = this.#host;
    this.#resumed = new Set();
    this.#resumedUntil = clock.now() + limits.recreateMs;
    this.uncarried.clear();
    this.#consumers.clear();
    const found = new Map<string, { layout: Layout; instance: Instance; real: boolean; mesh: boolean }>();
    for (const path of owned) {
      const { layout, place } = layouts.locate(path);
      if (place.kind === "provider" || place.kind === "consumer" || place.kind === "private") this.#resumed.add(path);
      if (place.kind === "private") this.#addEntry(path, place.application);
      if (place.kind === "consumer") this.#wants(path, layout, place);
      if (layout === undefined || place.kind !== "provider") continue;
      const instance = layout.readProvider(place.interfaceName, place.name, () => 0);
      if (instance === undefined) continue;
      const real = owner.original(instance);
      const key = real === undefined ? path : `${parentOf(path)}/${layout.nameOf(real)}`;
      const known = found.get(key) ?? { layout, instance: real ?? instance, real: false, mesh: false };
      found.set(key, { ...known, ...(real === undefined ? { real: true } : { mesh: true }) });
    }
    for (const [path, registration] of this.registrations) if (!found.has(path)) this.#forget(registration);
    for (const [path, { layout, instance, real, mesh }] of found) {
      const known = this.registrations.get(path);
      const registration = known ?? this.#register(layout, path, instance);
      if (registration === undefined) {
        this.uncarried.set(path, instance);
        continue;
      }
      registration.state = real ? (mesh ? "both" : "direct") : "mesh";
      // Which of the two came last is not known: each has the whole time before it.
      if (known === undefined && real && mesh) registration.since.real = registration.since.mesh = clock.now();
      registration.meshAsked = mesh;
      this.#standing.add(registration);
    }
    for (const entry of this.entries.values()) {
      if (entry.withdrawn !== undefined || this.#resumed.has(entry.path)) continue;
      this.entries.delete(entry.path);
    }
    for (const { path, meshPath } of this.registrations.values()) {
      if (this.#resumed.delete(meshPath)) this.#resumed.add(path);
    }
    for (const path of this.#owed) if (this.#resumed.delete(path)) this.#remove(path);
    this.#owed.clear();
  }

  /** The connection ends; what was held back is done while it can be, else when the session is there again. */
  detach(by: "client" | "ensemble"): void {
    for (const [path, held] of this.#held) {
      if (by === "client") this.#release(path);
      else {
        held.timer.cancel();
        this.#owed.add(path);
      }
    }
    this.#held.clear();
  }

  /** What another door has to know of them. */
  standing(): StandingNodes {
    const now = this.#host.clock.now();
    return {
      registrations: [...this.registrations.values()].map((one) => {
        const { path, meshPath, state, since, meshAsked } = one;
        return { path, meshPath, state, since: ageOf(since, now), meshAsked, stands: this.#standing.has(one) };
      }),
      entries: [...this.entries.values()].flatMap(({ path, withdrawn }) => (withdrawn === undefined ? [path] : [])),
      uncarried: [...this.uncarried.keys()],
      consumers: [...this.#consumers],
      resumed: [...this.#resumed],
      resumedMs: Math.max(0, Math.round(this.#resumedUntil - now)),
      held: [...this.#held].map(([path, { until }]) => [path, Math.max(0, Math.round(until - now))]),
    };
  }

  /** Goes on with what another door knew; entries that are taken back have been added before. */
  resume({ registrations, entries, uncarried, consumers, resumed, resumedMs, held }: StandingNodes): void {
    const { clock, layouts } = this.#host;
    const now = clock.now();
    for (const { since, stands, ...one } of registrations) {
      const instance = this.#instanceAt(one.path);
      if (instance === undefined) continue;
      const registration = { ...one, instance, since: timesOf(since, now), moving: false };
      this.#remember(registration);
      if (stands) this.#standing.add(registration);
    }
    for (const path of entries) {
      const { place } = layouts.locate(path);
      if (place.kind === "private") this.#addEntry(path, place.application);
    }
    for (const path of uncarried) {
      const instance = this.#instanceAt(path);
      if (instance !== undefined) this.uncarried.set(path, instance);
    }
    for (const path of consumers) {
      const { layout, place } = layouts.locate(path);
      if (place.kind === "consumer") this.#wants(path, layout, place);
    }
    this.#resumed = new Set(resumed);
    this.#resumedUntil = now + resumedMs;
    for (const [path, leftMs] of held) this.#holdBack(path, leftMs);
  }

  #instanceAt(path: string): Instance | undefined {
    const { layout, place } = this.#host.layouts.locate(path);
    return place.kind === "provider" ? layout?.readProvider(place.interfaceName, place.name, () => 0) : undefined;
  }

  /** Does what was held back and would be seen by this request, which must come after it. */
  releaseFor(request: Request): void {
    for (const path of [...this.#held.keys()]) {
      const about = "path" in request ? request.path : undefined;
      if (about !== undefined && about !== path && about !== parentOf(path) && about !== "/") continue;
      if (request.op === "create" && about === path) continue;
      this.#release(path);
    }
  }

  releaseAll(): void {
    for (const path of [...this.#held.keys()]) this.#release(path);
  }

  /** Undefined when the request is not about something of the client's own. */
  plan(request: Request, located: Located): Plan | undefined {
    if (!("path" in request)) return undefined;
    const { kind } = located.place;
    if (kind !== "provider" && kind !== "consumer" && kind !== "private") return undefined;
    const entry = this.#entryFor(request, located);
    if (entry?.withdrawn !== undefined && !entry.moving) return this.#answerEntry(entry, request);
    if (request.op === "create") return this.#create(request, located);
    if (request.op === "delete") return this.#delete(request);
    const registration = this.registrations.get(request.path);
    return registration === undefined ? undefined : this.#translated(request, registration);
  }

  #create(request: CreateRequest, located: Located): Plan | undefined {
    if (request.flags !== createFlags.ephemeral) return undefined;
    const known = this.registrations.get(request.path);
    const registration = known ?? this.#begin(request.path, located);
    // Known from now on, so that what the client asks of it next finds it; forgotten again if it is refused.
    if (registration?.state === "mesh") this.#remember(registration);
    const held = this.#held.get(request.path);
    if (held !== undefined || this.#wasResumed(request.path)) {
      held?.timer.cancel();
      this.#held.delete(request.path);
      this.#resumed.delete(request.path);
      return { kind: "steps", run: () => this.#recreate(request, registration) };
    }
    if (known === undefined && registration?.state === "mesh")
      return { kind: "steps", run: () => this.#createInMesh(request, registration) };
    const up = standing(request.path, registration);
    const reply = (reply: Reply): Buffer => this.#created(request, reply, registration);
    return up === request.path ? { kind: "pass", reply } : { kind: "pass", request: { ...request, path: up }, reply };
  }

  /** Others must reach it where it will stand before they hear of it; what cannot be carried after all begins where the client put it. */
  async #createInMesh(request: CreateRequest, registration: Registration): Promise<Buffer> {
    const passage = this.#passage();
    const at = await this.#host.owner.carried(registration.instance);
    if (at === undefined) {
      registration.state = "direct";
      registration.meshAsked = false;
    } else this.readdress(registration, at);
    const { xid: _, ...create } = request;
    const path = standing(request.path, registration);
    return this.#created(request, await passage.asked({ ...create, path }), registration);
  }

  /** What the session owns already is not made again, and never away in between. Only the data is brought to what was written now. */
  async #recreate(request: CreateRequest, registration: Registration | undefined): Promise<Buffer> {
    const passage = this.#passage();
    const up = standing(request.path, registration);
    const got = await passage.asked({ op: "getData", path: up, watch: false });
    const found = got.error === errorCode.ok ? bodyOf(got, "data") : undefined;
    if (found === undefined && standing(request.path, registration) !== up)
      return this.#recreate(request, registration);
    if (found?.stat.ephemeralOwner !== this.#host.id) {
      const { xid: _, ...create } = request;
      return this.#created(request, await passage.asked({ ...create, path: up }), registration);
    }
    let stat = found.stat;
    if (!sameData(found.data, request.data)) {
      const set = await passage.asked({ op: "setData", path: up, data: request.data, version: -1 });
      // A move has taken it elsewhere between the two.
      if (set.error === errorCode.noNode && standing(request.path, registration) !== up)
        return this.#recreate(request, registration);
      if (set.error !== errorCode.ok) return underXid(set, request.xid);
      stat = bodyOf(set, "stat").stat;
    }
    this.#hold(request.path, registration);
    const { path, xid } = request;
    return answer(xid, passage.zxid, request.code === 1 ? { kind: "path", path } : { kind: "created", path, stat });
  }

  #created(request: CreateRequest, reply: Reply, registration: Registration | undefined): Buffer {
    if (reply.error !== errorCode.ok) {
      const isThere =
        reply.error === errorCode.nodeExists || (registration !== undefined && this.#standing.has(registration));
      if (!isThere && registration !== undefined) this.#forget(registration);
      return underXid(reply, request.xid);
    }
    this.#hold(request.path, registration);
    if (registration?.state !== "mesh") return underXid(reply, request.xid);
    const body = bodyOf(reply, kindOf(request) as "path" | "created");
    return answer(request.xid, reply.zxid, { ...body, path: request.path });
  }

  /** From now on the node is the client's own. */
  #hold(path: string, registration: Registration | undefined): void {
    const { layout, place } = this.#host.layouts.locate(path);
    if (place.kind === "private") this.#addEntry(path, place.application);
    if (place.kind === "consumer") this.#wants(path, layout, place);
    if (registration === undefined) {
      const instance = place.kind === "provider" && layout?.readProvider(place.interfaceName, place.name, () => 0);
      if (instance) this.uncarried.set(path, instance);
      return;
    }
    this.#remember(registration);
    this.#standing.add(registration);
    this.#host.note(registration.state === "mesh" ? registration.meshPath : path, true);
    if (registration.state === "mesh") this.#host.begunInMesh(registration);
  }

  #delete(request: DeleteRequest): Plan {
    const registration = this.registrations.get(request.path);
    const up = standing(request.path, registration);
    if (this.#wasResumed(request.path)) {
      this.#resumed.delete(request.path);
      return { kind: "steps", run: () => this.#holdDeletion(request, up) };
    }
    const reply = (reply: Reply): Buffer => {
      if (reply.error === errorCode.ok) this.#deleted(request.path);
      return reply.frame;
    };
    return up === request.path ? { kind: "pass", reply } : { kind: "pass", request: { ...request, path: up }, reply };
  }

  async #holdDeletion(request: DeleteRequest, up: string): Promise<Buffer> {
    const { xid, version, path } = request;
    const { limits } = this.#host;
    const passage = this.#passage();
    const found = await passage.asked({ op: "exists", path: up, watch: false });
    const now = standing(path, this.registrations.get(path));
    if (found.error === errorCode.noNode && now !== up) return this.#holdDeletion(request, now); // moved meanwhile
    if (found.error !== errorCode.ok) return underXid(found, xid);
    const { stat } = bodyOf(found, "stat");
    if (version !== -1 && version !== stat.version) return answer(xid, passage.zxid, { error: errorCode.badVersion });
    this.#holdBack(path, limits.holdMs);
    return answer(xid, passage.zxid, { kind: "none" });
  }

  #holdBack(path: string, forMs: number): void {
    const { clock } = this.#host;
    const timer = clock.after(forMs, () => this.#release(path));
    this.#held.set(path, { timer, until: clock.now() + forMs });
  }

  #release(path: string): void {
    const held = this.#held.get(path);
    if (held === undefined) return;
    held.timer.cancel();
    this.#held.delete(path);
    this.#remove(path);
  }

  #remove(path: string): void {
    const up = standing(path, this.registrations.get(path));
    this.#host.passage?.ask({ op: "delete", path: up, version: -1 }, () => undefined);
    this.#deleted(path);
  }

  /** The client has taken its node away: what stands for it in the mesh goes with it. */
  #deleted(path: string): void {
    this.#consumers.delete(path);
    this.entries.delete(path);
    this.uncarried.delete(path);
    const registration = this.registrations.get(path);
    if (registration === undefined) return;
    this.#host.note(registration.path, false);
    this.#host.note(registration.meshPath, false);
    this.#forget(registration);
    if (!registration.meshAsked && registration.state === "direct") return;
    const other = registration.state === "mesh" ? registration.path : registration.meshPath;
    this.#host.passage?.ask({ op: "delete", path: other, version: -1 }, () => undefined);
  }

  /** Reads and writes of a registration go to where it stands. */
  #translated(request: Pathed, registration: Registration): Plan | undefined {
    if (registration.state === "direct" && !registration.moving) return undefined;
    const up = standing(registration.path, registration);
    const isRead = request.op === "exists" || request.op === "getData";
    const mirrored = request.op === "setData" && registration.state === "both" ? registration.meshPath : undefined;
    const reply = (reply: Reply): Buffer => {
      if (isRead && request.watch) this.#watched(request, reply);
      if (mirrored !== undefined && request.op === "setData" && reply.error === errorCode.ok) {
        const { data } = request;
        this.#host.passage?.ask({ op: "setData", path: mirrored, data, version: -1 }, () => undefined);
      }
      return request.op === "sync" && reply.error === errorCode.ok
        ? answer(reply.xid, reply.zxid, { kind: "path", path: request.path })
        : reply.frame;
    };
    const sent = up === request.path ? request : { ...request, path: up };
    const known = isRead && request.watch ? this.#host.known(parentOf(request.path)) : undefined;
    if (known === undefined) return { kind: "pass", request: sent as Request, reply };
    const run = async (): Promise<Buffer> => {
      await known; // an event of the node is told from the list around it
      const { xid, ...body } = sent as Request;
      const got = await this.#passage().asked(body);
      return underXid({ ...got, frame: reply(got) }, xid);
    };
    return { kind: "steps", run };
  }

  #watched(request: Pathed, reply: Reply): void {
    if (reply.error === errorCode.ok) this.#host.watches.set("data", request.path);
    else if (reply.error === errorCode.noNode && request.op === "exists") this.#host.watches.set("exist", request.path);
  }

  /** An entry that was taken back is, for the client, where it put it. */
  #answerEntry(entry: Entry, request: Pathed): Plan {
    return { kind: "answer", reply: () => this.#entryReply(entry, request) };
  }

  #entryReply(entry: Entry, request: Pathed): Buffer {
    const { passage, clock, id, watches } = this.#host;
    const zxid = passage?.zxid ?? 0n;
    const { xid, path } = request;
    const data = entry.withdrawn?.data;
    const stat = standInStat(zxid, clock.wall(), data?.length ?? 0, id);
    if (request.op === "create") {
      if (entry.wanted) return answer(xid, zxid, { error: errorCode.nodeExists });
      this.#rewriteEntry(entry, request.data, request.acl, true);
      return answer(xid, zxid, request.code === 1 ? { kind: "path", path } : { kind: "created", path, stat });
    }
    if (!entry.wanted) {
      if (request.op === "exists" && request.watch) watches.set("exist", path);
      return answer(xid, zxid, { error: errorCode.noNode });
    }
    switch (request.op) {
      case "delete":
        this.#rewriteEntry(entry, data, entry.withdrawn?.acl ?? [], false);
        return answer(xid, zxid, { kind: "none" });
      case "setData":
        this.#rewriteEntry(entry, request.data, entry.withdrawn?.acl ?? [], true);
        return answer(xid, zxid, { kind: "stat", stat });
      case "exists":
      case "getData":
        if (request.watch) watches.set("data", path);
        return answer(xid, zxid, request.op === "exists" ? { kind: "stat", stat } : { kind: "data", data, stat });
      case "getAcl":
        return answer(xid, zxid, { kind: "acl", acl: entry.withdrawn?.acl ?? [], stat });
      case "getChildren":
        if (request.code === 8) return answer(xid, zxid, { kind: "children", children: [] });
        return answer(xid, zxid, { kind: "children2", children: [], stat });
      case "sync":
        return answer(xid, zxid, { kind: "path", path });
      default:
        return answer(xid, zxid, { error: errorCode.noWatcher });
    }
  }

  #rewriteEntry(entry: Entry, data: Buffer | undefined, acl: readonly Acl[], wanted: boolean): void {
    entry.withdrawn = { data, acl };
    entry.wanted = wanted;
    this.#host.kept(entry);
  }

  #entryFor(request: Pathed, { place }: Located): Entry | undefined {
    const known = this.entries.get(request.path);
    if (known !== undefined || request.op !== "create" || request.flags !== createFlags.ephemeral) return known;
    if (place.kind !== "private" || place.application === undefined) return undefined;
    if (!this.#host.withdraws(place.application, lastSegment(request.path))) return undefined;
    const entry = this.#addEntry(request.path, place.application) as Entry;
    entry.withdrawn = { data: request.data, acl: request.acl };
    entry.wanted = false; // until the creation that is now being answered
    return entry;
  }

  /** An entry that was taken back before this door, or the session's last connection, was there. */
  addEntry(path: string, application: string): Entry | undefined {
    return this.#addEntry(path, application);
  }

  #addEntry(path: string, application: string | undefined): Entry | undefined {
    const known = this.entries.get(path);
    if (known !== undefined || application === undefined) return known;
    const name = lastSegment(path);
    const entry: Entry = { path, application, name, withdrawn: undefined, wanted: true, moving: false };
    this.entries.set(path, entry);
    return entry;
  }

  #begin(path: string, { layout, place }: Located): Registration | undefined {
    if (layout === undefined || place.kind !== "provider") return undefined;
    const instance = layout.readProvider(place.interfaceName, place.name, () => 0);
    if (instance === undefined) return undefined;
    const registration = this.#registration(layout, path, instance);
    if (registration !== undefined && this.#host.begins(instance) === "mesh") {
      registration.state = "mesh";
      registration.meshAsked = true;
    }
    return registration;
  }

  #registration(layout: Layout, path: string, instance: Instance): Registration | undefined {
    const published = this.#host.owner.published(instance);
    if (published === undefined) return undefined;
    const meshPath = meshPathOf(layout, path, published);
    if (meshPath === path) return undefined;
    const since = { real: Number.NEGATIVE_INFINITY, mesh: Number.NEGATIVE_INFINITY };
    return { path, meshPath, instance, state: "direct", since, moving: false, meshAsked: false };
  }

  #register(layout: Layout, path: string, instance: Instance): Registration | undefined {
    const registration = this.#registration(layout, path, instance);
    if (registration !== undefined) this.#remember(registration);
    return registration;
  }

  /** It will stand in the mesh at another address than was foreseen. Only while nothing of it stands there. */
  readdress(registration: Registration, published: Instance): void {
    const { layout } = this.#host.layouts.locate(registration.path);
    const isKnown = this.#byMesh.delete(registration.meshPath);
    if (layout !== undefined) registration.meshPath = meshPathOf(layout, registration.path, published);
    if (isKnown) this.#byMesh.set(registration.meshPath, registration);
  }

  #wants(path: string, layout: Layout | undefined, place: Extract<Place, { readonly kind: "consumer" }>): void {
    if (this.#consumers.size < this.#host.limits.ephemerals) this.#consumers.add(path);
    const wanted = layout?.readConsumer(place.interfaceName, place.name);
    if (wanted !== undefined) this.#host.owner.wants(wanted);
  }

  #remember(registration: Registration): void {
    this.registrations.set(registration.path, registration);
    this.#byMesh.set(registration.meshPath, registration);
  }

  #forget(registration: Registration): void {
    this.registrations.delete(registration.path);
    this.#byMesh.delete(registration.meshPath);
  }

  #wasResumed(path: string): boolean {
    return this.#resumed.has(path) && this.#host.clock.now() < this.#resumedUntil;
  }

  #passage(): Passage {
    return this.#host.passage as Passage;
  }
}

function sameData(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return (one ?? Buffer.alloc(0)).equals(other ?? Buffer.alloc(0));
}
