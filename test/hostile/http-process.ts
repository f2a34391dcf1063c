/** A sidecar as a process of its own, whose memory can be measured, before one HTTP service that has no sidecar. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "@dualmesh/client/sdk";
import { eventually, World } from "./world.ts";

const program = join(import.meta.dirname, "..", "..", "packages/cli/src/main.ts");

export class SidecarProcess implements AsyncDisposable {
  /** Where the service is called. */
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #admin: string;
  readonly #world: World;
  readonly #folder: string;

  private constructor(parts: { url: string; child: ChildProcess; admin: string; world: World; folder: string }) {
    this.url = parts.url;
    this.#child = parts.child;
    this.#admin = parts.admin;
    this.#world = parts.world;
    this.#folder = parts.folder;
  }

  /** `config` is YAML beside that of the ports; the service's one instance listens at `port`. */
  static async open(port: number, config: string): Promise<SidecarProcess> {
    const world = await World.open();
    await world.publish("http/orders::", port);
    const folder = mkdtempSync(join(tmpdir(), "hostile-"));
    const file = join(folder, "sidecar.yaml");
    writeFileSync(
      file,
      `registry: { address: "127.0.0.1:${world.registry.streamPort}" }
outbound: { port: 0 }
inbound: { host: 127.0.0.1, port: 0 }
admin: { port: 0 }
doors: { zookeeper: false, mesh: false, eureka: false, http: { port: 0 } }
drain: { idleMs: 0, lingerMs: 0, maxMs: 500 }
state: ${folder}/state
${config}
`,
    );
    const child = spawn(process.execPath, [program, "sidecar", "run", "--config", file]);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (output += piece));
    await eventually("the sidecar runs", () => output.includes('"msg":"running"'), 20_000);
    const admin = /"admin":"([^"]+)"/.exec(output)?.[1] ?? "";
    const door = /"http":(\d+)/.exec(output)?.[1];
    const mesh = connect({ sidecar: `http://127.0.0.1:${door}` });
    const orders = mesh.subscribe("orders");
    await eventually("its service is known", () => orders.endpoints.length > 0);
    const url = orders.endpoints[0]?.url as string;
    await mesh.close();
    return new SidecarProcess({ url, child, admin, world, folder });
  }

  /** The values of these lines of its metrics; 0 for what is not there. */
  async figures<Names extends readonly string[]>(...names: Names): Promise<number[]> {
    const lines = (await (await fetch(`http://${this.#admin}/metrics`)).text()).split("\n");
    return names.map((name) => Number(lines.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? 0));
  }

  event(name: string): Promise<number> {
    return this.figures(`dualmesh_sidecar_events_total{event="${name}"}`).then(([value]) => value as number);
  }

  /** Resident memory in MiB. */
  get residentMib(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "latin1");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.running) {
      this.#child.kill("SIGTERM");
      await once(this.#child, "close");
    }
    await this.#world[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
