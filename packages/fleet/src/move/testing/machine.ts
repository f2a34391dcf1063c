/**
 * A machine in memory for tests of movers: processes with registry sessions, one sidecar with crossings that outlive it, rules, and the two
 * lists that others and the process itself see. It follows the contracts of the real ones, and says what nobody may ever see:
 * a list without an address, an address that nobody serves, a session that ends, a rule that leads to nobody.
 */
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Random } from "@dualmesh/base/random";
import type { Crossing, CrossingStepArguments, Place } from "@dualmesh/model/crossing";
import type { CatchRule, FlowAddress, ForwardRule } from "../../host/host.ts";

/** What the client library does. */
const sessionMs = 40_000;
const redialMs = 1_000;
/** Callers use an address for so long after it has left their list. */
const laggardMs = 6_000;
const lookMs = 100;
/** As `liveness.ts` finds it out. */
const hangSeenMs = 6_000;
/** All services share it, as with the real one. */
const publishedPort = 20_881;
const firstAppPort = 20_880;
export const machineHost = "10.1.1.2";
export const registryServer = "10.1.1.9:2181";

export interface SimProcess {
  readonly pid: number;
  readonly started: number;
  lives: boolean;
  /** Where it listens. */
  readonly appPorts: readonly number[];
  /** Those that it has not closed. */
  readonly sessions: SimSession[];
  /** What its registry says of it. */
  readonly node: AddressList;
  /** What it is shown of others. */
  readonly shown: AddressList;
}

interface SimSession {
  readonly id: string;
  local: number;
  way: "direct" | "door" | "none";
  lostAt: number;
}

type Kind = "direct" | "mesh";

/** A list of addresses as others see it, who go on for a while with what has left it. */
class AddressList {
  readonly now = new Set<Kind>(["direct"]);
  readonly #left = new Map<Kind, number>();
  readonly #clock: FakeClock;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  add(kind: Kind): void {
    this.now.add(kind);
  }

  remove(kind: Kind): void {
    if (this.now.delete(kind)) this.#left.set(kind, this.#clock.now());
  }

  /** A list that was read anew. */
  reset(kind: Kind): void {
    this.now.clear();
    this.#left.clear();
    this.now.add(kind);
  }

  uses(kind: Kind): boolean {
    return this.now.has(kind) || this.#clock.now() - (this.#left.get(kind) ?? Number.NEGATIVE_INFINITY) < laggardMs;
  }
}

interface SimCrossing {
  readonly name: string;
  readonly port: number;
  readonly process: SimProcess;
  provides: Place;
  consumes: Place;
  /** Grows with each command, so that one that was overtaken does no more. */
  readonly turns: { provide: number; consume: number };
}

export class Machine {
  readonly clock = new FakeClock();
  readonly random: Random;
  readonly processes: SimProcess[] = [];
  readonly rules = new Map<string, CatchRule>();
  readonly forwards = new Map<string, readonly ForwardRule[]>();
  /** What nobody may see, with its time. */
  readonly wrong: string[] = [];
  /** How long somebody met what a dead sidecar left, in one piece: bounded, but not nothing. */
  longestGapMs = 0;
  #gapMs = 0;
  sidecarRuns = false;
  /** Its state directory. */
  sidecarKeepsState = true;
  /** Whether somebody can start it. */
  sidecarStarts = true;
  /** How its own parent brings it back; 0 when it has none. */
  supervisedMs = 300;
  /** Since when it does nothing any more, though it listens. */
  hangsSince: number | undefined;
  starts = 0;
  tracking = false;
  /** Before its client library dials again. */
  redialAfterMs = 100;
  directoryKind = "zookeeper";
  /** What the sidecar does not do, though it answers. */
  refuses: "provide" | undefined;
  #sidecarLife = 0;
  readonly #crossings = new Map<string, SimCrossing>();
  /** Published ports of closed crossings, until when they are served. */
  readonly #lingering = new Map<string, number>();
  #ended = Promise.withResolvers<never>();
  #port = 40_000;
  #killed = false;

  constructor(random: Random) {
    this.random = random;
    this.clock.every(lookMs, () => this.#look());
  }

  addProcess(pid: number, { sessions = 2, ports = 1 } = {}): SimProcess {
    const first = firstAppPort + this.processes.length * 10;
    const process: SimProcess = {
      pid,
      started: pid * 7,
      lives: true,
      appPorts: Array.from({ length: ports }, (_, index) => first + index),
      sessions: Array.from({ length: sessions }, (_, index) => ({
        id: `${pid}-${index}`,
        local: this.#nextPort(),
        way: "direct",
        lostAt: 0,
      })),
      node: new AddressList(this.clock),
      shown: new AddressList(this.clock),
    };
    this.processes.push(process);
    return process;
  }

  endProcess(process: SimProcess): void {
    process.lives = false;
    process.node.reset("direct");
    process.shown.reset("direct");
    for (const session of process.sessions) session.way = "none";
  }

  /** By itself, as an application does that needs its registry no more: what it wrote there ends with its sessions. */
  closeSessions(process: SimProcess): void {
    process.sessions.length = 0;
    process.node.reset("direct");
    process.shown.reset("direct");
  }

  flows(process: SimProcess): readonly FlowAddress[] {
    return process.sessions.flatMap(({ way, local }) =>
      way === "none" ? [] : [{ local: { host: machineHost, port: local }, remote: { host: "10.1.1.9", port: 2181 } }],
    );
  }

  cut(flow: FlowAddress): boolean {
    for (const process of this.processes) {
      for (const session of process.sessions) {
        if (session.way === "none" || session.local !== flow.local.port) continue;
        const leads = this.#ruleFor(process) !== undefined;
        if (session.way === "direct" && !leads && this.seemsToAnswer)
          this.#say("a direct session is cut and no rule leads it");
        if (session.way === "door" && leads) this.#say("a session is cut from the door to which a rule leads it");
        this.#lose(process, session);
        return true;
      }
    }
    return false;
  }

  // --- the sidecar

  startSidecar(): void {
    if (this.sidecarRuns) return;
    this.sidecarRuns = true;
    this.starts++;
    this.#ended = Promise.withResolvers<never>();
    this.#ended.promise.catch(() => undefined); // nobody may be asking it anything
    this.#sidecarLife++;
  }

  /** By `kill -9`. */
  killSidecar(isForGood = false): void {
    this.#killed = true;
    if (isForGood) this.supervisedMs = 0;
    this.#stopSidecar();
    if (this.supervisedMs > 0) this.clock.after(this.supervisedMs, () => this.startSidecar());
  }

  hangSidecar(isForGood = false): void {
    this.#killed = true;
    if (isForGood) this.supervisedMs = 0;
    this.hangsSince = this.clock.now();
    this.#sidecarLife++;
  }

  /** What is asked of it five times a second says so only after a while. */
  get seemsToAnswer(): boolean {
    return this.sidecarRuns && (this.hangsSince === undefined || this.clock.now() - this.hangsSince < hangSeenMs);
  }

  get #works(): boolean {
    return this.sidecarRuns && this.hangsSince === undefined;
  }

  /** In order: nothing may depend on it any more. */
  endSidecar(): void {
    for (const process of this.processes) {
      if (!process.lives) continue;
      if (process.node.uses("mesh") && this.#handedTo() === undefined) this.#say("a sidecar ends that callers use");
      if (process.shown.uses("mesh")) this.#say("a sidecar ends that the process calls through");
      if (process.sessions.some(({ way }) => way === "door")) this.#say("a sidecar ends with a session at its door");
    }
    this.#stopSidecar();
  }

  /** Rejects when the sidecar that runs now has ended, as a connection to it does. */
  untilItEnds(): Promise<never> {
    return this.#ended.promise;
  }

  #stopSidecar(): void {
    this.sidecarRuns = false;
    this.hangsSince = undefined;
    this.#ended.reject(away());
    this.#sidecarLife++;
    for (const process of this.processes)
      for (const session of process.sessions) if (session.way === "door") this.#lose(process, session);
  }

  open(name: string, process: SimProcess): Crossing {
    let crossing = this.#crossings.get(name);
    if (crossing === undefined) {
      const turns = { provide: 0, consume: 0 };
      crossing = { name, port: this.#nextPort(), process, provides: "direct", consumes: "direct", turns };
      this.#crossings.set(name, crossing);
    }
    return this.#shown(crossing);
  }

  close(name: string): void {
    if (!this.#crossings.delete(name)) throw unknown(name);
    this.#lingering.set(name, this.clock.now() + 30_000);
  }

  crossings(): readonly Crossing[] {
    return [...this.#crossings.values()].map((crossing) => this.#shown(crossing));
  }

  provide(asked: CrossingStepArguments): Promise<Crossing> {
    return this.#swap(asked, "provide");
  }

  consume(asked: CrossingStepArguments): Promise<Crossing> {
    return this.#swap(asked, "consume");
  }

  async #swap(asked: CrossingStepArguments, what: "provide" | "consume"): Promise<Crossing> {
    const crossing = this.#crossings.get(asked.name);
    if (crossing === undefined) throw unknown(asked.name);
    if (this.refuses === what && asked.to === "mesh") throw new MeshError("crossing.refused", `it does not ${what}`);
    const life = this.#sidecarLife;
    if (what === "provide") crossing.provides = asked.to;
    else crossing.consumes = asked.to;
    await this.#bring(crossing, what, asked.to, asked.overlapMs ?? 6_000, life);
    if (this.hangsSince !== undefined) await this.untilItEnds();
    if (this.#sidecarLife !== life) throw away();
    return this.#shown(crossing);
  }

  /** Sessions that come through begin as was decided for the mesh; what they wrote there stays theirs until somebody asks for it back. */
  async #goOn(crossing: SimCrossing): Promise<void> {
    const life = this.#sidecarLife;
    if (crossing.provides === "mesh") await this.#bring(crossing, "provide", "mesh", 6_000, life);
    if (crossing.consumes === "mesh") await this.#bring(crossing, "consume", "mesh", 6_000, life);
  }

  async #bring(
    crossing: SimCrossing,
    what: "provide" | "consume",
    to: Place,
    overlapMs: number,
    life: number,
  ): Promise<void> {
    const turn = ++crossing.turns[what];
    const list = what === "provide" ? crossing.process.node : crossing.process.shown;
    const isCurrent = (): boolean => this.#sidecarLife === life && crossing.turns[what] === turn;
    const isThere = (): boolean => crossing.process.sessions.every(({ way }) => way === "door");
    // Only what stands at the doors can be swapped; the others begin as was decided.
    if (!isThere()) return;
    if (list.now.size === 1 && list.now.has(to)) return;
    await this.#after(20);
    if (!isCurrent()) return;
    list.add(to);
    await this.#after(overlapMs);
    if (!isCurrent() || !isThere()) return;
    list.remove(to === "mesh" ? "direct" : "mesh");
  }

  #shown(crossing: SimCrossing): Crossing {
    const { name, port, process, provides, consumes } = crossing;
    const led = process.sessions.filter(({ way }) => way === "door");
    const stateOf = ({ now }: AddressList): Place | "both" =>
      now.size > 1 ? "both" : now.has("mesh") ? "mesh" : "direct";
    return {
      name,
      doors: [{ server: registryServer, port }],
      chroots: [],
      host: machineHost,
      provides,
      consumes,
      sessions: process.sessions.map(({ id, local, way }) => ({
        id,
        remote: `${machineHost}:${local}`,
        connected: way === "door",
        consumes: stateOf(process.shown),
        lists: ["/dubbo/fx.Rates/providers"],
      })),
      registrations: (process.sessions.length === 0 ? [] : process.appPorts).map((appPort, index) => ({
        session: process.sessions[0]?.id ?? "",
        path: `/dubbo/fx.Greeter${index || ""}/providers/${process.pid}`,
        service: `dubbo/fx.Greeter${index || ""}::`,
        application: "app",
        host: machineHost,
        appPort,
        published: `${machineHost}:${publishedPort}`,
        bypassed: "",
        state: stateOf(process.node),
      })),
      connections: led.length,
    };
  }

  // --- the process's client library

  #lose(process: SimProcess, session: SimSession): void {
    session.way = "none";
    session.lostAt = this.clock.now();
    this.#redial(process, session);
  }

  #redial(process: SimProcess, session: SimSession): void {
    this.clock.after(this.redialAfterMs + this.random.next() * redialMs, () => {
      if (!process.lives || session.way !== "none") return;
      const rule = this.#ruleFor(process);
      if (rule === undefined) {
        session.way = "direct";
        // Both frameworks read their lists again; nobody rewrites them now.
        process.shown.reset("direct");
      } else if (this.#doorOf(rule) === undefined) return this.#redial(process, session);
      else session.way = "door";
      session.local = this.#nextPort();
      const crossing = rule === undefined ? undefined : this.#doorOf(rule);
      if (crossing !== undefined) void this.#goOn(crossing);
    });
  }

  #ruleFor(process: SimProcess): CatchRule | undefined {
    return [...this.rules.values()].find(({ name }) => name === `p${process.pid}-${process.started}`);
  }

  #doorOf(rule: CatchRule): SimCrossing | undefined {
    if (!this.#works) return undefined;
    return [...this.#crossings.values()].find(({ port }) => rule.ways.some((way) => way.port === port));
  }

  // --- what must stay true

  #look(): void {
    const now = this.clock.now();
    const gapMs = this.#gapMs;
    for (const process of this.processes) {
      if (!process.lives) continue;
      const name = `p${process.pid}-${process.started}`;
      if (process.node.now.size === 0 || process.shown.now.size === 0) this.#say("a list is empty");
      for (const { way, lostAt } of process.sessions)
        if (now - (way === "none" ? lostAt : way === "door" ? (this.hangsSince ?? now) : now) >= sessionMs)
          this.#say("a session has ended");
      const rule = this.#ruleFor(process);
      if (rule !== undefined && this.#doorOf(rule) === undefined) this.#unserved("a rule leads to nobody");
      const handedTo = this.#handedTo();
      const isServed =
        handedTo !== undefined ||
        (this.#works && (this.#crossings.has(name) || now < (this.#lingering.get(name) ?? 0)));
      if (process.node.uses("mesh") && !isServed) this.#unserved("a published port is served by nobody");
      // One who calls a service of it is handed on to a port of it that offers another, or of another process.
      if (process.node.uses("mesh") && handedTo !== undefined && process.appPorts.some((port) => port !== handedTo))
        this.#say("calls arrive at a wrong application");
      if (process.shown.uses("mesh") && !this.#works) this.#unserved("the process calls through nobody");
    }
    if (this.#gapMs === gapMs) this.#gapMs = 0;
    else this.#gapMs = gapMs + lookMs;
    this.longestGapMs = Math.max(this.longestGapMs, this.#gapMs);
  }

  /** A sidecar that was killed leaves a gap, which is measured; whoever else makes one is wrong. */
  #unserved(text: string): void {
    if (this.#killed) this.#gapMs += lookMs;
    else this.#say(text);
  }

  #say(text: string): void {
    if (this.wrong.length < 20) this.wrong.push(`${Math.round(this.clock.now())} ms: ${text}`);
  }

  /** The first rule that translates a connection is the only one. */
  #handedTo(): number | undefined {
    return [...this.forwards.values()].flat().find(({ published }) => published.port === publishedPort)?.appPort;
  }

  #nextPort(): number {
    return this.#port++;
  }

  #after(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }
}

export function away(): MeshError {
  return new MeshError("control.unreachable", "nobody listens");
}

function unknown(name: string): MeshError {
  return new MeshError("crossing.unknown", `there is no crossing ${name}`);
}
