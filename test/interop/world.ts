/**
 * A small company on one machine: a registry, a sidecar for the machine of the consumers and one for that of the providers, and
 * the applications that are started in it. Everything that it makes is in one temporary directory and ends with it.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isJava, javaCommand, programCommand } from "./fixtures.ts";
import type { Carriers } from "./path.ts";
import type { Implementation, Mode } from "./plan.ts";
import {
  type MeshApplication,
  machineAddress,
  meshOutboundPort,
  type RegistryPorts,
  registryCommand,
  repository,
  type SidecarPorts,
  sidecarCommand,
} from "./product.ts";
import { eventually, Program, temporary } from "./program.ts";

export type RegistryKind = "dualmesh" | "real-zookeeper";
/** The machines of the company; providers may be on two. */
export type Side = "consumers" | "providers" | "providers-b";

export interface WorldOptions {
  /** `dualmesh` when nothing is said. */
  readonly registry?: RegistryKind;
  /** One for each machine; none for a world in which everything is in SDK mode. By default for consumers and for providers. */
  readonly sidecars?: readonly Side[];
}

export interface ProviderOptions {
  readonly service: string;
  /** Tells instances of one service apart in their answers. */
  readonly name: string;
  readonly port: number;
  /** Dubbo only: `tri` instead of `dubbo`. */
  readonly protocol?: string;
  /** Whose sidecar it is told; `providers` when nothing is said. */
  readonly side?: Side;
}

/** Above those that `freePort` gives, below those that the machine gives to connections. */
const publishedPorts = {
  consumers: { from: 30_000, to: 30_499 },
  providers: { from: 30_500, to: 30_999 },
  "providers-b": { from: 31_000, to: 31_499 },
};
const usualSidecars: readonly Side[] = ["consumers", "providers"];

/** The names under which applications over `mesh://` are known to their sidecar; each has one port. */
const meshApplicationNames = ["interop-mesh-provider-a", "interop-mesh-provider-b"] as const;

export class World implements AsyncDisposable {
  readonly directory: string;
  readonly #kind: RegistryKind;
  readonly #programs: Program[] = [];
  #registryPorts: RegistryPorts | undefined;
  #registry: Program | undefined;
  readonly #sidecars = new Map<Side, { readonly ports: SidecarPorts; readonly program: Program }>();
  #meshApplications: readonly MeshApplication[] = [];
  #counter = 0;

  private constructor(kind: RegistryKind) {
    this.#kind = kind;
    this.directory = mkdtempSync(join(tmpdir(), "dualmesh-interop-"));
    temporary.add(this.directory);
  }

  static async start({ registry = "dualmesh", sidecars = usualSidecars }: WorldOptions = {}): Promise<World> {
    const world = new World(registry);
    try {
      await world.startRegistry();
      if (sidecars.length > 0) await world.#startSidecars(sidecars);
      return world;
    } catch (error) {
      const tails = world.tails();
      await world[Symbol.asyncDispose]();
      throw new Error(`the world does not start: ${(error as Error).message}\n${tails}`, { cause: error });
    }
  }

  get registry(): Program {
    if (this.#registry === undefined) throw new Error("the registry was never started");
    return this.#registry;
  }

  /** What the way of a call is judged by: the sidecars, and the ports where that of the consumers takes calls. */
  get carriers(): Carriers {
    const [consumers, providers] = [this.#sidecars.get("consumers"), this.#sidecars.get("providers")];
    return {
      sidecarOfConsumers: consumers?.program.pid,
      sidecarOfProviders: providers?.program.pid,
      outboundPorts: consumers === undefined ? [] : [consumers.ports.outbound, consumers.ports.meshOutbound],
    };
  }

  /** The applications that speak `mesh://`, with the ports that their sidecar was told. */
  get meshApplications(): readonly MeshApplication[] {
    return this.#meshApplications;
  }

  /** The registry as the dualmesh commands know it: the admin port's address. */
  adminAddress(side: Side | "registry"): string {
    const port = side === "registry" ? this.#registryPorts?.admin : this.#sidecars.get(side)?.ports.admin;
    if (port === undefined) throw new Error(`no ${side} in this world`);
    return `127.0.0.1:${port}`;
  }

  /** The state directory of a sidecar, where it is told what to do. */
  statePath(side: Side): string {
    return join(this.#folder(`sidecar-of-${side}`), "state");
  }

  portsOf(side: Side): SidecarPorts {
    const ports = this.#sidecars.get(side)?.ports;
    if (ports === undefined) throw new Error(`no sidecar of ${side} in this world`);
    return ports;
  }

  get registryPorts(): RegistryPorts {
    if (this.#registryPorts === undefined) throw new Error("the registry was never started");
    return this.#registryPorts;
  }

  sidecar(side: Side): Program {
    const program = this.#sidecars.get(side)?.program;
    if (program === undefined) throw new Error(`no sidecar of ${side} in this world`);
    return program;
  }

  /** Starts a sidecar again that has ended: at the same ports, with the state that it left. Resolves before it listens. */
  restartSidecar(side: Side): SidecarPorts {
    const ports = this.portsOf(side);
    this.#launchSidecar(side, ports);
    return ports;
  }

  /** Resolves when `/readyz` of a sidecar answers 200, with what it says. */
  async readySidecar(side: Side): Promise<string> {
    await this.#answersReady(side, this.sidecar(side));
    return (await fetch(`http://${this.adminAddress(side)}/readyz`)).text();
  }

  /** Starts the registry, also after it was killed: at the same ports, with the state that it left. */
  async startRegistry(): Promise<void> {
    this.#registryPorts ??= {
      stream: await freePort(),
      admin: await freePort(),
      zookeeper: await freePort(),
      eureka: await freePort(),
      http: await freePort(),
    };
    const directory = this.#folder("registry");
    if (this.#kind === "real-zookeeper") {
      const properties = { port: String(this.#registryPorts.zookeeper), data: directory };
      const line = javaCommand("zookeeper", "interop.Server", directory, properties);
      this.#registry = await this.#launch("registry", line).ready();
      return;
    }
    this.#registry = this.#launch("registry", registryCommand(directory, this.#registryPorts));
    await this.#answersReady("registry", this.#registry);
  }

  async startProvider(implementation: Implementation, mode: Mode, options: ProviderOptions): Promise<Program> {
    const application =
      implementation.registry === "mesh"
        ? (this.#meshApplications.find((known) => known.boltPort === options.port)?.name ?? "unknown")
        : `interop-${options.name}`;
    const words = {
      ...this.#registryWords(implementation, mode, options.side ?? "providers"),
      application,
      provider: options.name,
      service: options.service,
      port: String(options.port),
      ...(options.protocol !== undefined ? { protocol: options.protocol } : {}),
      ...implementation.properties,
    };
    return this.#application(`provider-${options.name}`, implementation, "Provider", words).ready();
  }

  async startConsumer(
    implementation: Implementation,
    mode: Mode,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Program> {
    const name = `consumer-${implementation.name}-${mode}`;
    return this.#application(name, implementation, "Consumer", {
      ...this.#registryWords(implementation, mode, "consumers"),
      application: `interop-${name}`,
      ...more,
    }).ready();
  }

  /** Ends applications at once; the registry and the sidecars stay. */
  async endApplications(): Promise<void> {
    const parts = new Set([this.#registry, ...[...this.#sidecars.values()].map(({ program }) => program)]);
    await Promise.all(this.#programs.filter((program) => !parts.has(program)).map((program) => program.end()));
  }

  /** The ends of the logs of these programs and of the registry and sidecars. */
  tails(...programs: readonly Program[]): string {
    const parts = [this.#registry, ...[...this.#sidecars.values()].map(({ program }) => program), ...programs];
    return parts
      .flatMap((program) => (program === undefined ? [] : [`--- ${program.name}\n${program.tail()}`]))
      .join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.end()));
    rmSync(this.directory, { recursive: true, force: true });
    temporary.delete(this.directory);
  }

  async #startSidecars(sides: readonly Side[]): Promise<void> {
    this.#meshApplications = await Promise.all(
      meshApplicationNames.map(async (name) => ({ name, boltPort: await freePort() })),
    );
    for (const side of sides) {
      const ports = {
        inbound: await freePort(),
        outbound: await freePort(),
        admin: await freePort(),
        zookeeper: await freePort(),
        mesh: await freePort(),
        eureka: await freePort(),
        http: await freePort(),
        meshOutbound: side === "consumers" ? meshOutboundPort : await freePort(),
        published: publishedPorts[side],
      };
      this.#launchSidecar(side, ports);
    }
    for (const [side, { program }] of this.#sidecars) await this.#answersReady(side, program);
  }

  #launchSidecar(side: Side, ports: SidecarPorts): void {
    const apps = side === "providers" ? this.#meshApplications : [];
    const name = `sidecar-of-${side}`;
    const line = sidecarCommand(this.#folder(name), ports, this.#registryPorts as RegistryPorts, apps);
    this.#sidecars.set(side, { ports, program: this.#launch(name, line) });
  }

  /** Where its registry is: the one thing that an application is told. */
  #registryWords(implementation: Implementation, mode: Mode, side: Side): Readonly<Record<string, string>> {
    const ports = mode === "SDK" ? this.#registryPorts : this.#sidecars.get(side)?.ports;
    if (ports === undefined) throw new Error("this world has no sidecars");
    const { fixture, registry } = implementation;
    if (registry === "eureka") return { registry: `http://127.0.0.1:${ports.eureka}/eureka/` };
    if (registry === "http") {
      // The registry's doors are on loopback here, where they do not see under which address others reach who calls them.
      const host = mode === "SDK" || fixture === "node" ? { host: machineAddress() } : {};
      const isStream = mode === "SDK" && fixture === "node";
      return isStream
        ? { ...host, stream: `127.0.0.1:${this.#registryPorts?.stream}` }
        : { ...host, door: `http://127.0.0.1:${ports.http}` };
    }
    const port = registry === "mesh" && "mesh" in ports ? ports.mesh : ports.zookeeper;
    return { registry: `${registry}://127.0.0.1:${port}` };
  }

  #application(
    name: string,
    implementation: Implementation,
    role: "Provider" | "Consumer",
    words: Readonly<Record<string, string>>,
  ): Program {
    const { fixture } = implementation;
    const line = isJava(fixture)
      ? javaCommand(fixture, `interop.${role}`, this.#folder(`${name}-home`), words)
      : programCommand(fixture, role === "Provider" ? "provider" : "consumer", words);
    return this.#launch(name, line);
  }

  #launch(name: string, line: { readonly command: string; readonly words: readonly string[] }): Program {
    const log = join(this.directory, `${name}-${++this.#counter}.log`);
    const program = new Program({
      name,
      ...line,
      cwd: repository,
      log,
      env: { HOME: this.#folder("home"), CI: "true" },
    });
    this.#programs.push(program);
    return program;
  }

  async #answersReady(side: Side | "registry", program: Program): Promise<void> {
    await eventually(`${program.name} answers 200 at /readyz`, 20_000, async () => {
      if (!program.running) throw new Error(`${program.name} ended: ${await program.ended}`);
      const response = await fetch(`http://${this.adminAddress(side)}/readyz`).catch(() => undefined);
      await response?.body?.cancel();
      return response?.status === 200;
    });
  }

  #folder(name: string): string {
    const folder = join(this.directory, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }
}

/** Asks the machine, below the range from which it gives out the ports of connections, so that none takes it meanwhile. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = nextPort;
    nextPort = port >= 29_999 ? 13_500 : port + 1; // before the wait: others ask meanwhile
    if (await isFree(port)) return port;
  }
  throw new Error("no free port among 200");
}

/** Harnesses that run at the same time begin at different places. */
let nextPort = 13_500 + ((process.pid * 97) % 16_000);

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: "0.0.0.0", exclusive: true }, () => server.close(() => resolve(true)));
  });
}
