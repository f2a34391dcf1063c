/**
 * The processes of the demo: one registry, the services of the cast, and a sidecar for each service that has moved in. A service is told
 * one address, its registry; to move it is to restart it with its sidecar's door there instead.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Random } from "@dualmesh/base/random";
import { cast, consumers, type Language, programOf, providers, roleOf } from "./cast.ts";
import { commands } from "./languages.ts";
import type { Ledger, Place } from "./ledger.ts";
import type * as product from "./parts.ts";
import { freePorts } from "./ports.ts";
import { type Child, startChild } from "./processes.ts";
import { type Report, readReport } from "./reports.ts";
import type { Stage, Upgraded } from "./story.ts";

/** How the product's processes are started: `parts.ts`, or what stands for it in a test. */
export type Parts = Pick<typeof product, "startRegistry" | "startSidecar" | "upgradeSidecar" | "callsTakenIn">;

export interface CompanyOptions {
  readonly parts: Parts;
  /** Those that this machine runs. */
  readonly languages: ReadonlySet<Language>;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborted when the demo ends: what is being started is given up. */
  readonly signal: AbortSignal;
  readonly onUnexpectedEnd: (error: MeshError) => void;
}

const examples = fileURLToPath(new URL("../../../../examples/", import.meta.url));
const callsPerSecond = 40;
const workMs = 3;
const readyWithinMs = 15_000;
const countEveryMs = 400;
/** A consumer's longest call is 3 s; a provider waits for 1 s of quiet, 10 s at most; a sidecar drains. */
const graceMs = { service: 12_000, sidecar: 20_000, atTheEnd: 5000 } as const;

interface Running {
  readonly child: Child;
  /** It may have started calls, and has not yet accounted for them. */
  owesAccount: boolean;
}

export class Company implements Stage {
  /** The address of every port that a call can be sent to. */
  readonly #places = new Map<string, Place>();
  readonly #options: CompanyOptions;
  readonly #appPorts = new Map<string, number>();
  readonly #sidecarPorts = new Map<string, product.SidecarPorts>();
  readonly #registryPorts: product.RegistryPorts;
  readonly #running = new Map<string, Running>();
  readonly #sidecars = new Map<string, Child>();
  readonly #leaving = new Set<Promise<void>>();
  #registry: Child | undefined;
  #ledger: Ledger | undefined;
  #folder = "";
  #counting: Timer | undefined;
  #ending: Promise<void> | undefined;

  /** Finds the ports; starts nothing. */
  static async plan(options: CompanyOptions): Promise<Company> {
    const ports = await freePorts(4 + providers.length + cast.length * 6, options.random);
    return new Company(options, ports);
  }

  private constructor(options: CompanyOptions, ports: readonly number[]) {
    this.#options = options;
    const free = ports.values();
    const next = (): number => free.next().value ?? 0;
    this.#registryPorts = { stream: next(), zookeeper: next(), http: next(), admin: next() };
    for (const owner of providers) {
      const port = next();
      this.#appPorts.set(owner, port);
      this.#places.set(`127.0.0.1:${port}`, { kind: "app", owner });
    }
    for (const { name: owner } of cast) {
      const sidecar = {
        inbound: next(),
        published: next(),
        outbound: next(),
        zookeeper: next(),
        http: next(),
        admin: next(),
      };
      this.#sidecarPorts.set(owner, sidecar);
      this.#places.set(`127.0.0.1:${sidecar.inbound}`, { kind: "inbound", owner });
      this.#places.set(`127.0.0.1:${sidecar.published}`, { kind: "inbound", owner });
      this.#places.set(`127.0.0.1:${sidecar.outbound}`, { kind: "outbound", owner });
    }
  }

  placeOf(address: string): Place | undefined {
    // The sidecar gives each HTTP service an address of its own on loopback, at its one outbound port.
    return this.#places.get(address.replace(/^127\.[\d.]+:/, "127.0.0.1:"));
  }

  languageOf(name: string): Language {
    return programOf(name, this.#options.languages).language;
  }

  /** Starts the registry, whose state and that of the sidecars lives in `folder`, then every service in SDK mode, providers first. */
  async start(ledger: Ledger, folder: string): Promise<void> {
    this.#ledger = ledger;
    this.#folder = folder;
    this.#registry = await this.#options.parts.startRegistry(this.#registryPorts, this.#partOptions());
    await Promise.all(providers.map((name) => this.#startService(name)));
    await Promise.all(consumers.map((name) => this.#startService(name)));
    this.#counting = this.#options.clock.every(countEveryMs, () => void this.#countInbound());
  }

  async moveIn(name: string): Promise<void> {
    const ports = this.#portsOf(name);
    // The new way is there and ready before the old one is left.
    this.#sidecars.set(
      name,
      await this.#options.parts.startSidecar(name, ports, this.#registryPorts, this.#partOptions()),
    );
    await this.#stopService(name, graceMs.service);
    await this.#startService(name, ports);
  }

  async moveOut(name: string): Promise<void> {
    await this.#stopService(name, graceMs.service);
    await this.#startService(name);
    const sidecar = this.#sidecars.get(name);
    this.#sidecars.delete(name);
    if (sidecar === undefined) return;
    // It ends in order, which takes its time: it goes on forwarding until nobody can have its address any more.
    const leaving: Promise<void> = sidecar.end(graceMs.sidecar).then(() => void this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  upgrade(name: string): Promise<Upgraded> {
    return this.#options.parts.upgradeSidecar(name, this.#partOptions());
  }

  /** Callers stop and wait for their calls, then everything else ends: no process is left, whatever happened before. */
  end(): Promise<void> {
    this.#ending ??= this.#endAll();
    return this.#ending;
  }

  async #endAll(): Promise<void> {
    this.#counting?.cancel();
    await Promise.all(consumers.map((name) => this.#stopService(name, graceMs.atTheEnd)));
    await Promise.all(providers.map((name) => this.#stopService(name, graceMs.atTheEnd)));
    await Promise.all([...[...this.#sidecars.values()].map((child) => child.end(graceMs.atTheEnd)), ...this.#leaving]);
    await this.#registry?.end(graceMs.atTheEnd);
  }

  /** Behind the sidecar with these ports, else in SDK mode. */
  async #startService(name: string, sidecar?: product.SidecarPorts): Promise<void> {
    const { promise: ready, resolve: isReady } = Promise.withResolvers<void>();
    const { file, language } = programOf(name, this.#options.languages);
    const child = startChild({
      name,
      program: [commands[language], join(examples, file)],
      arguments: [],
      environment: {
        NAME: name,
        REGISTRY: this.#registryFor(name, sidecar),
        PORT: String(this.#appPorts.get(name) ?? ""),
        WORK_MS: String(workMs),
        RATE: String(callsPerSecond),
        NODE_NO_WARNINGS: "1",
      },
      onLine: (line) => {
        const report = readReport(line);
        if (report === undefined) return;
        if (report.event === "ready") isReady();
        this.#hear(name, report);
      },
      onUnexpectedEnd: this.#options.onUnexpectedEnd,
      clock: this.#options.clock,
    });
    this.#running.set(name, { child, owesAccount: false });
    await this.#inTime(ready, `${name} was not ready`);
  }

  /** The one address that the service is told, as its program understands it. */
  #registryFor(name: string, sidecar: product.SidecarPorts | undefined): string {
    const { zookeeper, http } = sidecar ?? this.#registryPorts;
    switch (programOf(name, this.#options.languages).finds) {
      case "zookeeper":
        return `127.0.0.1:${zookeeper}`;
      case "http":
        return `http://127.0.0.1:${http}`;
      case "sdk":
        return sidecar === undefined
          ? `registry:127.0.0.1:${this.#registryPorts.stream}`
          : `http://127.0.0.1:${sidecar.http}`;
    }
  }

  #hear(name: string, report: Report): void {
    const running = this.#running.get(name);
    if (running === undefined || roleOf(name).kind === "provider") return;
    switch (report.event) {
      case "ready":
        running.owesAccount = true;
        break;
      case "calls":
        for (const call of report.calls) this.#ledger?.record(name, call);
        break;
      case "ended":
        running.owesAccount = false;
        this.#ledger?.settle(name, report.started, this.#options.clock.wall());
    }
  }

  async #stopService(name: string, within: number): Promise<void> {
    const running = this.#running.get(name);
    if (running === undefined) return;
    await running.child.end(within);
    this.#running.delete(name);
    if (running.owesAccount) this.#ledger?.settleWithout(name, this.#options.clock.wall());
  }

  /** Rejects when `promise` takes too long, or when the demo ends first. */
  async #inTime(promise: Promise<void>, problem: string): Promise<void> {
    const { clock, signal } = this.#options;
    signal.throwIfAborted();
    const { promise: never, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const timer = clock.after(
      readyWithinMs,
      () => reject(new MeshError("demo.not-ready", `${problem} after ${readyWithinMs} ms`)),
      true,
    );
    try {
      await Promise.race([promise, never]);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  async #countInbound(): Promise<void> {
    const { parts, clock, signal } = this.#options;
    await Promise.all(
      providers.map(async (name) => {
        const sidecar = this.#sidecars.get(name);
        if (sidecar === undefined || sidecar.hasEnded) return;
        const calls = await parts.callsTakenIn(this.#portsOf(name), signal);
        // While it is busy or about to end it does not say: what is not counted is not shown as mesh.
        if (calls !== undefined) this.#ledger?.inbound(name, calls, clock.wall());
      }),
    );
  }

  #partOptions(): product.PartOptions {
    const { clock, signal, onUnexpectedEnd } = this.#options;
    return { folder: this.#folder, clock, signal, onUnexpectedEnd };
  }

  #portsOf(name: string): product.SidecarPorts {
    const ports = this.#sidecarPorts.get(name);
    if (ports === undefined) throw new RangeError(`${name} has no ports for a sidecar`);
    return ports;
  }
}
