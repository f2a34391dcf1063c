/**
 * Real Java applications of the mesh while it is upgraded: a provider and a consumer of one framework, each behind a sidecar by whose doors it came in, under a constant load
 * with slow calls in flight; both sidecars are upgraded in turn, and at last at the same time. No call may fail, nobody may have to connect again who need not,
 * and nobody else may see that anything has happened.
 */
import { systemClock } from "@dualmesh/base/clock";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import type { UpgradeEnd } from "@dualmesh/sidecar/upgrade/old-side";
import { callsOf, describeCalls, type Span } from "../interop/calls.ts";
import { buildFixtures } from "../interop/fixtures.ts";
import { connectionsOf } from "../interop/path.ts";
import { type Implementation, implementations, serviceOf } from "../interop/plan.ts";
import { eventually, type Program } from "../interop/program.ts";
import { Recorder } from "../interop/recorder.ts";
import { freePort, World } from "../interop/world.ts";
import {
  ConnectionWitness,
  EurekaWitness,
  type RegistryCounts,
  RegistryWitness,
  registryCounts,
} from "./java-witnesses.ts";
import { median } from "./row.ts";

export const javaFrameworks = ["dubbo27", "dubbo3", "sofarpc", "spring"] as const;
export type JavaFramework = (typeof javaFrameworks)[number];

export interface JavaOptions {
  readonly framework: JavaFramework;
  /** Of each of the two sidecars. */
  readonly upgrades: number;
  readonly each?: (line: string) => void;
}

export interface JavaEnd {
  readonly note: string;
  readonly faults: readonly string[];
  readonly calls: number;
  readonly upgrades: number;
}

const sides = ["consumers", "providers"] as const;
type Side = (typeof sides)[number];

/** Calls a second, and how long the provider takes for each. */
const pumps = [
  { rate: 40, millis: 0 },
  { rate: 20, millis: 1 },
  { rate: 4, millis: 1_500 },
] as const;
const slowestMs = 1_500;
/** What a call may take beyond what its provider does: the patience of Dubbo's and SOFA-RPC's clients. Spring's wait for 20 s. */
const delayMs = 3_000;
const reachMs = 30_000;
const upgradeMs = 90_000;
const steadyMs = 2_000;
/** Calls of the shortest kind that begin between two upgrades. */
const between = 30;
/** Of Dubbo and SOFA-RPC, which offer a service without a group and in two. */
const registryRoots: Readonly<Record<string, string>> = { dubbo27: "dubbo", dubbo3: "dubbo", sofarpc: "sofa-rpc" };

/** Why it cannot be played here, or undefined. Builds what must be built: for who has taken the turn (interop/turn.ts). */
export function whyNoJava(): string | undefined {
  return whyNoHandles(process) ?? buildFixtures();
}

/** For who has taken the turn. */
export async function playJava(options: JavaOptions): Promise<JavaEnd> {
  await using world = await World.start();
  try {
    return await new Play(world, options).run();
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${world.tails()}`, { cause: error });
  }
}

class Play {
  readonly #world: World;
  readonly #options: JavaOptions;
  readonly #implementation: Implementation;
  readonly #service: string;
  readonly #faults: string[] = [];
  readonly #upgrades: UpgradeEnd[] = [];
  /** The process that is each sidecar now. */
  readonly #pids = new Map<Side, number>();
  #programs: Readonly<Record<Side, Program>> | undefined;
  #providerPort = 0;
  /** Connections that the provider had from another process after an upgrade. */
  #renewed = 0;

  constructor(world: World, options: JavaOptions) {
    this.#world = world;
    this.#options = options;
    const found = implementations.find(({ name }) => name === options.framework);
    if (found === undefined) throw new Error(`no ${options.framework}`);
    this.#implementation = found;
    this.#service = serviceOf(found, "mesh");
  }

  async run(): Promise<JavaEnd> {
    const { consumers: consumer, providers: provider } = await this.#start();
    const admin = this.#world.adminAddress("registry");
    const { services } = await registryCounts(admin);
    await using witness = new RegistryWitness(this.#world.registryPorts.stream, services);
    using lists = await this.#lists();
    await eventually("the registry has answered", 10_000, () => witness.offered === services.length);
    using near = new ConnectionWitness(() => this.#nearCalls());
    await pause(steadyMs);
    const usual = near.ended;
    const [before, toldBefore, from] = [await registryCounts(admin), witness.told, systemClock.wall()];
    const held = this.#held();
    await this.#upgradeAll();
    await pause(steadyMs);
    const to = systemClock.wall();
    const after = await registryCounts(admin);
    this.#sameRegistry(before, after, witness.told - toldBefore);
    const kept = this.#isSpring ? this.#lasting(near, usual, to - from) : `${held.length} connections kept`;
    this.#same("the connections that are not to be made again", held, this.#held());
    if (!(await consumer.ask("stop")).ok) this.#faults.push("calls are still under way 10 s after the last began");
    const told = this.#judge(consumer, { from, to });
    if (witness.emptied > 0)
      this.#faults.push(`the registry had a service without an instance ${witness.emptied} times`);
    near[Symbol.dispose]();
    const seen = await lists.end(() => provider.end());
    await eventually("the registry tells that the provider has died", 30_000, () => witness.emptied > 0);
    return {
      note: this.#note(told, kept, seen),
      ...{ faults: this.#faults.slice(0, 30), calls: told.calls, upgrades: this.#upgrades.length },
    };
  }

  // ---- the applications ----

  async #start(): Promise<Readonly<Record<Side, Program>>> {
    const world = this.#world;
    this.#providerPort = await freePort();
    const [provider, consumer] = await Promise.all([
      world.startProvider(this.#implementation, "mesh", {
        service: this.#service,
        name: "only",
        port: this.#providerPort,
      }),
      world.startConsumer(this.#implementation, "mesh"),
    ]);
    const programs = { providers: provider, consumers: consumer };
    this.#programs = programs;
    for (const side of sides) this.#pids.set(side, world.sidecar(side).pid ?? 0);
    await eventually("the provider is reached", reachMs, async () => {
      return (await consumer.ask(`case reach ${this.#service}`)).ok;
    });
    for (const { rate, millis } of pumps) {
      const { ok, reason } = await consumer.ask(`pump ${this.#service} ${rate} ${millis}`);
      if (!ok) throw new Error(`the load does not start: ${reason}`);
    }
    await eventually("slow calls are answered", reachMs, () =>
      consumer.said.some(({ of, who }) => of === slowestMs && who !== undefined),
    );
    return programs;
  }

  #programsOf(): Readonly<Record<Side, Program>> {
    if (this.#programs === undefined) throw new Error("nothing was started");
    return this.#programs;
  }

  get #isSpring(): boolean {
    return this.#options.framework === "spring";
  }

  // ---- upgrades ----

  /** In turn, but for the last of each, which are at the same time. */
  async #upgradeAll(): Promise<void> {
    const { upgrades } = this.#options;
    for (let index = 1; index < upgrades; index++)
      for (const side of sides) {
        await this.#upgradeAndTell(`${index}, ${side}`, [side]);
        await this.#called();
      }
    await this.#upgradeAndTell(`${upgrades}, both`, sides);
    await this.#called();
  }

  async #upgradeAndTell(name: string, which: readonly Side[]): Promise<void> {
    const ends = await this.#upgrade(which);
    this.#options.each?.(`${name}: ${lineOf(ends)}`);
  }

  async #upgrade(which: readonly Side[]): Promise<readonly UpgradeEnd[]> {
    const [provided, far] = [this.#providedCalls(), this.#farCalls()];
    const ends = await Promise.all(
      which.map(async (side) => {
        const state = this.#world.statePath(side);
        const end = (await callControl(controlPath(state), "upgrade", {}, { timeoutMs: upgradeMs })) as UpgradeEnd;
        if (end.pid === this.#pids.get(side)) this.#faults.push(`the sidecar of ${side} is the same process`);
        this.#pids.set(side, end.pid);
        return end;
      }),
    );
    this.#upgrades.push(...ends);
    for (const { cut } of ends)
      if (Object.keys(cut).length > 0) this.#faults.push(`connections were cut: ${JSON.stringify(cut)}`);
    this.#renewed += missing(this.#providedCalls(), provided);
    // Connections to a sidecar go to its new process, those that it made end with the old one. HTTP's may end for many reasons.
    if (!which.includes("consumers") && !this.#isSpring)
      this.#same("the connections from sidecar to sidecar", far, this.#farCalls());
    return ends;
  }

  async #called(): Promise<void> {
    const { consumers } = this.#programsOf();
    const wanted = consumers.said.length + between;
    await eventually("calls are answered after an upgrade", 10_000, () => consumers.said.length >= wanted);
  }

  // ---- connections, as the kernel has them ----

  /** What has to be the same from before the first upgrade until after the last: Dubbo's and SOFA-RPC's connections for calls, and those for ZooKeeper. */
  #held(): readonly string[] {
    if (this.#isSpring) return [];
    const { consumers, providers } = this.#programsOf();
    const doors = sides.flatMap((side) => {
      const all = portsTo(side === "consumers" ? consumers : providers, [this.#world.portsOf(side).zookeeper]);
      return all.map((port) => `${side} to ZooKeeper from ${port}`);
    });
    return [...this.#nearCalls().map((port) => `for calls from ${port}`), ...doors];
  }

  /** From the consumer to its sidecar. */
  #nearCalls(): readonly number[] {
    return portsTo(this.#programsOf().consumers, [this.#world.portsOf("consumers").outbound]);
  }

  /** From the one sidecar to the other. */
  #farCalls(): readonly number[] {
    const { inbound, published } = this.#world.portsOf("providers");
    const isFar = (port: number): boolean => port === inbound || (port >= published.from && port <= published.to);
    const all = connectionsOf(this.#pids.get("consumers") ?? 0).filter(({ there }) => isFar(there));
    return all.map(({ here }) => here).sort();
  }

  /** Of the provider, from whoever calls it. */
  #providedCalls(): readonly number[] {
    const { pid = 0 } = this.#programsOf().providers;
    return connectionsOf(pid).flatMap(({ here, there }) => (here === this.#providerPort ? [there] : []));
  }

  #same(what: string, before: readonly unknown[], after: readonly unknown[]): void {
    if (before.join() !== after.join())
      this.#faults.push(`${what} were ${before.join(", ")} and are ${after.join(", ")}`);
    if (before.length === 0 && !this.#isSpring) this.#faults.push(`there were none of ${what}`);
  }

  /**
   * Of Spring's two clients the one on the JDK's HttpURLConnection closes some connections by itself every second; the other keeps its own, which were there before the first
   * upgrade and have to be there after the last.
   */
  #lasting({ lasting, ended }: ConnectionWitness, usual: number, upgradesMs: number): string {
    if (lasting === 0) this.#faults.push("no connection of the consumer lasted throughout");
    const [before, meanwhile] = [usual / steadyMs, (ended - usual) / upgradesMs].map((one) => (one * 1_000).toFixed(1));
    return `${lasting} connections lasted, ${meanwhile} of others ended a second (${before} before)`;
  }

  // ---- what others see ----

  /** The list as the consumer's sidecar shows it, watched by another client of the same door. */
  async #lists(): Promise<Lists> {
    const { zookeeper, eureka } = this.#world.portsOf("consumers");
    if (this.#isSpring)
      return eurekaLists(
        [eureka, this.#world.registryPorts.eureka].map((port) => new EurekaWitness(port, this.#service)),
        this.#faults,
      );
    const root = registryRoots[this.#options.framework];
    const recorder = await Recorder.start(zookeeper, `/${root}/${this.#service}/providers`);
    return zookeeperLists(recorder, this.#faults);
  }

  #sameRegistry(before: RegistryCounts, after: RegistryCounts, told: number): void {
    if (told > 0) this.#faults.push(`a subscriber of the registry was told ${told} lists`);
    if (after.revision !== before.revision)
      this.#faults.push(`the registry's revision was ${before.revision} and is ${after.revision}`);
    const counted = (name: string): number => (after.stream[name] ?? 0) - (before.stream[name] ?? 0);
    // Each process went on with the session of the one before, by its token.
    if (counted("resumed") !== this.#upgrades.length || counted("accepted") !== this.#upgrades.length)
      this.#faults.push(
        `the registry had ${counted("accepted")} connections anew, ${counted("resumed")} of sessions that it knew`,
      );
    for (const [name, count] of Object.entries(after.instances))
      if (name !== "unchanged" && count !== before.instances[name])
        this.#faults.push(`the registry counted ${name} ${count - (before.instances[name] ?? 0)} times`);
  }

  // ---- what the consumer says ----

  #judge(consumer: Program, span: Span): Told {
    const faults = this.#faults;
    for (const [side, program] of Object.entries(this.#programsOf()))
      if (!program.running) faults.push(`the application of ${side} has ended`);
    const calls = callsOf(consumer);
    const failed = calls.filter(({ who }) => who === undefined);
    if (failed.length > 0) faults.push(`${failed.length} calls failed:\n${describeCalls(failed)}`);
    const right = `only:${this.#providerPort}:plain`;
    const strange = calls.filter(({ who }) => who !== undefined && who !== right);
    if (strange.length > 0) faults.push(`${strange.length} were answered by another than ${right}: ${strange[0]?.who}`);
    let worstMs = 0;
    for (const { rate, millis } of pumps) {
      const all = consumer.said.filter(({ call, of }) => of === millis && isWithin(Number(call), span));
      const wanted = ((span.to - span.from) / 1_000) * rate * 0.8;
      if (all.length < wanted)
        faults.push(`${all.length} calls of ${millis} ms where ${Math.ceil(wanted)} were to be made`);
      worstMs = Math.max(worstMs, ...all.map(({ ms }) => Number(ms) - millis));
    }
    if (worstMs > delayMs) faults.push(`a call was delayed by ${worstMs} ms`);
    return { calls: calls.length, failed: failed.length, worstMs };
  }

  #note({ calls, failed, worstMs }: Told, kept: string, seen: string): string {
    const middle = (name: "ms" | "stillMs"): number => median(this.#upgrades.map((one) => one[name]));
    return `${failed} of ${calls} calls failed, ${this.#upgrades.length} upgrades of ${middle("ms")} ms, still ${middle("stillMs")} ms (medians), ${kept}, ${this.#renewed} renewed to the provider, worst delay ${worstMs} ms; ${seen}`;
  }
}

interface Told {
  readonly calls: number;
  readonly failed: number;
  readonly worstMs: number;
}

interface Lists extends Disposable {
  /** Judges, then kills the provider, which has to be seen: who sees nothing proves nothing. */
  end(kill: () => Promise<void>): Promise<string>;
}

function zookeeperLists(recorder: Recorder, faults: string[]): Lists {
  return {
    async end(kill) {
      const told = recorder.hear().history.length;
      if (told > 0) faults.push(`a client of the ZooKeeper door was told ${recorder.history.join(", ")}`);
      await kill();
      await eventually("a client of the ZooKeeper door is told that the provider has died", 30_000, () => {
        return recorder.hear().emptied > 0;
      });
      return `${told} changes seen at the ZooKeeper door`;
    },
    [Symbol.dispose]: () => recorder[Symbol.dispose](),
  };
}

function eurekaLists(witnesses: readonly EurekaWitness[], faults: string[]): Lists {
  return {
    async end(kill) {
      const notes = witnesses.map(({ seen, others, unanswered }) => {
        if (others.length > 0) faults.push(`a Eureka door answered ${others.length} times ${others[0]}`);
        if (seen === 0) faults.push("a Eureka door has never shown the instance");
        return `${seen} (${unanswered} without an answer)`;
      });
      await kill();
      await eventually("the Eureka doors tell that the provider has died", 30_000, () =>
        witnesses.every(({ others }) => others.length > 0),
      );
      return `seen at the Eureka doors of sidecar and registry ${notes.join(" and ")} times`;
    },
    [Symbol.dispose]: () => {
      for (const witness of witnesses) witness[Symbol.dispose]();
    },
  };
}

/** The near ports of a program's connections to any of these. */
function portsTo({ pid = 0 }: Program, ports: readonly number[]): readonly number[] {
  return connectionsOf(pid)
    .flatMap(({ here, there }) => (ports.includes(there) ? [here] : []))
    .sort();
}

/** How many of `all` are not in `among`. */
function missing(all: readonly number[], among: readonly number[]): number {
  return all.filter((one) => !among.includes(one)).length;
}

function isWithin(at: number, { from, to }: Span): boolean {
  return at >= from && at < to;
}

function lineOf(ends: readonly UpgradeEnd[]): string {
  return ends
    .map(
      ({ ms, stillMs, moved, movedOfDoors }) =>
        `${ms} ms, still ${stillMs} ms, ${moved} moved (${movedOfDoors} of doors)`,
    )
    .join("; ");
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
