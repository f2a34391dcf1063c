/**
 * A company that has a ZooKeeper and no registry of ours: the real server, applications that are told it directly, and sidecars whose
 * directory it is, with the applications behind them.
 */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openJournal } from "@dualmesh/base/state/journal";
import type { Session } from "@dualmesh/dialects/zookeeper/client/client";
import { ZooKeeperKeep } from "@dualmesh/dialects/zookeeper/client/keep";
import { type CommandLine, isJava, javaCommand } from "./fixtures.ts";
import type { Carriers } from "./path.ts";
import type { Implementation, Mode } from "./plan.ts";
import { machineAddress, repository } from "./product.ts";
import { eventually, Program, temporary } from "./program.ts";
import { freePort } from "./world.ts";

export type Side = "consumers" | "providers";

interface Sidecar {
  readonly program: Program;
  readonly folder: string;
  readonly zookeeper: number;
  readonly outbound: number;
  readonly admin: number;
}

/** Apart from those of other worlds, which do not run at the same time but may have left connections. */
const publishedPorts = { consumers: { from: 31_500, to: 31_749 }, providers: { from: 31_750, to: 31_999 } };

export class ZooKeeperWorld implements AsyncDisposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "dualmesh-zookeeper-"));
  readonly #programs: Program[] = [];
  readonly #sidecars = new Map<Side, Sidecar>();
  #server: Program | undefined;
  #port = 0;

  private constructor() {
    temporary.add(this.#directory);
  }

  static async start(): Promise<ZooKeeperWorld> {
    const world = new ZooKeeperWorld();
    try {
      world.#port = await freePort();
      // The sidecars first: they wait for a directory that is not there yet.
      for (const side of ["consumers", "providers"] as const) await world.#startSidecar(side);
      await world.startServer();
      for (const side of world.#sidecars.keys()) await world.#answersReady(side);
      return world;
    } catch (error) {
      const tails = world.tails();
      await world[Symbol.asyncDispose]();
      throw new Error(`the world does not start: ${(error as Error).message}\n${tails}`, { cause: error });
    }
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get server(): Program {
    if (this.#server === undefined) throw new Error("the server was never started");
    return this.#server;
  }

  get carriers(): Carriers {
    const [consumers, providers] = [this.#sidecars.get("consumers"), this.#sidecars.get("providers")];
    return {
      sidecarOfConsumers: consumers?.program.pid,
      sidecarOfProviders: providers?.program.pid,
      outboundPorts: consumers === undefined ? [] : [consumers.outbound],
    };
  }

  /** Also after it was killed: at the same port, with the data that it left. */
  async startServer(): Promise<void> {
    const folder = this.#folder("server");
    const line = javaCommand("zookeeper", "interop.Server", folder, { port: String(this.#port), data: folder });
    this.#server = await this.#launch("zookeeper", line).ready();
  }

  async startProvider(
    implementation: Implementation,
    mode: Mode,
    options: { readonly service: string; readonly name: string; readonly port: number },
  ): Promise<Program> {
    const words = {
      registry: this.#registry(mode, "providers"),
      application: `interop-${options.name}`,
      provider: options.name,
      service: options.service,
      port: String(options.port),
      ...implementation.properties,
    };
    return this.#application(`provider-${options.name}`, implementation, "Provider", words).ready();
  }

  async startConsumer(implementation: Implementation, mode: Mode): Promise<Program> {
    const name = `consumer-${implementation.name}-${mode}`;
    const words = { registry: this.#registry(mode, "consumers"), application: `interop-${name}` };
    return this.#application(name, implementation, "Consumer", words).ready();
  }

  /** Kills a sidecar and starts it again, with its ports and the state that it left. */
  async restartSidecar(side: Side): Promise<void> {
    const sidecar = this.#sidecars.get(side) as Sidecar;
    await sidecar.program.end();
    const program = this.#launch(`sidecar-of-${side}`, sidecarCommand(sidecar.folder));
    this.#sidecars.set(side, { ...sidecar, program });
    await this.#answersReady(side);
  }

  /** What a sidecar says of its directory. */
  async directory(side: Side): Promise<Readonly<Record<string, unknown>>> {
    const response = await fetch(`http://127.0.0.1:${this.#sidecars.get(side)?.admin}/directory`);
    return (await response.json()) as Record<string, unknown>;
  }

  async readiness(side: Side): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.#sidecars.get(side)?.admin}/readyz`)).text();
  }

  /** The session of a sidecar, with its password, as it stands on its disk. */
  async session(side: Side): Promise<Session> {
    const copy = join(this.#folder("copies"), `${side}.journal`);
    copyFileSync(join(this.#sidecars.get(side)?.folder ?? "", "state", "zookeeper-directory.journal"), copy);
    await using journal = await openJournal({ path: copy });
    const kept = new ZooKeeperKeep(journal).session();
    if (kept === undefined) throw new Error(`the sidecar of ${side} has no session on its disk`);
    return kept.session;
  }

  tails(...programs: readonly Program[]): string {
    const parts = [this.#server, ...[...this.#sidecars.values()].map(({ program }) => program), ...programs];
    return parts.flatMap((one) => (one === undefined ? [] : [`--- ${one.name}\n${one.tail()}`])).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.end()));
    rmSync(this.#directory, { recursive: true, force: true });
    temporary.delete(this.#directory);
  }

  async #startSidecar(side: Side): Promise<void> {
    const name = `sidecar-of-${side}`;
    const folder = this.#folder(name);
    const ports = { zookeeper: await freePort(), outbound: await freePort(), admin: await freePort() };
    const config = {
      directory: "zookeeper",
      zookeeper: { addresses: [this.address] },
      inbound: { host: machineAddress(), port: await freePort() },
      outbound: { host: "127.0.0.1", port: ports.outbound },
      admin: { port: ports.admin },
      doors: { zookeeper: { port: ports.zookeeper }, mesh: false, eureka: false, http: false },
      publishedPorts: publishedPorts[side],
      state: join(folder, "state"),
    };
    writeFileSync(configOf(folder), JSON.stringify(config, undefined, 2)); // JSON is YAML as well
    const program = this.#launch(name, sidecarCommand(folder));
    this.#sidecars.set(side, { program, folder, ...ports });
  }

  /** Where its registry is: the one thing that an application is told. */
  #registry(mode: Mode, side: Side): string {
    return `zookeeper://127.0.0.1:${mode === "SDK" ? this.#port : this.#sidecars.get(side)?.zookeeper}`;
  }

  #application(
    name: string,
    { fixture }: Implementation,
    role: "Provider" | "Consumer",
    words: Readonly<Record<string, string>>,
  ): Program {
    if (!isJava(fixture)) throw new Error(`${fixture} is no Java program`);
    return this.#launch(name, javaCommand(fixture, `interop.${role}`, this.#folder(`${name}-home`), words));
  }

  #launch(name: string, line: CommandLine): Program {
    const log = join(this.#directory, `${name}-${this.#programs.length}.log`);
    const env = { HOME: this.#folder("home"), CI: "true" };
    const program = new Program({ name, ...line, cwd: repository, log, env });
    this.#programs.push(program);
    return program;
  }

  async #answersReady(side: Side): Promise<void> {
    const { program, admin } = this.#sidecars.get(side) as Sidecar;
    await eventually(`${program.name} answers 200 at /readyz`, 30_000, async () => {
      if (!program.running) throw new Error(`${program.name} ended: ${await program.ended}`);
      const response = await fetch(`http://127.0.0.1:${admin}/readyz`).catch(() => undefined);
      await response?.body?.cancel();
      return response?.status === 200;
    });
  }

  #folder(name: string): string {
    const folder = join(this.#directory, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }
}

function configOf(folder: string): string {
  return join(folder, "config.yaml");
}

function sidecarCommand(folder: string): CommandLine {
  const words = [join(repository, "packages/cli/src/main.ts"), "sidecar", "run", "--config", configOf(folder)];
  return { command: process.execPath, words };
}
