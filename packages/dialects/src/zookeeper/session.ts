/**
 * Sessions: who a client is beyond one connection. A session begins with a connect request, outlives connections until its timeout,
 * is resumed with its password, and takes what it owns with it when it ends. Nothing here knows what paths mean.
 */
import { timingSafeEqual } from "node:crypto";
import type { Clock, Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import type { Journal } from "@dualmesh/base/state/journal";
import { hostOf, type ThrottledLog } from "@dualmesh/base/throttled-log";
import { type EventType, encodeConnectReply, errorCode, eventType } from "@dualmesh/wire/jute/reply";
import type { ConnectRequest, Request } from "@dualmesh/wire/jute/request";
import { PartialBytes } from "@dualmesh/wire/stream/channel";
import type { DoorPeer, Standing } from "../door.ts";
import { Connection, type ConnectionHost } from "./connection.ts";
import { InheritedWatches } from "./inherited.ts";
import type { ZooKeeperLimits } from "./limits.ts";
import { parentOf } from "./nodes.ts";
import { type StandingSession, unpackClient } from "./standing.ts";
import type { Answer, Change, Tree, TreeListener, Viewer } from "./tree.ts";
import { type Watcher, Watches, type WatchKind } from "./watches.ts";

export interface Session extends Viewer, Watcher {
  readonly password: Buffer;
  readonly timeoutMs: number;
  remote: string;
  heardAt: number;
  connection: Connection | undefined;
}

export interface SessionsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly journal: Journal;
  readonly limits: ZooKeeperLimits;
  /** For what clients can cause as often as they like. */
  readonly told: ThrottledLog;
}

/** Between two looks for sessions that have expired, in milliseconds. */
const sweepMs = 500;
const passwordBytes = 16;

export class Sessions implements ConnectionHost, TreeListener {
  readonly clock: Clock;
  readonly log: Log;
  readonly told: ThrottledLog;
  readonly limits: ZooKeeperLimits;
  readonly partial: PartialBytes;
  readonly #random: Random;
  readonly #journal: Journal;
  readonly #sessions = new Map<bigint, Session>();
  readonly #byConnection = new Map<Connection, Session>();
  readonly #connections = new Set<Connection>();
  readonly #watches = new Watches();
  /** Watches that a client set anew on what cannot be decided yet, by the list that decides. */
  readonly #undecided = new Map<string, Set<string>>();
  readonly #inherited: InheritedWatches;
  readonly #sweep: Timer;
  #sweptAt: number;
  #tree: Tree | undefined;
  #isServing = true;

  constructor(options: SessionsOptions) {
    this.clock = options.clock;
    this.log = options.log;
    this.told = options.told;
    this.limits = options.limits;
    this.partial = new PartialBytes(options.limits.partialBytes);
    this.#random = options.random;
    this.#journal = options.journal;
    this.#sweptAt = this.clock.now();
    this.#inherited = new InheritedWatches({
      tree: () => this.#served,
      tell: ({ id }, type, path) => this.#watches.fire({ type, path, to: (other) => other === id }),
      recursive: (viewer) => this.#recursive(viewer.id),
    });
    this.#sweep = this.clock.every(sweepMs, () => this.#expire());
  }

  /** The tree that answers from now on; to be given once, before the first connection. */
  serve(tree: Tree): void {
    this.#tree = tree;
  }

  get zxid(): bigint {
    return this.#served.zxid;
  }

  /** Loads what the journal kept; each session has its whole timeout to come back. */
  restore(): ReadonlyMap<bigint, Viewer> {
    for (const [key, value] of this.#journal.entries()) {
      const match = /^session\/([0-9a-f]{1,16})$/.exec(key);
      if (match === null) continue;
      const kept = unpackSession(value);
      if (kept === undefined) {
        this.log.warn({ key }, "a session of the journal could not be read and is left out");
        this.#journal.delete(key);
        continue;
      }
      const id = BigInt(`0x${match[1]}`);
      this.#sessions.set(id, this.#session(id, kept.password, kept.timeoutMs, kept.remote));
    }
    return this.#sessions;
  }

  list(): readonly Session[] {
    return [...this.#sessions.values()];
  }

  watchedPaths(session: Session): readonly string[] {
    return this.#watches.paths(session);
  }

  connect(peer: DoorPeer): Connection {
    const connection = new Connection(this, peer);
    this.#connections.add(connection);
    return connection;
  }

  /** Goes on with a client's connection that stood still at another door; undefined when it cannot. */
  adopt(peer: DoorPeer, { state }: Standing): Connection | undefined {
    const known = unpackClient(state);
    if (known === undefined) return undefined;
    const { session: standing, answers } = known;
    if (standing === undefined) return this.connect(peer);
    const session = this.#sessions.get(standing.session);
    if (session === undefined || session.connection !== undefined) return undefined;
    const connection = this.connect(peer);
    connection.resume(answers);
    this.#attach(session, connection);
    this.#served.resume(session, standing);
    for (const { kind, path } of standing.watches) this.#watch(session, kind, path);
    this.#inherited.inherit(session, this.watchedPaths(session), standing.seen);
    return connection;
  }

  /** While clients cannot come, no session's time runs. */
  serving(isServing: boolean): void {
    this.#isServing = isServing;
    for (const session of this.#sessions.values()) session.heardAt = this.clock.now();
  }

  close(): void {
    this.#sweep.cancel();
    for (const connection of [...this.#connections]) connection.end();
  }

  // --- what a connection asks

  opened(connection: Connection, request: ConnectRequest): void {
    if (request.sessionId !== 0n) return this.#resume(connection, request);
    if (this.#sessions.size >= this.limits.sessions) return connection.cut("there are too many sessions");
    const { minTimeoutMs, maxTimeoutMs } = this.limits;
    const timeoutMs = Math.min(maxTimeoutMs, Math.max(minTimeoutMs, request.timeoutMs));
    const session = this.#session(
      this.#newId(),
      Buffer.from(this.#random.bytes(passwordBytes)),
      timeoutMs,
      connection.remote,
    );
    this.#sessions.set(session.id, session);
    this.#attach(session, connection);
    this.#journal.put(sessionKey(session.id), packSession(session));
    this.#journal.flushed().then(
      () => this.#accept(session, connection, request),
      (error) => {
        this.told.error("", { error: messageOf(error) }, "a session could not be written to disk and was refused");
        this.#end(session);
      },
    );
  }

  heard(connection: Connection): void {
    const session = this.#byConnection.get(connection);
    if (session !== undefined) session.heardAt = this.clock.now();
  }

  prepare(connection: Connection, request: Request): void {
    const session = this.#byConnection.get(connection);
    if (session !== undefined && isRead(request)) this.#served.prepare(session, request);
  }

  perform(connection: Connection, request: Request, askedAt: number, done: (answer: Answer) => void): void {
    const session = this.#byConnection.get(connection);
    if (session === undefined) return;
    switch (request.op) {
      case "closeSession":
        this.#end(session, false);
        return void this.#journal.flushed().then(
          () => done({ error: errorCode.ok }),
          (error) => {
            this.told.error("", { error: messageOf(error) }, "the end of a session could not be written to disk");
            done({ error: errorCode.ok });
          },
        );
      case "setWatches":
        return done(this.#setWatches(session, request));
      case "addWatch":
        return done(this.#addWatch(session, request.path, request.mode));
      case "checkWatches":
      case "removeWatches":
        return done(this.#removeWatches(session, request.path, request.kind, request.op === "removeWatches"));
      case "unknown":
        return done(this.#unimplemented(session, request.code));
      case "ping":
      case "auth":
        return done({ error: errorCode.ok });
      default:
        return this.#served.perform(session, request, askedAt, (answer) => {
          if (isRead(request) && request.watch) this.#watchRead(session, request, answer);
          if (isRead(request)) this.#inherited.read(session, request, answer);
          done(answer);
        });
    }
  }

  closed(connection: Connection): void {
    this.#connections.delete(connection);
    const session = this.#byConnection.get(connection);
    this.#byConnection.delete(connection);
    if (session === undefined || session.connection !== connection) return;
    session.connection = undefined;
    this.#forgetWatches(session);
  }

  standing(connection: Connection): StandingSession | undefined {
    const session = this.#byConnection.get(connection);
    if (session === undefined) return undefined;
    return {
      session: session.id,
      watches: [...this.#watches.of(session)],
      seen: this.#inherited.seenBy(session, this.watchedPaths(session)),
      ...this.#served.passing(session),
    };
  }

  // --- what the tree tells

  changed(change: Change): void {
    const waiting = this.#inherited.waitingFor(change.path);
    if (waiting === undefined) return this.#watches.fire(change);
    const { type, path, by } = change;
    const ids = new Set([...waiting].map(({ id }) => id));
    for (const viewer of waiting) if (viewer.id === by) this.#inherited.changed(viewer, type, path);
    this.#watches.fire({ ...change, to: (id) => (id === by || !ids.has(id)) && (change.to?.(id) ?? true) });
  }

  known(path: string): void {
    this.#inherited.known(path);
    const paths = this.#undecided.get(path);
    this.#undecided.delete(path);
    for (const child of paths ?? []) {
      for (const session of this.#sessions.values()) {
        if (!this.#watches.has(session, "data", child) || this.#served.look(session, child) !== undefined) continue;
        this.#watches.fire({ type: eventType.deleted, path: child, to: (id) => id === session.id });
      }
    }
  }

  watched(path: string): boolean {
    return this.#watches.watched(path);
  }

  // --- sessions

  get #served(): Tree {
    if (this.#tree === undefined) throw new Error("a session was served before its tree was given");
    return this.#tree;
  }

  #resume(connection: Connection, request: ConnectRequest): void {
    const session = this.#sessions.get(request.sessionId);
    const isOwner = session !== undefined && samePassword(session.password, request.password);
    if (!isOwner) {
      this.told.info(
        hostOf(connection.remote),
        { remote: connection.remote, session: request.sessionId.toString(16) },
        "a session is not known: it has expired",
      );
      return connection.refuse(
        encodeConnectReply({
          protocolVersion: 0,
          timeoutMs: 0,
          sessionId: 0n,
          password: Buffer.alloc(passwordBytes),
          readOnly: request.readOnly === undefined ? undefined : false,
        }),
      );
    }
    session.connection?.end(); // the newer connection takes the session over
    this.#attach(session, connection);
    this.#accept(session, connection, request);
  }

  #attach(session: Session, connection: Connection): void {
    session.connection = connection;
    session.remote = connection.remote;
    session.heardAt = this.clock.now();
    this.#byConnection.set(connection, session);
  }

  #accept(session: Session, connection: Connection, { readOnly }: ConnectRequest): void {
    const { id, timeoutMs, password } = session;
    const reply = {
      protocolVersion: 0,
      timeoutMs,
      sessionId: id,
      password,
      readOnly: readOnly === undefined ? undefined : false,
    };
    connection.accept(encodeConnectReply(reply));
  }

  #session(id: bigint, password: Buffer, timeoutMs: number, remote: string): Session {
    const session: Session = {
      id,
      password,
      timeoutMs,
      remote,
      application: "",
      heardAt: this.clock.now(),
      connection: undefined,
      notify: (type: EventType, path: string) => session.connection?.event(type, path),
    };
    return session;
  }

  #newId(): bigint {
    for (;;) {
      const id = this.#random.bytes(8).readBigUInt64BE(0) >> 1n;
      if (id > 1n && !this.#sessions.has(id)) return id;
    }
  }

  #end(session: Session, disconnect = true): void {
    if (!this.#sessions.delete(session.id)) return;
    this.#forgetWatches(session);
    this.#served.end(session);
    this.#journal.delete(sessionKey(session.id));
    if (disconnect) session.connection?.end();
  }

  /** Ends sessions that were silent for too long. When this process itself stood still, the silence was its own and does not count. */
  #expire(): void {
    const now = this.clock.now();
    const stoodStill = now - this.#sweptAt - sweepMs;
    this.#sweptAt = now;
    if (!this.#isServing) return;
    for (const session of [...this.#sessions.values()]) {
      if (stoodStill > sweepMs * 2) session.heardAt = Math.min(now, session.heardAt + stoodStill);
      if (now - session.heardAt <= session.timeoutMs) continue;
      this.told.info(
        hostOf(session.remote),
        { session: session.id.toString(16), application: session.application, remote: session.remote },
        "a session has expired",
      );
      this.#end(session);
    }
  }

  // --- watches

  #forgetWatches(session: Session): void {
    this.#watches.clear(session);
    this.#inherited.forget(session);
  }

  #recursive(id: bigint): readonly string[] {
    const session = this.#sessions.get(id);
    if (session === undefined) return [];
    return [...this.#watches.of(session)].flatMap(({ kind, path }) => (kind === "recursive" ? [path] : []));
  }

  #watchRead(session: Session, request: Extract<Request, { readonly watch: boolean }>, { error }: Answer): void {
    if (error === errorCode.ok) this.#watch(session, request.op === "getChildren" ? "child" : "data", request.path);
    else if (error === errorCode.noNode && request.op === "exists") this.#watch(session, "exist", request.path);
  }

  #watch(session: Session, kind: WatchKind, path: string): void {
    if (this.#watches.count(session) >= this.limits.watchesPerSession)
      return session.connection?.cut("it has too many watches");
    if (session.connection !== undefined) this.#watches.add(session, kind, path);
  }

  #addWatch(session: Session, path: string, mode: number): Answer {
    if (mode !== 0 && mode !== 1) return { error: errorCode.badArguments };
    this.#watch(session, mode === 0 ? "persistent" : "recursive", path);
    return { error: errorCode.ok, body: { kind: "error", code: errorCode.ok } };
  }

  /** Kinds as the protocol numbers them: 1 child, 2 data, 3 any, 4 persistent, 5 recursive. */
  #removeWatches(session: Session, path: string, kind: number, remove: boolean): Answer {
    const all: WatchKind[] = ["data", "exist", "child", "persistent", "recursive"];
    const meant: Readonly<Record<number, WatchKind[]>> = {
      1: ["child"],
      2: ["data", "exist"],
      3: all,
      4: ["persistent"],
      5: ["recursive"],
    };
    const found = (meant[kind] ?? []).filter((one) => this.#watches.has(session, one, path));
    if (found.length === 0) return { error: errorCode.noWatcher };
    if (remove) for (const one of found) this.#watches.remove(session, one, path);
    return { error: errorCode.ok };
  }

  /** A client that came back says what it watched, and hears at once of what changed since. */
  #setWatches(session: Session, request: Extract<Request, { readonly op: "setWatches" }>): Answer {
    const { relativeZxid: since } = request;
    const look = (path: string) => this.#served.look(session, path);
    const known = (path: string) => {
      const stat = look(path);
      if (stat === "unknown") this.#decideLater(path);
      return stat;
    };
    for (const path of request.data) {
      const stat = known(path);
      if (stat === undefined) session.notify(eventType.deleted, path);
      else if (stat !== "unknown" && stat.mzxid > since) session.notify(eventType.dataChanged, path);
      else this.#watch(session, "data", path);
    }
    for (const path of request.exist) {
      const stat = look(path);
      if (stat !== undefined && stat !== "unknown") session.notify(eventType.created, path);
      else this.#watch(session, "exist", path);
    }
    for (const path of request.child) {
      const stat = look(path);
      if (stat === undefined) session.notify(eventType.deleted, path);
      else if (stat !== "unknown" && stat.pzxid > since) session.notify(eventType.childrenChanged, path);
      else this.#watch(session, "child", path);
    }
    for (const path of request.persistent) this.#watch(session, "persistent", path);
    for (const path of request.recursive) this.#watch(session, "recursive", path);
    return { error: errorCode.ok };
  }

  #decideLater(path: string): void {
    const list = parentOf(path);
    const paths = this.#undecided.get(list);
    if (this.#undecided.size >= this.limits.lists || (paths?.size ?? 0) >= this.limits.watchesPerSession) return;
    if (paths === undefined) this.#undecided.set(list, new Set([path]));
    else paths.add(path);
  }

  #unimplemented(session: Session, code: number): Answer {
    this.told.warn(
      `${hostOf(session.remote)} ${code}`,
      { remote: session.remote, operation: code },
      "an operation of ZooKeeper is not implemented and was refused",
    );
    return { error: errorCode.unimplemented };
  }
}

type Read = Extract<Request, { readonly op: "exists" | "getData" | "getChildren" }>;

function isRead(request: Request): request is Read {
  return request.op === "exists" || request.op === "getData" || request.op === "getChildren";
}

function sessionKey(id: bigint): string {
  return `session/${id.toString(16)}`;
}

interface KeptSession {
  readonly password: Buffer;
  readonly timeoutMs: number;
  readonly remote: string;
}

function packSession({ password, timeoutMs, remote }: KeptSession): string {
  return JSON.stringify([password.toString("base64"), timeoutMs, remote]);
}

function unpackSession(packed: Buffer): KeptSession | undefined {
  try {
    const [password, timeoutMs, remote] = JSON.parse(packed.toString()) as [string, number, string];
    return { password: Buffer.from(password, "base64"), timeoutMs, remote };
  } catch {
    return undefined; // damaged or written by another version: the caller says so
  }
}

function samePassword(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
