/**
 * A small ZooKeeper ensemble in memory, spoken to in bytes, and a door before it. Requests wait at the ensemble until a test lets
 * it go on when `paused`, so that every order of things can be had. Test support: no part of the product imports it.
 */
import { FakeClock } from "@dualmesh/base/clock";
import { type Log, silentLog } from "@dualmesh/base/log";
import type { Instance } from "@dualmesh/model/instance";
import { juteCodec, juteRecord } from "@dualmesh/wire/jute/frame";
import {
  type EventType,
  encodeConnectReply,
  encodeEvent,
  encodeReply,
  eventType,
  type ReplyBody,
  type Stat,
} from "@dualmesh/wire/jute/reply";
import { type Acl, decodeConnectRequest, decodeRequest, openAcl, type Request } from "@dualmesh/wire/jute/request";
import type { DoorPeer, Standing } from "../../door.ts";
import { MemoryJournal } from "../../testing/memory-journal.ts";
import { type ConnectOptions, ZooKeeperTestClient } from "../../testing/zookeeper-client.ts";
import type { Wanted } from "../layout.ts";
import { type BeforeDoor, openBeforeDoor } from "./door.ts";
import type { BeforeLimits } from "./limits.ts";
import type { BeforeOwner, RealList, SessionModes, Upstream, UpstreamEvents } from "./owner.ts";
import { parentOf } from "./paths.ts";

interface ModelNode {
  data: Buffer | undefined;
  readonly acl: readonly Acl[];
  readonly owner: bigint;
  readonly czxid: bigint;
  pzxid: bigint;
  version: number;
}

export class ModelEnsemble {
  readonly nodes = new Map<string, ModelNode>();
  readonly connections: ModelConnection[] = [];
  /** Every change, as `create PATH` and its like, and every request, as `OP PATH`. */
  readonly changes: string[] = [];
  readonly requests: string[] = [];
  /** Called after each change. */
  onChange: () => void = () => undefined;
  zxid = 100n;
  paused = false;
  /** False for servers before 3.6. */
  knowsEphemerals = true;
  readonly sessions = new Set<bigint>();
  #nextSession = 0x1000n;

  constructor() {
    this.nodes.set("", { data: undefined, acl: openAcl, owner: 0n, czxid: 0n, pzxid: 0n, version: 0 });
  }

  open(events: UpstreamEvents): ModelConnection {
    const connection = new ModelConnection(this, events);
    this.connections.push(connection);
    return connection;
  }

  get newest(): ModelConnection {
    return this.connections.at(-1) as ModelConnection;
  }

  newSession(): bigint {
    const id = this.#nextSession++;
    this.sessions.add(id);
    return id;
  }

  /** A change by somebody else, with all its parents. */
  put(path: string, owner = 1n, data = "x"): void {
    if (path === "" || this.nodes.has(path)) return;
    this.put(path.slice(0, path.lastIndexOf("/")), 0n);
    this.create(path, Buffer.from(data), openAcl, owner);
  }

  create(path: string, data: Buffer | undefined, acl: readonly Acl[], owner: bigint): void {
    this.zxid += 1n;
    this.nodes.set(path, { data, acl, owner, czxid: this.zxid, pzxid: this.zxid, version: 0 });
    this.#touch(parentOf(path));
    this.changes.push(`create ${path}`);
    this.onChange();
    this.#fire(eventType.created, path);
    this.#fire(eventType.childrenChanged, parentOf(path));
  }

  delete(path: string): void {
    this.zxid += 1n;
    this.nodes.delete(path);
    this.#touch(parentOf(path));
    this.changes.push(`delete ${path}`);
    this.onChange();
    this.#fire(eventType.deleted, path);
    this.#fire(eventType.childrenChanged, parentOf(path));
  }

  set(path: string, data: Buffer | undefined): void {
    const node = this.nodes.get(path) as ModelNode;
    this.zxid += 1n;
    node.data = data;
    node.version += 1;
    this.changes.push(`set ${path}`);
    this.#fire(eventType.dataChanged, path);
  }

  expire(session: bigint): void {
    this.sessions.delete(session);
    for (const [path, node] of [...this.nodes]) if (node.owner === session) this.delete(path);
    for (const connection of this.connections) if (connection.session === session) connection.cut();
  }

  children(path: string): string[] {
    const start = path === "/" ? "/" : `${path}/`;
    return [...this.nodes.keys()]
      .filter((other) => other.startsWith(start) && other !== "" && !other.slice(start.length).includes("/"))
      .map((other) => other.slice(start.length));
  }

  stat(path: string): Stat {
    const node = this.nodes.get(path === "/" ? "" : path) as ModelNode;
    return {
      czxid: node.czxid,
      mzxid: node.czxid,
      ctime: 1,
      mtime: 1,
      version: node.version,
      cversion: 0,
      aversion: 0,
      ephemeralOwner: node.owner,
      dataLength: node.data?.length ?? 0,
      numChildren: this.children(path).length,
      pzxid: node.pzxid,
    };
  }

  #touch(parent: string): void {
    const node = this.nodes.get(parent === "/" ? "" : parent);
    if (node !== undefined) node.pzxid = this.zxid;
  }

  #fire(type: EventType, path: string): void {
    for (const connection of this.connections) connection.fire(type, path);
  }
}

export class ModelConnection implements Upstream {
  readonly #ensemble: ModelEnsemble;
  #events: UpstreamEvents | undefined;
  /** What was said while no door listened. */
  #unheard: Buffer[] = [];
  readonly #inbox: Buffer[] = [];
  readonly watches = { data: new Set<string>(), child: new Set<string>(), recursive: new Set<string>() };
  /** The bytes that came, to compare. */
  readonly received: Buffer[] = [];
  session = 0n;
  closed = false;
  queuedBytes = 0;

  constructor(ensemble: ModelEnsemble, events: UpstreamEvents) {
    this.#ensemble = ensemble;
    this.#events = events;
  }

  send(bytes: Buffer): void {
    if (this.closed) return;
    this.received.push(Buffer.from(bytes));
    this.#inbox.push(Buffer.from(bytes));
    if (!this.#ensemble.paused) this.run();
  }

  close(): void {
    this.run();
    this.closed = true;
  }

  /** The ensemble closes, or is gone. */
  cut(): void {
    if (this.closed) return;
    this.closed = true;
    this.#events?.closed();
  }

  /** No door listens until one goes on with it. */
  standStill(): void {
    this.#events = undefined;
  }

  goOn(events: UpstreamEvents): void {
    this.#events = events;
    queueMicrotask(() => {
      for (const frame of this.#unheard.splice(0)) events.received(frame);
    });
  }

  get waiting(): number {
    return this.#inbox.length;
  }

  /** Answers what waits, at most so many. */
  run(most = Number.POSITIVE_INFINITY): void {
    for (let done = 0; done < most; done += 1) {
      const frame = this.#inbox.shift();
      if (frame === undefined || this.closed) return;
      const view = juteCodec.view();
      if (juteCodec.decode(frame, 0, frame.length, view) !== frame.length) throw new Error("not one whole frame");
      this.#serve(juteRecord(view));
    }
  }

  say(frame: Buffer): void {
    if (this.closed) return;
    if (this.#events === undefined || this.#unheard.length > 0) this.#unheard.push(Buffer.from(frame));
    else this.#events.received(frame);
  }

  fire(type: EventType, path: string): void {
    if (this.session === 0n || this.closed) return;
    const { data, child, recursive } = this.watches;
    let tell = false;
    if (type !== eventType.childrenChanged) {
      tell = data.delete(path);
      for (const root of recursive) tell ||= path === root || path.startsWith(`${root}/`) || root === "/";
    }
    if (type === eventType.childrenChanged || type === eventType.deleted) tell = child.delete(path) || tell;
    if (tell) this.say(encodeEvent({ type, state: 3, path }));
  }

  #serve(record: Buffer): void {
    const ensemble = this.#ensemble;
    if (this.session === 0n) {
      const asked = decodeConnectRequest(record);
      const known = asked.sessionId === 0n || ensemble.sessions.has(asked.sessionId);
      this.session = !known ? 0n : asked.sessionId === 0n ? ensemble.newSession() : asked.sessionId;
      const password = Buffer.alloc(16, Number(this.session & 0xffn));
      const timeoutMs = known ? 20_000 : 0;
      const { readOnly } = asked;
      this.say(encodeConnectReply({ protocolVersion: 0, timeoutMs, sessionId: this.session, password, readOnly }));
      return;
    }
    const request = decodeRequest(record);
    ensemble.requests.push(`${request.op} ${"path" in request ? request.path : ""}`.trim());
    const body = this.#answer(request);
    const [error, told] = typeof body === "number" ? [body, undefined] : [0, body];
    this.say(encodeReply({ xid: request.xid, zxid: ensemble.zxid, error }, told));
    if (request.op === "closeSession") ensemble.expire(this.session);
    if (request.op === "getEphemerals" && !ensemble.knowsEphemerals) this.cut();
  }

  #answer(request: Request): ReplyBody | number {
    const ensemble = this.#ensemble;
    if (request.op === "setWatches") return this.#setWatches(request);
    if (!("path" in request)) return { kind: "none" };
    const { path } = request;
    const node = ensemble.nodes.get(path === "/" ? "" : path);
    switch (request.op) {
      case "create": {
        if (node !== undefined) return -110;
        if (!ensemble.nodes.has(parentOf(path) === "/" ? "" : parentOf(path))) return -101;
        ensemble.create(path, request.data, request.acl, request.flags === 1 ? this.session : 0n);
        return request.code === 1 ? { kind: "path", path } : { kind: "created", path, stat: ensemble.stat(path) };
      }
      case "delete":
        if (node === undefined) return -101;
        if (request.version !== -1 && request.version !== node.version) return -103;
        ensemble.delete(path);
        return { kind: "none" };
      case "getEphemerals": {
        if (!ensemble.knowsEphemerals) return -6;
        const own = [...ensemble.nodes].filter(([, { owner }]) => owner === this.session);
        return { kind: "children", children: own.map(([at]) => at) };
      }
      case "exists":
        if (request.watch) this.watches.data.add(path);
        return node === undefined ? -101 : { kind: "stat", stat: ensemble.stat(path) };
      case "addWatch":
        this.watches.recursive.add(path);
        return { kind: "error", code: 0 };
      case "removeWatches":
        return this.watches.data.delete(path) || this.watches.child.delete(path) ? { kind: "none" } : -121;
      case "sync":
        return { kind: "path", path };
      default:
        return node === undefined ? -101 : this.#answerNode(request, node);
    }
  }

  #answerNode(request: Request & { readonly path: string }, node: ModelNode): ReplyBody | number {
    const { path } = request;
    const stat = this.#ensemble.stat(path);
    switch (request.op) {
      case "getData":
        if (request.watch) this.watches.data.add(path);
        return { kind: "data", data: node.data, stat };
      case "getAcl":
        return { kind: "acl", acl: node.acl, stat };
      case "setData":
        this.#ensemble.set(path, request.data);
        return { kind: "stat", stat: this.#ensemble.stat(path) };
      case "getChildren": {
        if (request.watch) this.watches.child.add(path);
        const children = this.#ensemble.children(path);
        return request.code === 8 ? { kind: "children", children } : { kind: "children2", children, stat };
      }
      default:
        return { kind: "none" };
    }
  }

  #setWatches(request: Request & { readonly op: "setWatches" }): ReplyBody {
    const { nodes } = this.#ensemble;
    for (const path of request.data)
      if (nodes.has(path)) this.watches.data.add(path);
      else this.say(encodeEvent({ type: eventType.deleted, state: 3, path }));
    for (const path of request.exist)
      if (nodes.has(path)) this.say(encodeEvent({ type: eventType.created, state: 3, path }));
      else this.watches.data.add(path);
    for (const path of request.child) {
      const changed = (nodes.get(path)?.pzxid ?? 0n) > request.relativeZxid;
      if (changed) this.say(encodeEvent({ type: eventType.childrenChanged, state: 3, path }));
      else this.watches.child.add(path);
    }
    for (const path of request.recursive) this.watches.recursive.add(path);
    return { kind: "none" };
  }
}

/** Ports 2xxxx of an application are published at 10,000 more; consumers in the mesh are shown one stand-in for each service. */
export class ModelOwner implements BeforeOwner {
  readonly ensemble: ModelEnsemble;
  begins: SessionModes = { provides: "direct", consumes: "direct" };
  bypassed = new Set<string>();
  readonly wanted: string[] = [];
  /** False while nobody reaches what is published. */
  reached = true;
  readonly connections = new Map<DoorPeer, ModelConnection>();

  constructor(ensemble: ModelEnsemble) {
    this.ensemble = ensemble;
  }

  open(client: DoorPeer, events: UpstreamEvents): Upstream {
    const connection = this.ensemble.open(events);
    this.connections.set(client, connection);
    return connection;
  }

  adopted(client: DoorPeer, events: UpstreamEvents): Upstream | undefined {
    const connection = this.connections.get(client);
    connection?.goOn(events);
    return connection;
  }

  modes(): SessionModes {
    return this.begins;
  }

  published(instance: Instance): Instance | undefined {
    const { port } = instance;
    return port >= 20_000 && port < 30_000 ? { ...instance, port: port + 10_000 } : undefined;
  }

  async carried(instance: Instance): Promise<Instance | undefined> {
    return this.reached ? this.published(instance) : undefined;
  }

  wants({ services, timeoutMs }: Wanted): void {
    this.wanted.push(...services.map((service) => `${service} ${timeoutMs}`));
  }

  original(instance: Instance): Instance | undefined {
    const port = instance.port - 10_000;
    return port >= 20_000 && port < 30_000 ? { ...instance, port, appPort: port } : undefined;
  }

  shown({ instances }: RealList): readonly Instance[] {
    const services = new Map<string, Instance>();
    for (const instance of instances) {
      if (this.bypassed.has(instance.host)) services.set(instance.host, instance);
      else if (!services.has(instance.service))
        services.set(instance.service, { ...instance, address: "10.9.9.9", port: 15_002 });
    }
    return [...services.values()];
  }
}

export class BeforeFixture {
  readonly clock = new FakeClock();
  readonly ensemble = new ModelEnsemble();
  readonly owner = new ModelOwner(this.ensemble);
  readonly journal = new MemoryJournal();
  readonly logged: string[] = [];
  door: BeforeDoor;
  readonly #limits: Partial<BeforeLimits>;
  #clients = 0;

  constructor(limits: Partial<BeforeLimits> = {}) {
    this.#limits = limits;
    this.door = this.#open();
  }

  /** Another process of the same door: it knows what the journal kept and what the ensemble has. */
  async restart(): Promise<void> {
    await this.door[Symbol.asyncDispose]();
    this.door = this.#open();
  }

  /** The same with the connections of these clients, each of which stands still first, or is closed. */
  async upgrade(clients: readonly ZooKeeperTestClient[], whileNobody: () => void = () => undefined): Promise<void> {
    const standing = new Map<ZooKeeperTestClient, Standing>();
    for (let turn = 0; turn < 10 && standing.size < clients.length; turn += 1) {
      for (const client of clients) {
        const stands = standing.has(client) || client.closed ? undefined : client.connection.stand?.();
        if (stands === undefined) continue;
        standing.set(client, stands);
        this.owner.connections.get(client.peer)?.standStill();
      }
      await this.settle();
    }
    for (const client of clients) if (!client.closed && !standing.has(client)) client.drop();
    await this.door[Symbol.asyncDispose]();
    whileNobody();
    this.door = this.#open();
    for (const [client, stands] of standing) if (!client.goOn(this.door, stands)) client.drop();
    await this.settle();
  }

  async client(options: ConnectOptions = {}): Promise<ZooKeeperTestClient> {
    this.#clients += 1;
    const client = new ZooKeeperTestClient(this.door, `127.0.0.1:${this.#clients}`).open(options);
    await this.settle();
    return client;
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 4; turn += 1) await this.clock.advance(0);
  }

  #open(): BeforeDoor {
    const note = (level: string) => (_fields: object, text: string) => void this.logged.push(`${level} ${text}`);
    const log: Log = { ...silentLog, info: note("info"), warn: note("warn"), error: note("error") };
    const { owner, clock, journal } = this;
    return openBeforeDoor({ owner, clock, journal, log }, { limits: this.#limits, chroots: ["/team"] });
  }
}

/** The name of a Dubbo provider's node. */
export function dubboName(host: string, port: number, application = "shop"): string {
  return encodeURIComponent(
    `dubbo://${host}:${port}/demo.Greeter?application=${application}&interface=demo.Greeter&side=provider&timestamp=1`,
  );
}

export const providers = "/dubbo/demo.Greeter/providers";
