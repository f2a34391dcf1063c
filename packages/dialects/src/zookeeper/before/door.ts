/**
 * The ZooKeeper door that stands before a real ensemble. An application's client keeps its own session there; everything that it
 * does goes through, and only what is discovery is told differently, as far as the owner has moved the application into the mesh.
 */
import { type Clock, sleep, type Timer } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Instance } from "@dualmesh/model/instance";
import { PartialBytes } from "@dualmesh/wire/stream/channel";
import type { Door, DoorConnection, DoorPeer, DoorSession, Standing } from "../../door.ts";
import { dubboLayout } from "../dubbo-layout.ts";
import { Layouts } from "../layout.ts";
import { sofaLayout } from "../sofa-layout.ts";
import { Applications } from "./applications.ts";
import { KeptEntries } from "./kept-entries.ts";
import { ownedByAsking, ownedByWalking } from "./learn.ts";
import { type BeforeLimits, defaultBeforeLimits } from "./limits.ts";
import { type Mover, restoreEntry, stepRegistration, withdrawEntry } from "./moves.ts";
import type { Entry, Registration } from "./own-node.ts";
import type { BeforeContext, BeforeDoorOptions, RealList, RewriteState } from "./owner.ts";
import { type OpenedSession, Passage, type PassageHost } from "./passage.ts";
import { type Places, placesOf } from "./places.ts";
import { BeforeSession, type SessionHost } from "./session.ts";
import { unpackPassage } from "./standing.ts";

/** A registration of an application behind the door, as the owner moves it. */
export interface BeforeRegistration {
  /** Of the session, in hexadecimal digits. */
  readonly session: string;
  readonly path: string;
  readonly meshPath: string;
  readonly instance: Instance;
  readonly state: RewriteState;
}

export interface BeforeConsumer {
  readonly session: string;
  readonly remote: string;
  readonly connected: boolean;
  readonly state: RewriteState;
  /** The lists that it has asked for. */
  readonly lists: readonly string[];
}

/** A provider's node that is not carried: it stays where its application put it. */
export interface UncarriedRegistration {
  readonly session: string;
  readonly path: string;
  readonly instance: Instance;
}

export interface StepOptions {
  /** How long both addresses stand side by side; the door's limit when left out. */
  readonly overlapMs?: number;
  /** Ends the wait between two steps; what has been done stays. */
  readonly signal?: AbortSignal;
}

/** Every step resolves when the ensemble has acknowledged it, or when the client has been told; all may be repeated. */
export interface BeforeDoor extends Door {
  registrations(): readonly BeforeRegistration[];
  uncarried(): readonly UncarriedRegistration[];
  consumers(): readonly BeforeConsumer[];
  /** Brings a registration to a state, one step after the other, without waiting in between. */
  provide(path: string, state: RewriteState): Promise<void>;
  /** Both addresses, until the new one has stood for a while, then that of the mesh alone; the entry of the application goes last. */
  toMesh(path: string, options?: StepOptions): Promise<void>;
  /** The entry of the application comes first; both addresses, a while, then the application's own alone. */
  toDirect(path: string, options?: StepOptions): Promise<void>;
  /** The lists of interfaces that a session has asked for, as the ensemble has them now. */
  lists(session: string): Promise<readonly RealList[]>;
  /** Brings what a session is shown of others to a state. */
  consume(session: string, state: RewriteState): Promise<void>;
  consumerToMesh(session: string, options?: StepOptions): Promise<void>;
  consumerToDirect(session: string, options?: StepOptions): Promise<void>;
  /** What the owner shows has changed. */
  refresh(): void;
}

/** For how long servers count as not knowing what a session owns once one has closed a connection when asked. */
const distrustMs = 600_000;
const pollMs = 50;
const attempts = 5;

export function openBeforeDoor(context: BeforeContext, options: BeforeDoorOptions = {}): BeforeDoor {
  return new EnsembleDoor(context, options);
}

class EnsembleDoor implements BeforeDoor, PassageHost {
  readonly dialect = "zookeeper";
  readonly limits: BeforeLimits;
  readonly clock: Clock;
  readonly told: ThrottledLog;
  readonly partial: PartialBytes;
  readonly owner: BeforeContext["owner"];
  readonly #layouts: Places;
  readonly #kept: KeptEntries;
  readonly #journal: BeforeContext["journal"];
  readonly #applications = new Applications();
  readonly #passages = new Map<Passage, BeforeSession | "learning" | undefined>();
  readonly #sessions = new Map<bigint, BeforeSession>();
  readonly #ending = new Map<bigint, Timer>();
  /** The end of the last step that was asked for. */
  readonly #turns = new WeakMap<Registration, Promise<void>>();
  #walksUntil = 0;
  #closed = false;

  constructor(context: BeforeContext, options: BeforeDoorOptions) {
    this.limits = { ...defaultBeforeLimits, ...options.limits };
    this.clock = context.clock;
    this.owner = context.owner;
    this.told = new ThrottledLog(context);
    this.partial = new PartialBytes(this.limits.partialBytes);
    this.#journal = context.journal;
    this.#kept = new KeptEntries(context.journal);
    const layouts = new Layouts([
      ...(options.dubboRoots ?? ["dubbo"]).map((root) => dubboLayout(root)),
      ...(options.sofaRoots ?? ["sofa-rpc"]).map((root) => sofaLayout(root)),
    ]);
    this.#layouts = placesOf(layouts, options.chroots);
  }

  connect(peer: DoorPeer): DoorConnection {
    const passage = new Passage(this, peer);
    if (this.#closed || this.#passages.size >= this.limits.sessions) passage.cut("the door takes no more connections");
    else this.#passages.set(passage, undefined);
    return passage;
  }

  /** Goes on with a client's connection, and with that to the ensemble, which both stood still at another door. */
  adopt(peer: DoorPeer, { state, unread: [, ofEnsemble = Buffer.alloc(0)] }: Standing): DoorConnection | undefined {
    const standing = unpackPassage(state);
    if (standing === undefined || this.#closed) return undefined;
    if (standing === "new") return this.connect(peer);
    const { session: id } = standing;
    if (this.#sessions.get(id)?.passage !== undefined) return undefined;
    const passage = new Passage(this, peer);
    const session = new BeforeSession({ id, host: this.#hostOf(id, peer.remote) });
    this.#ending.get(id)?.cancel();
    this.#ending.delete(id);
    this.#passages.set(passage, session);
    this.#sessions.set(id, session);
    this.#kept.restore(id, session.nodes, []);
    session.passage = passage;
    if (passage.resume(session, standing, ofEnsemble)) {
      session.resume(passage, standing);
      return passage;
    }
    this.stood(passage);
    return undefined;
  }

  stood(passage: Passage): void {
    const session = this.#passages.get(passage);
    this.#passages.delete(passage);
    if (session === undefined || session === "learning" || session.passage !== passage) return;
    session.nodes.detach("ensemble");
    session.passage = undefined;
    this.#sessions.delete(session.id);
  }

  sessions(): readonly DoorSession[] {
    return [...this.#sessions.values()].map((session) => {
      const registrations = [...session.nodes.registrations.values()];
      const application = registrations[0]?.instance.application ?? [...session.nodes.entries.values()][0]?.application;
      return {
        id: session.id.toString(16),
        remote: session.remote,
        application: application ?? "",
        publishes: [...new Set(registrations.map(({ instance }) => instance.service))].sort(),
        watches: session.lists.paths,
        bypassed: [...session.nodes.entries.values()]
          .filter((entry) => !this.#isRegistered(entry.application))
          .map(({ path }) => ({ registration: path, reason: "application-level only" })),
      };
    });
  }

  registrations(): readonly BeforeRegistration[] {
    return [...this.#sessions.values()].flatMap((session) =>
      [...session.nodes.registrations.values()].map(({ path, meshPath, instance, state }) => ({
        session: session.id.toString(16),
        path,
        meshPath,
        instance,
        state,
      })),
    );
  }

  uncarried(): readonly UncarriedRegistration[] {
    return [...this.#sessions.values()].flatMap((session) =>
      [...session.nodes.uncarried].map(([path, instance]) => ({ session: session.id.toString(16), path, instance })),
    );
  }

  consumers(): readonly BeforeConsumer[] {
    return [...this.#sessions.values()].map((session) => ({
      session: session.id.toString(16),
      remote: session.remote,
      connected: session.mover !== undefined,
      state: session.lists.state,
      lists: session.lists.paths,
    }));
  }

  async provide(path: string, state: RewriteState): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const { session, registration } = this.#registration(path);
      if (registration.state === state) return;
      try {
        await this.#inTurn(registration, async () => {
          const mover = await this.#live(session);
          const from = registration.state;
          if (from === state) return;
          if (from === "direct") await this.#carry(mover, registration);
          await session.step(() => stepRegistration(mover, registration, from === "both" ? state : "both"));
          if (from !== "both") registration.since[from === "direct" ? "mesh" : "real"] = this.clock.now();
        });
      } catch (error) {
        // The session comes back by itself, and then says what stands at the ensemble.
        if (!isMeshError(error, "zookeeper.gone") || attempt >= attempts) throw error;
        await sleep(this.clock, pollMs);
      }
    }
  }

  async #carry({ nodes }: Mover, registration: Registration): Promise<void> {
    const at = await this.owner.carried(registration.instance);
    if (at === undefined)
      throw new MeshError("zookeeper.not-carried", `nobody can reach ${registration.path} in the mesh`);
    if (registration.state === "direct") nodes.readdress(registration, at);
  }

  /** One step of a registration at a time, whoever asks for it. */
  async #inTurn(registration: Registration, step: () => Promise<void>): Promise<void> {
    const turn = (this.#turns.get(registration) ?? Promise.resolve()).then(step);
    const over = turn.catch(() => undefined); // told to the one who asked for it
    this.#turns.set(registration, over);
    await turn;
  }

  async toMesh(path: string, options: StepOptions = {}): Promise<void> {
    const { instance, state } = this.#registration(path).registration;
    if (state !== "mesh") {
      await this.provide(path, "both");
      await this.#overlap(() => this.#registration(path).registration.since.mesh, options);
      await this.provide(path, "mesh");
    }
    await this.#withdrawEntries(instance);
  }

  async toDirect(path: string, options: StepOptions = {}): Promise<void> {
    const { instance, state } = this.#registration(path).registration;
    if (state !== "direct") await this.provide(path, "both");
    await this.#restoreEntries(instance);
    if (this.#registration(path).registration.state === "direct") return;
    await this.#overlap(() => this.#registration(path).registration.since.real, options);
    await this.provide(path, "direct");
  }

  /** Waits until what came last has stood for long enough: what has always been there needs no wait. */
  async #overlap(since: () => number, { overlapMs = this.limits.overlapMs, signal }: StepOptions): Promise<void> {
    signal?.throwIfAborted();
    for (;;) {
      const leftMs = since() + overlapMs - this.clock.now();
      if (leftMs <= 0) return;
      await sleep(this.clock, leftMs, signal);
    }
  }

  async lists(id: string): Promise<readonly RealList[]> {
    const session = this.#session(id);
    await this.#live(session);
    return session.step(() => session.lists.real());
  }

  async consume(id: string, state: RewriteState): Promise<void> {
    const session = this.#session(id);
    for (let attempt = 1; ; attempt += 1) {
      const { passage } = await this.#live(session);
      const { lists } = session;
      const from = lists.state;
      await session.step(() => lists.move(state));
      if (state === "both" && from !== "both") lists.since[from === "direct" ? "mesh" : "real"] = this.clock.now();
      if (session.passage === passage || attempt >= attempts) return;
    }
  }

  consumerToMesh(id: string, options: StepOptions = {}): Promise<void> {
    return this.#consumerTo(id, "mesh", options);
  }

  consumerToDirect(id: string, options: StepOptions = {}): Promise<void> {
    return this.#consumerTo(id, "direct", options);
  }

  async #consumerTo(id: string, to: "direct" | "mesh", options: StepOptions): Promise<void> {
    if (this.#session(id).lists.state === to) return;
    if (this.#session(id).lists.state !== "both") await this.consume(id, "both");
    await this.#overlap(() => this.#session(id).lists.since[to === "mesh" ? "mesh" : "real"], options);
    await this.consume(id, to);
  }

  refresh(): void {
    for (const session of this.#sessions.values()) session.lists.showAll();
  }

  async opened(passage: Passage, opened: OpenedSession): Promise<BeforeSession> {
    this.#passages.set(passage, "learning");
    const owned = opened.resumed ? await this.#owned(passage, opened.id) : [];
    if (!this.#passages.has(passage)) throw new MeshError("zookeeper.gone", "the connection ended while it was opened");
    this.#ending.get(opened.id)?.cancel();
    this.#ending.delete(opened.id);
    let session = this.#sessions.get(opened.id);
    if (session === undefined) {
      if (this.#sessions.size >= 2 * this.limits.sessions)
        throw new MeshError("zookeeper.full", "more sessions go through the door than it may keep");
      session = new BeforeSession({ id: opened.id, host: this.#hostOf(opened.id, passage.remote) });
      const { consumes } = this.owner.modes({ id: opened.id.toString(16), remote: passage.remote });
      session.lists.state = consumes;
      this.#sessions.set(opened.id, session);
    } else if (session.passage !== undefined) session.detach("ensemble"); // its former connection is about to be closed
    this.#kept.restore(opened.id, session.nodes, owned);
    session.attach(passage, opened.timeoutMs, owned);
    this.#passages.set(passage, session);
    return session;
  }

  expired(id: bigint): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) this.#end(session);
  }

  closing(passage: Passage, by: "client" | "ensemble"): void {
    const session = this.#passages.get(passage);
    this.#passages.delete(passage);
    if (session === "learning") {
      if (by === "ensemble") this.#walksUntil = this.clock.now() + distrustMs;
      return;
    }
    if (session === undefined || session.passage !== passage) return;
    session.detach(by);
    if (session.ended) return this.#end(session);
    const timer = this.clock.after(session.timeoutMs * 2, () => this.#end(session));
    this.#ending.set(session.id, timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const passage of [...this.#passages.keys()]) passage.end();
    for (const timer of this.#ending.values()) timer.cancel();
    this.#sessions.clear();
    await this.#said(this.#journal.flushed());
  }

  #hostOf(id: bigint, remote: string): SessionHost {
    const { limits, clock, told, owner } = this;
    return {
      limits,
      clock,
      told,
      owner,
      layouts: this.#layouts,
      applications: this.#applications,
      begins: () => owner.modes({ id: id.toString(16), remote }).provides,
      withdraws: (application, name) => this.#withdraws(application, name),
      kept: (entry) => void this.#said(this.#kept.keep(id, entry)),
      begunInMesh: ({ instance }) => void this.#said(this.#withdrawEntries(instance)),
    };
  }

  /** What a session owns, as far as it can be learnt in time. */
  async #owned(passage: Passage, id: bigint): Promise<readonly string[]> {
    const { limits, told, clock } = this;
    const found: string[] = [];
    const enough = new AbortController();
    const patience = sleep(clock, limits.learnMs, enough.signal).then(
      () => false,
      () => true,
    );
    const all = await Promise.race([this.#learn(passage, id, found), patience]);
    enough.abort();
    if (!all)
      told.warn(passage.remote, { session: id.toString(16) }, "it could not be learnt in time what a session owns");
    if (found.length > limits.ephemerals)
      told.warn(
        passage.remote,
        { session: id.toString(16), owned: found.length },
        "a session owns more than is kept in mind",
      );
    return found.slice(0, limits.ephemerals);
  }

  async #learn(passage: Passage, id: bigint, found: string[]): Promise<boolean> {
    if (this.clock.now() >= this.#walksUntil) {
      const paths = await ownedByAsking(passage);
      if (paths !== undefined) {
        for (const path of paths) found.push(path);
        return true;
      }
      this.#walksUntil = this.clock.now() + distrustMs;
    }
    return ownedByWalking({
      passage,
      sessionId: id,
      layouts: this.#layouts,
      maxNodes: this.limits.walkedNodes,
      found: (path) => found.push(path),
    });
  }

  #end(session: BeforeSession): void {
    if (session.passage !== undefined) return;
    this.#ending.get(session.id)?.cancel();
    this.#ending.delete(session.id);
    this.#sessions.delete(session.id);
    this.#kept.forget(session.id);
  }

  #session(id: string): BeforeSession {
    const session = /^[0-9a-f]+$/.test(id) ? this.#sessions.get(BigInt(`0x${id}`)) : undefined;
    if (session === undefined)
      throw new MeshError("zookeeper.unknown", `no session ${id} goes through this door`, { id });
    return session;
  }

  #isRegistered(application: string): boolean {
    for (const { nodes } of this.#sessions.values())
      for (const { instance } of nodes.registrations.values()) if (instance.application === application) return true;
    return false;
  }

  /** Of several sessions in which an application has put it, the one that is there. */
  #registration(path: string): { session: BeforeSession; registration: Registration } {
    let found: { session: BeforeSession; registration: Registration } | undefined;
    for (const session of this.#sessions.values()) {
      const registration = session.nodes.registrations.get(path);
      if (registration !== undefined && (found === undefined || session.mover !== undefined))
        found = { session, registration };
    }
    if (found === undefined)
      throw new MeshError("zookeeper.unknown", `no application behind this door registers ${path}`, { path });
    return found;
  }

  async #live(session: BeforeSession): Promise<Mover> {
    const until = this.clock.now() + this.limits.awayMs;
    for (;;) {
      const { mover } = session;
      if (mover !== undefined) return mover;
      if (this.clock.now() >= until || this.#sessions.get(session.id) !== session)
        throw new MeshError("zookeeper.away", `session ${session.id.toString(16)} is not connected`);
      await sleep(this.clock, pollMs);
    }
  }

  /** The entries by which consumers would find an instance past the interface lists. */
  #entriesOf({ application, host }: Instance): { session: BeforeSession; entry: Entry }[] {
    return [...this.#sessions.values()].flatMap((session) =>
      [...session.nodes.entries.values()]
        .filter((entry) => entry.application === application && isAt(entry.name, host))
        .map((entry) => ({ session, entry })),
    );
  }

  #withdraws(application: string, name: string): boolean {
    for (const { nodes } of this.#sessions.values())
      for (const { state, instance } of nodes.registrations.values())
        if (state === "mesh" && instance.application === application && isAt(name, instance.host)) return true;
    return false;
  }

  async #withdrawEntries(instance: Instance): Promise<void> {
    for (const { session, entry } of this.#entriesOf(instance)) {
      if (entry.withdrawn !== undefined) continue;
      const mover = await this.#live(session);
      await session.step(() => withdrawEntry(mover, entry, () => this.#kept.keep(session.id, entry)));
    }
  }

  async #restoreEntries(instance: Instance): Promise<void> {
    for (const { session, entry } of this.#entriesOf(instance)) {
      if (entry.withdrawn === undefined) continue;
      const mover = await this.#live(session);
      await session.step(async () => {
        await restoreEntry(mover, entry);
        // What stands at the ensemble is not put there again, whatever a disk says that did not take this.
        await this.#said(this.#kept.keep(session.id, entry));
      });
    }
  }

  /** Resolves when it is done or has failed, which is told. */
  #said(task: Promise<void>): Promise<void> {
    return task.catch((error: unknown) =>
      this.told.error("", { error: messageOf(error) }, "an entry of an application could not be taken back or kept"),
    );
  }
}

/** `host:port`, also of an address with colons of its own. */
function isAt(name: string, host: string): boolean {
  return name.startsWith(`${host}:`) || name.startsWith(`[${host}]:`);
}
