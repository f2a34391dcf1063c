/**
 * Sessions: who publishes. A session lives as long as its connection and the grace time after it. A second connection that shows
 * the session's token takes it over with no change of leases and no push. Tokens are kept as hashes and never logged.
 */
import { createHash } from "node:crypto";
import type { Clock, Timer } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import { tokenBytes } from "@dualmesh/wire/stream/limits";
import { compareRevisions, type Hello, revisionText } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import type { Instances } from "./instance.ts";
import type { RegistryJournal, StoredSession } from "./persist.ts";

/** The connection that a session has now. */
export interface SessionConnection {
  readonly remote: string;
  /** Another connection took the session over. */
  takenOver(): void;
}

export interface Session extends StoredSession {
  readonly text: string;
  agent: string;
  connection: SessionConnection | undefined;
  /** Wall time at which the connection was lost; 0 while there is one. */
  lostSince: number;
  /** Set while the session has no connection. */
  expiry: Timer | undefined;
}

export interface OpenedSession {
  readonly session: Session;
  /** Empty when a session is continued. */
  readonly token: Buffer;
  readonly resumed: boolean;
  /** Resolves when a new session is on disk: only then may its client rely on it. */
  readonly durable: Promise<void> | undefined;
}

export interface SessionsOptions {
  readonly instances: Instances;
  readonly journal: RegistryJournal;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly epoch: number;
  readonly graceMs: number;
  readonly restartWindowMs: number;
  readonly maxSessions: number;
  /** Everybody who was here before the restart is among the loaded sessions. */
  readonly complete: boolean;
  /** Nobody who was here before the restart is missing any more. */
  readonly onSettled: () => void;
}

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #byText = new Map<string, Session>();
  readonly #byToken = new Map<string, Session>();
  /** Sessions from before the restart that have not reported all they publish. */
  readonly #unreported = new Set<string>();
  readonly #window: Timer;
  readonly #windowEnd: number;
  #counter = 0;
  settled = false;

  /** Begins the restart window. Loaded sessions are lost ones that may return. */
  constructor(options: SessionsOptions, loaded: Iterable<StoredSession>) {
    this.#options = options;
    for (const stored of loaded) {
      const session = this.#add(stored, "");
      session.lostSince = options.clock.wall();
      this.#unreported.add(session.text);
      const ms = Math.max(options.restartWindowMs, options.graceMs);
      session.expiry = options.clock.after(ms, () => this.#expire(session));
    }
    // When a run ends before it has settled, or with nothing loaded, nobody can say who is missing, so that the whole window is waited for.
    this.#windowEnd = options.clock.now() + options.restartWindowMs;
    this.#window = options.clock.after(options.restartWindowMs, () => this.#endWindow());
  }

  get all(): Iterable<Session> {
    return this.#byText.values();
  }

  get count(): number {
    return this.#byText.size;
  }

  /** A session without a connection: what a door at the registry publishes belongs to it. */
  newId(): Revision {
    return { epoch: this.#options.epoch, counter: ++this.#counter };
  }

  /** Continues the session of the hello's token, or begins one; undefined when there are too many. The token is given once, when the session is new. */
  open(hello: Hello, connection: SessionConnection): OpenedSession | undefined {
    const known = hello.token.length === 0 ? undefined : this.#byToken.get(hashOf(hello.token).toString("latin1"));
    if (known !== undefined && known.nodeId === hello.nodeId) {
      const former = known.connection;
      known.expiry?.cancel();
      known.expiry = undefined;
      known.connection = connection;
      known.lostSince = 0;
      known.agent = hello.agent;
      former?.takenOver();
      return { session: known, token: Buffer.alloc(0), resumed: true, durable: undefined };
    }
    if (this.count >= this.#options.maxSessions && !this.#dropIdle()) return undefined;
    const token = this.#options.random.bytes(tokenBytes);
    const { kind, nodeId } = hello;
    const session = this.#add({ id: this.newId(), tokenHash: hashOf(token), kind, nodeId }, hello.agent);
    session.connection = connection;
    this.#options.journal.putSession(session);
    return { session, token, resumed: false, durable: this.#options.journal.flushed() };
  }

  /** The connection is gone without an orderly end: the grace time begins. */
  lost(session: Session, connection: SessionConnection): void {
    if (session.connection !== connection) return; // taken over meanwhile
    session.connection = undefined;
    session.lostSince = this.#options.clock.wall();
    // Within the restart window a session that has not reported yet is not judged, even if it was here for a moment.
    const window = this.#unreported.has(session.text) ? this.#windowEnd - this.#options.clock.now() : 0;
    const ms = Math.max(this.#options.graceMs, window);
    session.expiry = this.#options.clock.after(ms, () => this.#expire(session));
  }

  /** An orderly end: everything goes at once. */
  end(session: Session): void {
    this.#forget(session);
    this.#options.instances.endSession(session.id, "withdrawn");
  }

  /** The session has registered all that it publishes. */
  reported(session: Session): void {
    this.#came(session.text);
  }

  /** True when `named` is `own`, or a session of the same node that has no connection: its successor may delete for it. */
  mayDeleteFor(own: Session, named: Revision): boolean {
    if (compareRevisions(own.id, named) === 0) return true;
    const other = this.#byText.get(revisionText(named));
    return other === undefined || (other.nodeId === own.nodeId && other.connection === undefined);
  }

  get(id: Revision): Session | undefined {
    return this.#byText.get(revisionText(id));
  }

  close(): void {
    this.#window.cancel();
    for (const session of this.#byText.values()) session.expiry?.cancel();
  }

  /** Forgets a lost session that publishes nothing; false when there is none. */
  #dropIdle(): boolean {
    for (const session of this.#byText.values()) {
      if (session.connection !== undefined || this.#options.instances.countOf(session.id) > 0) continue;
      this.#forget(session);
      return true;
    }
    return false;
  }

  #add(stored: StoredSession, agent: string): Session {
    const text = revisionText(stored.id);
    const session: Session = { ...stored, text, agent, connection: undefined, lostSince: 0, expiry: undefined };
    this.#byText.set(text, session);
    this.#byToken.set(stored.tokenHash.toString("latin1"), session);
    return session;
  }

  #expire(session: Session): void {
    const { instances, log } = this.#options;
    this.#forget(session);
    const count = instances.endSession(session.id, "expired");
    if (count > 0) log.info({ session: session.text, node: session.nodeId, instances: count }, "a lost session ended");
  }

  #forget(session: Session): void {
    session.expiry?.cancel();
    session.expiry = undefined;
    session.connection = undefined;
    this.#byText.delete(session.text);
    this.#byToken.delete(session.tokenHash.toString("latin1"));
    this.#options.journal.deleteSession(session.id);
    this.#came(session.text);
  }

  #came(session: string): void {
    if (this.#unreported.delete(session) && this.#unreported.size === 0 && this.#options.complete) this.#settle();
  }

  /** What belongs to nobody who could still return goes: doors' sessions of the last run that were not registered again. */
  #endWindow(): void {
    const { instances, epoch } = this.#options;
    for (const owner of [...instances.owners()]) {
      const [ownerEpoch, counter] = owner.split(".").map(Number) as [number, number];
      if (ownerEpoch < epoch && !this.#byText.has(owner))
        instances.endSession({ epoch: ownerEpoch, counter }, "expired");
    }
    this.#settle();
  }

  #settle(): void {
    if (this.settled) return;
    this.settled = true;
    this.#options.journal.putSettled(this.#options.epoch);
    this.#options.onSettled();
  }
}

function hashOf(token: Uint8Array): Buffer {
  return createHash("sha256").update(token).digest();
}
