/** A registry, providers of every protocol, and a sidecar in a process of its own through which they are called. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "@dualmesh/base/random";
import { eventually, World } from "../hostile/world.ts";
import { Ledger } from "./ledger.ts";
import { Load } from "./load.ts";
import { openProviders, type Providers } from "./providers.ts";
import { rpcName } from "./rpc-caller.ts";
import { type Places, type SidecarPorts, SidecarProcess } from "./sidecar-process.ts";

export interface UpgradeWorldOptions {
  readonly supervised?: boolean;
  readonly fault?: string;
  readonly faultAtOnce?: boolean;
  readonly state?: string;
  readonly config?: string;
  /** Of the first process (sidecar-process.ts). */
  readonly program?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly seed: number;
}

const webService = "http/upgrade-web::";
const byteService = "tcp/upgrade-bytes::";
const nearBytes = "upgrade-near";

export class UpgradeWorld implements AsyncDisposable {
  readonly sidecar: SidecarProcess;
  readonly providers: Providers;
  readonly places: Places;
  readonly #ledgers: LedgerPlace;
  readonly #world: World;
  readonly #seed: number;

  private constructor(
    world: World,
    parts: { readonly sidecar: SidecarProcess; readonly providers: Providers; readonly places: Places },
    ledgers: LedgerPlace,
    seed: number,
  ) {
    this.#world = world;
    this.sidecar = parts.sidecar;
    this.providers = parts.providers;
    this.places = parts.places;
    this.#ledgers = ledgers;
    this.#seed = seed;
  }

  static async open(options: UpgradeWorldOptions): Promise<UpgradeWorld> {
    const folder = mkdtempSync(join(tmpdir(), "upgrade-"));
    const world = await World.open();
    const ledgers: LedgerPlace = { ledger: new Ledger() };
    const providers = await openProviders(ledgers);
    world.defer(() => rmSync(folder, { recursive: true, force: true }));
    world.defer(() => providers.close());
    try {
      await world.publish(`bolt/${rpcName}:1.0:`, providers.bolt);
      await world.publish(`dubbo/${rpcName}:1.0:`, providers.dubbo);
      await world.publish(webService, providers.http);
      await world.publish(byteService, providers.tcp);
      const sidecar = await SidecarProcess.start({
        folder,
        supervised: options.supervised ?? false,
        yaml: (ports) => yamlOf(ports, world.registry.streamPort, providers.tcp, options.config),
        fault: options.fault,
        faultAtOnce: options.faultAtOnce,
        state: options.state,
        program: options.program,
        environment: options.environment,
      });
      world.defer(() => sidecar.kill());
      const places = await placesOf(sidecar, providers);
      return new UpgradeWorld(world, { sidecar, providers, places }, ledgers, options.seed);
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  defer(close: () => void | Promise<void>): void {
    this.#world.defer(close);
  }

  /** Callers, with a ledger of their own. */
  async load({ size = 1, slowMs = 2_000 } = {}): Promise<Load> {
    const ledger = new Ledger();
    this.#ledgers.ledger = ledger;
    const { places, providers } = this;
    const load = await Load.start({ ledger, random: seededRandom(this.#seed), places, providers, size, slowMs });
    this.#world.defer(() => load.close());
    return load;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#world[Symbol.asyncDispose]();
  }
}

/** Where providers find the ledger of the load that runs now. */
export interface LedgerPlace {
  ledger: Ledger;
}

function yamlOf(ports: SidecarPorts, stream: number, tcp: number, more = ""): string {
  return `registry: { address: "127.0.0.1:${stream}" }
outbound: { port: ${ports.outbound} }
inbound: { host: 127.0.0.1, port: ${ports.inbound} }
admin: { port: ${ports.admin} }
publishedPorts: { from: ${ports.published}, to: ${ports.published + 3} }
doors: { zookeeper: { port: ${ports.zookeeper} }, mesh: false, eureka: { port: ${ports.eureka} }, http: { port: ${ports.http} } }
tcp: [{ service: ${nearBytes}, port: ${tcp}, host: 127.0.0.1 }]
drain: { idleMs: 0, lingerMs: 0, maxMs: 500 }
${more}`;
}

/** Outbound everything; inbound Bolt, and the bytes that the sidecar itself declares. */
async function placesOf(sidecar: SidecarProcess, providers: Providers): Promise<Places> {
  const door = `http://127.0.0.1:${sidecar.ports.http}/v1`;
  const registered = await fetch(`${door}/instances`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      service: `bolt/${rpcName}Near:1.0:`,
      host: "127.0.0.1",
      port: providers.bolt,
      ttlMs: 3_600_000,
    }),
  });
  if (registered.status >= 300) throw new Error(`the door answers ${registered.status}: ${await registered.text()}`);
  const found = async (service: string): Promise<{ readonly host: string; readonly port: number }> => {
    let instances: readonly { readonly address: string; readonly port: number }[] = [];
    await eventually(`${service} is known`, async () => {
      const answer = (await (await fetch(`${door}/services/${service}`)).json()) as { instances?: typeof instances };
      instances = answer.instances ?? [];
      return instances.length > 0;
    });
    return { host: instances[0]?.address ?? "", port: instances[0]?.port ?? 0 };
  };
  const [web, bytes, near] = [
    await found("upgrade-web"),
    await found("tcp/upgrade-bytes"),
    await found(`tcp/${nearBytes}`),
  ];
  const host = "127.0.0.1";

  return {
    rpc: [
      { protocol: "bolt", host, port: sidecar.ports.outbound },
      { protocol: "dubbo", host, port: sidecar.ports.outbound },
    ],
    http: [web],
    tcp: [bytes, near],
  };
}
