/**
 * A client of a real ZooKeeper: one session, kept over connections to whichever of its servers answers, resumed after every failure and
 * begun anew when the servers have forgotten it. What is asked while there is no connection is refused at once: who needs something goes
 * by state and asks again in `onConnected`.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { JuteReader } from "@dualmesh/wire/jute/record";
import {
  type ConnectReply,
  decodeReplyBody,
  errorCode,
  type ReplyBody,
  type Stat,
  type WatchEvent,
} from "@dualmesh/wire/jute/reply";
import { type Acl, createFlags, openAcl, type RequestBody } from "@dualmesh/wire/jute/request";
import type { Dial } from "./dial.ts";
import { zooKeeperError } from "./failure.ts";
import { multiRequest, type Part, readMultiReply } from "./multi.ts";
import { type Credentials, ServerConnection } from "./server-connection.ts";

const firstDelayMs = 100;
const largestDelayMs = 2_000;
/** A connection that lasted this long was a good one: the next attempt after it comes soon. */
const goodAfterMs = 5_000;
const defaultSessionTimeoutMs = 40_000;
const defaultDeadlineMs = 10_000;
const goodbyeMs = 2_000;
const noPassword = Buffer.alloc(16);
const creatorAcl: readonly Acl[] = [{ permissions: 31, scheme: "auth", id: "" }];
/** Paths of watches in one request, in characters, as Java's client divides them. */
const maxWatchText = 128 * 1024;

export interface Session {
  /** 0 before the first. */
  readonly id: bigint;
  readonly password: Buffer;
}

export type ClientState = "waiting" | "connecting" | "connected" | "closed";

export interface ZooKeeperClientOptions {
  /** `host:port` of the servers, in any order. */
  readonly addresses: readonly string[];
  readonly dial: Dial;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Put before every path; nothing, or as `/a/b`. */
  readonly chroot?: string;
  readonly credentials?: readonly Credentials[];
  /** What the servers are asked for; they answer with what they allow. */
  readonly sessionTimeoutMs?: number;
  /** Of every operation. */
  readonly deadlineMs?: number;
  /** A session to go on with. */
  readonly session?: Session;
  /** `resumed` says that the session is the one from before, with all that it owns. */
  readonly onConnected: (session: Session, resumed: boolean) => void;
  readonly onDisconnected: () => void;
  /** The servers have ended this session, or forgotten it. */
  readonly onExpired: (session: Session) => void;
  readonly onEvent: (event: WatchEvent) => void;
  /** All that happened before this moment has been told. */
  readonly onProven: () => void;
}

export interface WatchLists {
  readonly data?: readonly string[];
  readonly exist?: readonly string[];
  readonly child?: readonly string[];
  readonly recursive?: readonly string[];
}

export class ZooKeeperClient {
  readonly #options: ZooKeeperClientOptions;
  readonly #chroot: string;
  readonly #addresses: readonly string[];
  readonly #acl: readonly Acl[];
  readonly #deadlineMs: number;
  #address = 0;
  #state: ClientState = "waiting";
  #connection: ServerConnection | undefined;
  #session: Session;
  #timeoutMs: number;
  #zxid = 0n;
  #attempt = 0;
  #openedAt = 0;
  #retry: Timer | undefined;
  #lost: Timer | undefined;
  #warned = false;
  /** The server has just said so, and is asked for a new session next. */
  #hasExpired = false;
  lastError = "";
  readonly counts = { connects: 0, failures: 0, resumed: 0, expired: 0, lost: 0 };

  constructor(options: ZooKeeperClientOptions) {
    this.#options = options;
    this.#chroot = options.chroot === undefined || options.chroot === "/" ? "" : options.chroot;
    this.#addresses = shuffled(options.addresses, options.random);
    this.#acl = (options.credentials?.length ?? 0) > 0 ? creatorAcl : openAcl;
    this.#deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
    this.#session = options.session ?? { id: 0n, password: noPassword };
    this.#timeoutMs = options.sessionTimeoutMs ?? defaultSessionTimeoutMs;
  }

  get state(): ClientState {
    return this.#state;
  }

  get open(): boolean {
    return this.#state === "connected";
  }

  get address(): string {
    return this.#addresses[this.#address % this.#addresses.length] as string;
  }

  get session(): Session {
    return this.#session;
  }

  /** What the servers allowed, in milliseconds. */
  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** Where the session stands in the servers' order; what `setWatches` goes by. */
  get zxid(): bigint {
    return this.#connection?.zxid ?? this.#zxid;
  }

  start(): void {
    this.#dial();
  }

  // --- operations; each rejects with `zookeeper.…`

  /** Parents must be there: see `createWithParents`. */
  async create(path: string, data: Buffer, kind: "persistent" | "ephemeral"): Promise<void> {
    await this.#ask(this.#createBody(path, data, createFlags[kind]), "path");
  }

  async createWithParents(path: string, data: Buffer, kind: "persistent" | "ephemeral"): Promise<void> {
    try {
      await this.create(path, data, kind);
    } catch (error) {
      if (!isMeshError(error, "zookeeper.no-node")) throw error;
      await this.#createParents(this.#outer(path));
      await this.create(path, data, kind);
    }
  }

  async delete(path: string, version = -1): Promise<void> {
    await this.#ask({ op: "delete", path: this.#outer(path), version }, "none");
  }

  /** Undefined when there is no such node. */
  exists(path: string, watch = false): Promise<Stat | undefined> {
    return unlessMissing(this.#ask({ op: "exists", path: this.#outer(path), watch }, "stat").then(({ stat }) => stat));
  }

  /** Undefined when there is no such node; a watch is then not set. */
  children(
    path: string,
    watch = false,
  ): Promise<{ readonly children: readonly string[]; readonly stat: Stat } | undefined> {
    return unlessMissing(this.#ask({ op: "getChildren", code: 12, path: this.#outer(path), watch }, "children2"));
  }

  data(path: string, watch = false): Promise<{ readonly data: Buffer | undefined; readonly stat: Stat } | undefined> {
    return unlessMissing(this.#ask({ op: "getData", path: this.#outer(path), watch }, "data"));
  }

  /** The paths of this session's ephemeral nodes; servers before 3.6 do not know. */
  async ephemerals(): Promise<readonly string[]> {
    const body: RequestBody = { op: "getEphemerals", path: this.#chroot === "" ? "/" : this.#chroot };
    const { children } = await this.#ask(body, "children");
    return children.map((path) => this.#inner(path));
  }

  /** Resolves when the server has all that any server had confirmed. */
  async sync(path: string): Promise<void> {
    await this.#ask({ op: "sync", path: this.#outer(path) }, "path");
  }

  /** All parts or none, in one step. Rejects with the first part's refusal. */
  async multi(parts: readonly Part[]): Promise<void> {
    const outer = parts.map((part) => ({ ...part, path: this.#outer(part.path) }));
    const codes = await this.#request(multiRequest(outer), readMultiReply);
    // What was rolled back before the culprit is 0, what came after it -2.
    const at = codes.findIndex((code) => code !== errorCode.ok && code !== rolledBack);
    if (at >= 0) throw zooKeeperError(codes[at] as number, parts[at]?.op ?? "multi", parts[at]?.path ?? "");
  }

  createPart(path: string, data: Buffer, kind: "persistent" | "ephemeral"): Part {
    return { op: "create", path, data, acl: this.#acl, flags: createFlags[kind] };
  }

  /** Every change at or below the path is told from now on, until the connection ends. Servers before 3.6 do not know this. */
  async addRecursiveWatch(path: string): Promise<void> {
    await this.#ask({ op: "addWatch", path: this.#outer(path), mode: 1 }, "error");
  }

  async removeWatch(path: string, kind: "children" | "recursive"): Promise<void> {
    const number = kind === "children" ? 1 : 5;
    await this.#ask({ op: "removeWatches", path: this.#outer(path), kind: number }, "none");
  }

  /**
   * Sets watches again on a new connection. One-shot ones whose node changed after `since` are told at once; recursive ones are only set.
   */
  async setWatches(lists: WatchLists, since: bigint): Promise<void> {
    const outer = (paths: readonly string[] = []): readonly string[] => paths.map((path) => this.#outer(path));
    const all = (["data", "exist", "child", "recursive"] as const).flatMap((kind) =>
      outer(lists[kind]).map((path) => ({ kind, path })),
    );
    const work: Promise<unknown>[] = [];
    for (const some of divided(all)) {
      const of = (kind: string): string[] => some.filter((one) => one.kind === kind).map(({ path }) => path);
      const recursive = of("recursive");
      const code = recursive.length > 0 ? 105 : 101;
      const watches = { data: of("data"), exist: of("exist"), child: of("child"), persistent: [], recursive };
      work.push(this.#ask({ op: "setWatches", code, relativeZxid: since, ...watches }, "none"));
    }
    await Promise.all(work);
  }

  // --- ends

  /** Ends the session, and with it all that it owns. True when the server has said so; else it ends with its time. */
  async close(): Promise<boolean> {
    const connection = this.#connection;
    const isOver =
      connection?.open === true && (await isDone(connection.request({ op: "closeSession" }, nothing, goodbyeMs)));
    this.abandon();
    return isOver;
  }

  /** Ends without a word: the session lives on until its time, for a successor. */
  abandon(): void {
    if (this.#state === "closed") return;
    const connection = this.#connection;
    this.#state = "closed";
    this.#retry?.cancel();
    this.#lost?.cancel();
    this.#connection = undefined;
    connection?.drop("closed");
  }

  // --- connections

  #dial(): void {
    const { dial, clock, credentials = [], sessionTimeoutMs } = this.#options;
    this.#state = "connecting";
    const asked = this.#session;
    const connection: ServerConnection = new ServerConnection({
      address: this.address,
      dial,
      clock,
      credentials,
      hello: {
        protocolVersion: 0,
        lastZxid: this.#zxid,
        timeoutMs: sessionTimeoutMs ?? defaultSessionTimeoutMs,
        sessionId: asked.id,
        password: asked.password,
        readOnly: false,
      },
      events: {
        opened: (reply) => this.#opened(reply, asked),
        expired: () => this.#expired(),
        event: (event) => this.#options.onEvent({ ...event, path: this.#inner(event.path) }),
        proven: () => this.#options.onProven(),
        closed: (reason) => this.#down(connection, reason),
      },
    });
    this.#connection = connection;
  }

  #opened(reply: ConnectReply, asked: Session): void {
    const { clock, log, onConnected } = this.#options;
    const resumed = asked.id !== 0n && asked.id === reply.sessionId;
    this.#lost?.cancel();
    this.#session = { id: reply.sessionId, password: Buffer.from(reply.password) };
    this.#timeoutMs = reply.timeoutMs;
    this.#state = "connected";
    this.#openedAt = clock.now();
    this.#warned = false;
    this.lastError = "";
    this.counts.connects++;
    if (resumed) this.counts.resumed++;
    const fields = {
      server: this.address,
      session: this.#session.id.toString(16),
      timeoutMs: reply.timeoutMs,
      resumed,
    };
    log.info(fields, "connected to ZooKeeper");
    onConnected(this.#session, resumed);
  }

  #expired(): void {
    const former = this.#session;
    this.counts.expired++;
    this.#hasExpired = true;
    this.#session = { id: 0n, password: noPassword };
    this.#zxid = 0n;
    this.#attempt = 0;
    this.#options.log.warn({ session: former.id.toString(16) }, "the ZooKeeper session has expired; a new one begins");
    this.#options.onExpired(former);
  }

  #down(connection: ServerConnection, reason: string): void {
    if (this.#connection !== connection) return;
    const { clock, random, log, onDisconnected } = this.#options;
    const wasOpen = this.open;
    const expired = this.#hasExpired;
    this.#hasExpired = false;
    this.#connection = undefined;
    this.#state = "waiting";
    if (this.#session.id !== 0n) this.#zxid = connection.zxid;
    this.lastError = reason;
    if (wasOpen && clock.now() - this.#openedAt >= goodAfterMs) this.#attempt = 0;
    else if (!wasOpen && !expired) this.counts.failures++;
    if (!expired) this.#address++;
    if (!this.#warned && !expired) {
      // Once for each outage: the servers may be tried for hours.
      this.#warned = true;
      log.warn({ server: connection.address, reason }, "ZooKeeper is out of reach; what is known stays in force");
    }
    // Each server is tried once before anything is waited for.
    const round = Math.floor(this.#attempt / this.#addresses.length);
    const delay = expired ? 0 : random.next() * Math.min(largestDelayMs, firstDelayMs * 2 ** Math.min(round, 16));
    if (!expired) this.#attempt++;
    this.#retry = clock.after(delay, () => this.#dial());
    if (!wasOpen) return;
    this.#lost = clock.after(this.#timeoutMs, () => this.#sessionLost());
    onDisconnected();
  }

  /**
   * Nobody answered for as long as the session lives: the servers have ended it, or were all down, in which case they still know it. It is
   * tried all the same; but a server that knows less than this client has seen may be one that was set up anew, and is no longer refused.
   */
  #sessionLost(): void {
    this.counts.lost++;
    this.#zxid = 0n;
    const fields = { session: this.#session.id.toString(16), timeoutMs: this.#timeoutMs };
    this.#options.log.warn(fields, "no ZooKeeper server answered for the whole time of the session, which may be over");
  }

  // --- requests

  #ask<Kind extends ReplyBody["kind"]>(
    body: RequestBody,
    kind: Kind,
  ): Promise<Extract<ReplyBody, { readonly kind: Kind }>> {
    return this.#request(body, (reader) => decodeReplyBody(kind, reader) as Extract<ReplyBody, { kind: Kind }>);
  }

  #request<T>(body: RequestBody, read: (reader: JuteReader) => T): Promise<T> {
    const connection = this.open ? this.#connection : undefined;
    if (connection === undefined)
      return Promise.reject(new MeshError("zookeeper.connection-lost", "there is no connection to ZooKeeper"));
    return connection.request(body, read, this.#deadlineMs);
  }

  #createBody(path: string, data: Buffer, flags: number): RequestBody {
    return { op: "create", code: 1, path: this.#outer(path), data, acl: this.#acl, flags, ttl: 0n };
  }

  /** Those of a chroot too, which nobody may have made yet. */
  async #createParents(outerPath: string): Promise<void> {
    const segments = outerPath.split("/").slice(1, -1);
    for (let length = 1; length <= segments.length; length += 1) {
      const path = `/${segments.slice(0, length).join("/")}`;
      const { data, acl } = { data: Buffer.alloc(0), acl: this.#acl };
      const flags = createFlags.persistent;
      try {
        await this.#ask({ op: "create", code: 1, path, data, acl, flags, ttl: 0n }, "path");
      } catch (error) {
        if (isMeshError(error, "zookeeper.node-exists")) continue;
        // Of what lies above, one may not be allowed to write it although it is there.
        if (!isMeshError(error, "zookeeper.no-permission") || length === segments.length) throw error;
      }
    }
  }

  #outer(path: string): string {
    return this.#chroot === "" ? path : path === "/" ? this.#chroot : this.#chroot + path;
  }

  #inner(path: string): string {
    if (this.#chroot === "" || !path.startsWith(this.#chroot)) return path;
    return path.slice(this.#chroot.length) || "/";
  }
}

/** What `multi` says of the parts behind the one that failed. */
const rolledBack = -2;

function nothing(): void {}

async function isDone(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return false;
  }
}

async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isMeshError(error, "zookeeper.no-node")) return undefined;
    throw error;
  }
}

function* divided<One extends { readonly path: string }>(all: readonly One[]): Generator<readonly One[]> {
  let some: One[] = [];
  let size = 0;
  for (const one of all) {
    some.push(one);
    size += one.path.length;
    if (size < maxWatchText) continue;
    yield some;
    some = [];
    size = 0;
  }
  if (some.length > 0) yield some;
}

function shuffled(addresses: readonly string[], random: Random): readonly string[] {
  const mixed = [...addresses];
  for (let last = mixed.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random.next() * (last + 1));
    [mixed[last], mixed[other]] = [mixed[other] as string, mixed[last] as string];
  }
  return mixed;
}
