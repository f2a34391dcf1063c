/**
 * A small ZooKeeper in memory for tests of its clients: several servers over one tree, sessions with their time, watches of all kinds, as
 * much of the protocol as clients here use. A test cuts it off, stops it, has it forget sessions or lets it stand for an older version.
 */
import type { Clock } from "@dualmesh/base/clock";
import { juteCodec, juteRecord } from "@dualmesh/wire/jute/frame";
import { JuteReader, JuteWriter } from "@dualmesh/wire/jute/record";
import { encodeConnectReply, encodeEvent, encodeReply, type ReplyBody, type Stat } from "@dualmesh/wire/jute/reply";
import {
  type ConnectRequest,
  decodeConnectRequest,
  decodeRequest,
  openAcl,
  type Request,
  type RequestBody,
} from "@dualmesh/wire/jute/request";
import type { Dial, DialEvents } from "../zookeeper/client/dial.ts";

interface FakeNode {
  data: Buffer;
  readonly czxid: bigint;
  pzxid: bigint;
  version: number;
  cversion: number;
  readonly owner: bigint;
}

interface FakeSession {
  readonly id: bigint;
  readonly password: Buffer;
  readonly timeoutMs: number;
  heardAt: number;
}

type Answer = { readonly error: number; readonly body?: ReplyBody };

export class ZooKeeperServers {
  readonly nodes = new Map<string, FakeNode>();
  readonly sessions = new Map<bigint, FakeSession>();
  readonly connections = new Set<ServedConnection>();
  /** Addresses that refuse connections. */
  readonly down = new Set<string>();
  /** Servers that take connections and requests and answer nothing. */
  silent = false;
  /** Before 3.6: neither recursive watches nor `getEphemerals`. */
  old = false;
  /** Old ones may close upon what they do not know without having said so. */
  mute = false;
  /** What `digest` must say; anything when undefined. */
  secret: string | undefined;
  /** Nodes whose children nobody may read. */
  readonly forbidden = new Set<string>();
  /** Addresses in the order in which they were dialled. */
  readonly dialled: string[] = [];
  /** Every operation, as `OP PATH`. */
  readonly asked: string[] = [];
  zxid = 1n;
  readonly clock: Clock;
  #sessionCount = 0n;

  constructor(clock: Clock) {
    this.clock = clock;
    this.wipe();
    clock.every(200, () => this.#expireLate());
  }

  readonly dial: Dial = (address, events) => {
    this.dialled.push(address);
    const connection = new ServedConnection(this, events);
    const closed = this.down.has(address);
    queueMicrotask(() => {
      if (closed) return connection.cut("ECONNREFUSED");
      if (connection.over) return;
      this.connections.add(connection);
      events.opened();
    });
    return {
      remote: address,
      queuedBytes: 0,
      send: (bytes) => connection.receive(Buffer.from(bytes)),
      close: () => connection.cut("closed"),
      destroy: () => connection.cut("destroyed"),
      pause: () => {},
      resume: () => {},
    };
  };

  /** Cuts every connection; sessions go on. */
  cut(): void {
    for (const connection of [...this.connections]) connection.cut("ECONNRESET");
  }

  /** Ends a session as its time does. */
  expire(id: bigint): void {
    this.sessions.delete(id);
    for (const [path, node] of [...this.nodes]) if (node.owner === id) this.remove(path);
    for (const connection of [...this.connections]) if (connection.session?.id === id) connection.cut("expired");
  }

  /** Everything is forgotten, as with a data directory that was lost. */
  wipe(): void {
    this.nodes.clear();
    this.sessions.clear();
    this.zxid = 1n;
    this.nodes.set("/", newNode(Buffer.alloc(0), 0n, 0n));
  }

  /** What another client does; makes parents. */
  put(path: string, owner = 0n, data = ""): void {
    const segments = path.split("/").slice(1);
    for (let length = 1; length <= segments.length; length += 1) {
      const one = `/${segments.slice(0, length).join("/")}`;
      if (!this.nodes.has(one)) this.add(one, Buffer.from(length === segments.length ? data : ""), owner);
    }
  }

  add(path: string, data: Buffer, owner: bigint): void {
    this.zxid += 1n;
    this.nodes.set(path, newNode(data, this.zxid, owner));
    this.#touch(path);
    this.#fire(1, path);
  }

  remove(path: string): void {
    this.zxid += 1n;
    this.nodes.delete(path);
    this.#touch(path);
    this.#fire(2, path);
  }

  childrenOf(path: string): string[] {
    const prefix = path === "/" ? "/" : `${path}/`;
    return [...this.nodes.keys()]
      .filter((one) => one !== "/" && one.startsWith(prefix) && !one.slice(prefix.length).includes("/"))
      .map((one) => one.slice(prefix.length));
  }

  open(request: ConnectRequest): FakeSession | "expired" | "refused" {
    if (request.lastZxid > this.zxid) return "refused";
    if (request.sessionId !== 0n) {
      const known = this.sessions.get(request.sessionId);
      return known?.password.equals(request.password) === true ? known : "expired";
    }
    this.#sessionCount += 1n;
    const id = 0x1000n + this.#sessionCount;
    const password = Buffer.alloc(16, Number(this.#sessionCount % 255n) + 1);
    const session = { id, password, timeoutMs: request.timeoutMs, heardAt: this.clock.now() };
    this.sessions.set(id, session);
    return session;
  }

  statOf(path: string): Stat | undefined {
    const node = this.nodes.get(path);
    if (node === undefined) return undefined;
    return {
      czxid: node.czxid,
      mzxid: node.czxid,
      ctime: 0,
      mtime: 0,
      version: node.version,
      cversion: node.cversion,
      aversion: 0,
      ephemeralOwner: node.owner,
      dataLength: node.data.length,
      numChildren: this.childrenOf(path).length,
      pzxid: node.pzxid,
    };
  }

  #touch(path: string): void {
    const parent = this.nodes.get(parentOf(path));
    if (parent === undefined) return;
    parent.pzxid = this.zxid;
    parent.cversion += 1;
  }

  #fire(type: 1 | 2, path: string): void {
    for (const connection of this.connections) connection.fire(type, path);
  }

  #expireLate(): void {
    for (const session of [...this.sessions.values()]) {
      if (this.clock.now() - session.heardAt > session.timeoutMs) this.expire(session.id);
    }
  }
}

class ServedConnection {
  readonly #servers: ZooKeeperServers;
  readonly #events: DialEvents;
  readonly #watches = { data: new Set<string>(), exist: new Set<string>(), child: new Set<string>() };
  readonly #recursive = new Set<string>();
  session: FakeSession | undefined;
  over = false;

  constructor(servers: ZooKeeperServers, events: DialEvents) {
    this.#servers = servers;
    this.#events = events;
  }

  cut(reason: string): void {
    if (this.over) return;
    this.over = true;
    this.#servers.connections.delete(this);
    queueMicrotask(() => this.#events.closed(reason));
  }

  receive(bytes: Buffer): void {
    if (this.over || this.#servers.silent) return;
    const view = juteCodec.view();
    for (let at = 0; at < bytes.length && !this.over; ) {
      at += juteCodec.decode(bytes, at, bytes.length, view);
      const record = Buffer.from(juteRecord(view));
      if (this.session === undefined) this.#connect(decodeConnectRequest(record));
      else this.#perform(decodeRequest(record), this.session);
    }
  }

  fire(type: 1 | 2, path: string): void {
    const { data, exist, child } = this.#watches;
    const own = [data.delete(path), exist.delete(path), type === 2 && child.delete(path)].includes(true);
    if (own || [...this.#recursive].some((root) => path === root || path.startsWith(`${root}/`)))
      this.#event(type, path);
    if (child.delete(parentOf(path))) this.#event(4, parentOf(path));
  }

  #connect(request: ConnectRequest): void {
    const session = this.#servers.open(request);
    if (session === "refused") return this.cut("ECONNRESET");
    const [id, password, timeoutMs] =
      session === "expired" ? [0n, Buffer.alloc(16), 0] : [session.id, session.password, session.timeoutMs];
    this.#send(encodeConnectReply({ protocolVersion: 0, timeoutMs, sessionId: id, password, readOnly: false }));
    if (session === "expired") return this.cut("ECONNRESET");
    this.session = session;
    session.heardAt = this.#servers.clock.now();
  }

  #perform(request: Request, session: FakeSession): void {
    session.heardAt = this.#servers.clock.now();
    if (request.op !== "ping") this.#servers.asked.push(`${request.op} ${"path" in request ? request.path : ""}`);
    if (request.op === "unknown" && request.code === 14) return this.#multi(request.xid, request.bytes, session);
    const { error, body } = this.#answer(request, session);
    if (error === -6 && this.#servers.mute) return this.cut("closed");
    this.#send(encodeReply({ xid: request.xid, zxid: this.#servers.zxid, error }, body));
    // As real servers do: they close upon an operation that they do not know.
    if (request.op === "closeSession" || error === -115 || error === -6) this.cut("closed");
  }

  #answer(request: RequestBody, session: FakeSession): Answer {
    const servers = this.#servers;
    switch (request.op) {
      case "create":
        return this.#create(request, session);
      case "delete":
        return { error: this.#delete(request.path) };
      case "exists": {
        const stat = servers.statOf(request.path);
        if (request.watch) this.#watches[stat === undefined ? "exist" : "data"].add(request.path);
        return stat === undefined ? { error: -101 } : { error: 0, body: { kind: "stat", stat } };
      }
      case "getChildren": {
        const stat = servers.statOf(request.path);
        if (stat === undefined) return { error: -101 };
        if (servers.forbidden.has(request.path)) return { error: -102 };
        if (request.watch) this.#watches.child.add(request.path);
        return { error: 0, body: { kind: "children2", children: servers.childrenOf(request.path), stat } };
      }
      case "getData": {
        const stat = servers.statOf(request.path);
        if (stat === undefined) return { error: -101 };
        return { error: 0, body: { kind: "data", data: servers.nodes.get(request.path)?.data, stat } };
      }
      case "getAcl": {
        const stat = servers.statOf(request.path);
        return stat === undefined ? { error: -101 } : { error: 0, body: { kind: "acl", acl: openAcl, stat } };
      }
      case "getEphemerals": {
        if (servers.old) return { error: -6 };
        const children = [...servers.nodes].filter(([, node]) => node.owner === session.id).map(([path]) => path);
        return { error: 0, body: { kind: "children", children } };
      }
      case "addWatch":
        if (servers.old) return { error: -6 };
        this.#recursive.add(request.path);
        return { error: 0, body: { kind: "error", code: 0 } };
      case "setWatches":
        return this.#setWatches(request);
      case "removeWatches":
        if (servers.old) return { error: -6 };
        return { error: this.#recursive.delete(request.path) || this.#watches.child.delete(request.path) ? 0 : -121 };
      case "sync":
        return { error: 0, body: { kind: "path", path: request.path } };
      case "auth":
        return { error: [undefined, request.credentials?.toString()].includes(servers.secret) ? 0 : -115 };
      case "closeSession":
        servers.expire(session.id);
        return { error: 0 };
      case "ping":
        return { error: 0 };
      default:
        return { error: -6 };
    }
  }

  #create(request: Extract<RequestBody, { readonly op: "create" }>, session: FakeSession): Answer {
    const servers = this.#servers;
    const { path } = request;
    if (servers.nodes.has(path)) return { error: -110 };
    if (!servers.nodes.has(parentOf(path))) return { error: -101 };
    servers.add(path, request.data ?? Buffer.alloc(0), request.flags === 1 ? session.id : 0n);
    return { error: 0, body: { kind: "path", path } };
  }

  #delete(path: string): number {
    if (!this.#servers.nodes.has(path)) return -101;
    if (this.#servers.childrenOf(path).length > 0) return -111;
    this.#servers.remove(path);
    return 0;
  }

  /** Deletes and creates; others see one step, as far as lists go. */
  #multi(xid: number, bytes: Buffer, session: FakeSession): void {
    const servers = this.#servers;
    const reader = new JuteReader(bytes);
    const parts: (() => number)[] = [];
    const deleted = new Set<string>();
    const codes: number[] = [];
    for (;;) {
      const type = reader.int();
      const done = reader.bool();
      reader.int();
      if (done) break;
      const path = reader.string();
      if (type === 2) {
        reader.int();
        codes.push(servers.nodes.has(path) ? 0 : -101);
        deleted.add(path);
        parts.push(() => this.#delete(path));
      } else {
        const data = reader.buffer() ?? Buffer.alloc(0);
        const acl = reader.list(12, () => ({
          permissions: reader.int(),
          scheme: reader.string(),
          id: reader.string(),
        }));
        const flags = reader.int();
        codes.push(servers.nodes.has(path) && !deleted.has(path) ? -110 : servers.nodes.has(parentOf(path)) ? 0 : -101);
        parts.push(() => this.#create({ op: "create", code: 1, path, data, acl, flags, ttl: 0n }, session).error);
      }
    }
    const failed = codes.findIndex((code) => code !== 0);
    const writer = new JuteWriter(256).int(xid);
    if (failed < 0) for (const part of parts) part();
    writer.long(servers.zxid).int(0);
    codes.forEach((code, index) => {
      const result = failed < 0 ? 0 : index < failed ? 0 : index === failed ? code : -2;
      writer
        .int(failed < 0 ? 2 : -1)
        .bool(false)
        .int(result);
      if (failed >= 0) writer.int(result);
    });
    this.#send(writer.int(-1).bool(true).int(-1).frame());
  }

  #setWatches(request: Extract<RequestBody, { readonly op: "setWatches" }>): Answer {
    if (request.code === 105 && this.#servers.old) return { error: -6 };
    for (const path of request.child) {
      const node = this.#servers.nodes.get(path);
      if (node === undefined) this.#event(2, path);
      else if (node.pzxid > request.relativeZxid) this.#event(4, path);
      else this.#watches.child.add(path);
    }
    for (const path of request.exist) {
      if (this.#servers.nodes.has(path)) this.#event(1, path);
      else this.#watches.exist.add(path);
    }
    for (const path of request.data) {
      if (this.#servers.nodes.has(path)) this.#watches.data.add(path);
      else this.#event(2, path);
    }
    for (const path of request.recursive) this.#recursive.add(path);
    return { error: 0 };
  }

  #event(type: number, path: string): void {
    this.#send(encodeEvent({ type, state: 3, path }));
  }

  /** A turn later and byte by byte at first, as a network may have it. */
  #send(frame: Buffer): void {
    queueMicrotask(() => {
      if (this.over && this.session === undefined && frame.length < 30) return;
      this.#events.received(frame.subarray(0, 3));
      this.#events.received(frame.subarray(3));
    });
  }
}

function newNode(data: Buffer, zxid: bigint, owner: bigint): FakeNode {
  return { data, czxid: zxid, pzxid: zxid, version: 0, cversion: 0, owner };
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}
