/**
 * A company with a ZooKeeper and applications on it, one running sidecar beside them, and for each application that may be moved a passer:
 * what stands in a test for the rule that leads its registry connections to the sidecar.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { Crossing, CrossingList } from "@dualmesh/model/crossing";
import { Passer } from "./before-host.ts";
import { type JavaFixture, javaCommand } from "./fixtures.ts";
import { machineAddress, repository } from "./product.ts";
import { eventually, Program, temporary } from "./program.ts";
import { freePort } from "./world.ts";

export class CrossingWorld implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "dualmesh-crossing-"));
  readonly #programs: Program[] = [];
  readonly #passers = new Map<string, Passer>();
  ensemble = 0;
  inbound = 0;
  outbound = 0;
  #admin = 0;

  constructor() {
    temporary.add(this.directory);
  }

  async startEnsemble(): Promise<void> {
    this.ensemble = await freePort();
    const data = this.#folder("ensemble");
    await this.#start("ensemble", "zookeeper", "interop.Server", { port: String(this.ensemble), data }).ready();
  }

  /** The first time, and after it was killed: with its ports and the state that it left. */
  async startSidecar(): Promise<Program> {
    const folder = this.#folder("sidecar");
    const file = join(folder, "config.yaml");
    if (this.inbound === 0) {
      [this.inbound, this.outbound, this.#admin] = [await freePort(), await freePort(), await freePort()];
      const config = {
        directory: "zookeeper",
        zookeeper: { addresses: [`localhost:${this.ensemble}`] },
        inbound: { host: machineAddress(), port: this.inbound },
        outbound: { host: "127.0.0.1", port: this.outbound },
        admin: { port: this.#admin },
        doors: { zookeeper: false, mesh: false, eureka: false, http: false },
        drain: { idleMs: 0 },
        state: join(folder, "state"),
      };
      writeFileSync(file, JSON.stringify(config, undefined, 2)); // JSON is YAML as well
    }
    const words = [join(repository, "packages/cli/src/main.ts"), "sidecar", "run", "--config", file];
    const sidecar = this.#launch("sidecar", process.execPath, words);
    await eventually("the sidecar answers 200 at /readyz", 30_000, async () => {
      if (!sidecar.running) throw new Error(`the sidecar ended: ${await sidecar.ended}`);
      const response = await fetch(`http://127.0.0.1:${this.#admin}/readyz`).catch(() => undefined);
      await response?.body?.cancel();
      return response?.status === 200;
    });
    return sidecar;
  }

  /** An application whose registry connections can be led through the sidecar, by its name. */
  async startBehindPasser(
    name: string,
    fixture: JavaFixture,
    role: "Provider" | "Consumer" | "Both",
    words: Readonly<Record<string, string>> = {},
  ): Promise<Program> {
    const passer = await Passer.start(this.ensemble);
    this.#passers.set(name, passer);
    return this.startApplication(name, fixture, role, { registry: `zookeeper://127.0.0.1:${passer.port}`, ...words });
  }

  startApplication(
    name: string,
    fixture: JavaFixture,
    role: "Provider" | "Consumer" | "Both",
    words: Readonly<Record<string, string>> = {},
  ): Promise<Program> {
    const registry = `zookeeper://127.0.0.1:${this.ensemble}`;
    return this.#start(name, fixture, `interop.${role}`, { registry, application: name, ...words }).ready();
  }

  /** Opens a crossing of the application's name and has its sessions come through it. */
  async enter(name: string): Promise<void> {
    const servers = [`127.0.0.1:${this.ensemble}`];
    const { doors } = await this.control<Crossing>("open", { name, servers, chroots: [], host: machineAddress() });
    this.#passers.get(name)?.lead(doors[0]?.port);
  }

  /** Has the sessions go past the sidecar again, and closes the crossing. */
  async leave(name: string): Promise<void> {
    this.#passers.get(name)?.lead(undefined);
    await this.control("close", { name });
  }

  async control<Result = Crossing>(command: string, words: Readonly<Record<string, unknown>> = {}): Promise<Result> {
    const path = controlPath(join(this.directory, "sidecar", "state"));
    return (await callControl(path, `crossing.${command}`, words, { timeoutMs: 60_000 })) as Result;
  }

  async crossing(name: string): Promise<Crossing> {
    const { crossings } = await this.control<CrossingList>("list");
    const found = crossings.find((one) => one.name === name);
    if (found === undefined) throw new Error(`no crossing ${name}`);
    return found;
  }

  /** Calls that the sidecar has carried so far, by direction and result. */
  async carried(): Promise<Readonly<Record<string, number>>> {
    const { figures } = await this.control<CrossingList>("list");
    const counts: Record<string, number> = {};
    for (const { direction, results } of figures)
      for (const [result, count] of Object.entries(results))
        counts[`${direction} ${result}`] = (counts[`${direction} ${result}`] ?? 0) + count;
    return counts;
  }

  async status(): Promise<Readonly<Record<string, unknown>>> {
    return (await (await fetch(`http://127.0.0.1:${this.#admin}/status`)).json()) as Record<string, unknown>;
  }

  tails(): string {
    return this.#programs.map((program) => `--- ${program.name}\n${program.tail()}`).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const passer of this.#passers.values()) await passer[Symbol.asyncDispose]();
    await Promise.all(this.#programs.map((program) => program.end()));
    rmSync(this.directory, { recursive: true, force: true });
    temporary.delete(this.directory);
  }

  #start(name: string, fixture: JavaFixture, main: string, words: Readonly<Record<string, string>>): Program {
    const line = javaCommand(fixture, main, this.#folder(`${name}-home`), words);
    return this.#launch(name, line.command, line.words);
  }

  #launch(name: string, command: string, words: readonly string[]): Program {
    const log = join(this.directory, `${name}-${this.#programs.length}.log`);
    const env = { HOME: this.#folder("home"), CI: "true" };
    const program = new Program({ name, command, words, cwd: repository, log, env });
    this.#programs.push(program);
    return program;
  }

  #folder(name: string): string {
    const folder = join(this.directory, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }
}
