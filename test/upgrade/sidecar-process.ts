/**
 * A sidecar as a process of its own, plain or under `--supervised`, that is upgraded: which process it is now, what it holds, and how it is told. Each process
 * that it ever was is ended with it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { UpgradeEnd, UpgradeProgress } from "@dualmesh/sidecar/upgrade/old-side";
import { eventually } from "../hostile/world.ts";

export const mainFile = join(import.meta.dirname, "..", "..", "packages/cli/src/main.ts");
const faultFile = join(import.meta.dirname, "fault.ts");
const startMs = 30_000;
const upgradeMs = 120_000;

/** Where the services are called through the sidecar. */
export interface Places {
  readonly rpc: readonly { readonly protocol: "bolt" | "dubbo"; readonly host: string; readonly port: number }[];
  readonly http: readonly { readonly host: string; readonly port: number }[];
  readonly tcp: readonly { readonly host: string; readonly port: number }[];
}

export interface SidecarProcessOptions {
  readonly folder: string;
  readonly supervised: boolean;
  readonly yaml: (ports: SidecarPorts) => string;
  /** Of fault.ts, which the process plays where it is loaded. */
  readonly fault?: string | undefined;
  /** The first process loads it already; otherwise only one that is started by `program({ fault: true })`. */
  readonly faultAtOnce?: boolean | undefined;
  readonly state?: string | undefined;
  /** Node, its flags and the file, of the first process; the sources unless it is told. */
  readonly program?: readonly string[] | undefined;
  readonly environment?: Readonly<Record<string, string>> | undefined;
}

export interface SidecarPorts {
  readonly outbound: number;
  readonly inbound: number;
  readonly admin: number;
  readonly http: number;
  readonly zookeeper: number;
  readonly eureka: number;
  readonly published: number;
}

export interface Report {
  readonly pid: number;
  readonly version: string;
  readonly status: {
    readonly ready: unknown;
    readonly listening: unknown;
    readonly ownAddresses: readonly OwnAddress[];
  };
}

/** What the control socket answers. */
export interface Upgraded extends UpgradeEnd {
  readonly steps: readonly UpgradeProgress[];
}

interface OwnAddress {
  readonly service: string;
  readonly address: string;
  readonly port: number;
}

export interface Facts {
  readonly rssMib: number;
  readonly pssMib: number;
  readonly descriptors: number;
}

export class SidecarProcess {
  readonly ports: SidecarPorts;
  readonly state: string;
  readonly child: ChildProcess;
  /** The configuration, by which its processes are known. */
  readonly #file: string;
  readonly #supervised: boolean;
  readonly #output: string[] = [];
  /** The process that is the sidecar now. */
  pid = 0;

  private constructor(
    child: ChildProcess,
    ports: SidecarPorts,
    { state, file, supervised }: { readonly state: string; readonly file: string; readonly supervised: boolean },
  ) {
    this.child = child;
    this.ports = ports;
    this.state = state;
    this.#file = file;
    this.#supervised = supervised;
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (piece) => {
        this.#output.push(String(piece));
        if (this.#output.length > 20_000) this.#output.splice(0, 10_000);
      });
  }

  static async start({
    folder,
    supervised,
    yaml,
    fault,
    faultAtOnce = false,
    state = join(folder, "state"),
    program = SidecarProcess.program({ fault: faultAtOnce }),
    environment = {},
  }: SidecarProcessOptions): Promise<SidecarProcess> {
    const ports = await freePorts();
    mkdirSync(folder, { recursive: true });
    const file = join(folder, "sidecar.yaml");
    writeFileSync(file, `${yaml(ports)}\nstate: ${state}\n`);
    const [node = "", ...words] = [...program, "sidecar", "run", "--config", file];
    const child = spawn(node, [...words, ...(supervised ? ["--supervised"] : [])], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...environment, ...(fault === undefined ? {} : { UPGRADE_FAULT: fault }) },
    });
    const sidecar = new SidecarProcess(child, ports, { state, file, supervised });
    try {
      await sidecar.serves("it runs", startMs);
    } catch (error) {
      sidecar.kill();
      throw new Error(`${String(error)}\n${sidecar.output()}`);
    }
    return sidecar;
  }

  /** Node, its flags and the file, for `upgrade`. */
  static program({ fault = false } = {}): readonly string[] {
    return [process.execPath, ...(fault ? ["--import", faultFile] : []), mainFile];
  }

  output(): string {
    return this.#output.join("");
  }

  async report(): Promise<Report> {
    const report = (await callControl(controlPath(this.state), "status", {}, { timeoutMs: 2_000 })) as Report;
    this.pid = report.pid;
    return report;
  }

  /** Resolves when a process answers at the control socket and is ready. */
  async serves(what: string, limitMs: number): Promise<void> {
    await eventually(
      what,
      async () => {
        if (!existsSync(controlPath(this.state))) return false;
        try {
          await this.report();
          return (await fetch(`http://127.0.0.1:${this.ports.admin}/readyz`)).status === 200;
        } catch {
          return false;
        }
      },
      limitMs,
    );
  }

  /** Rejects as the sidecar does. */
  async upgrade(program: readonly string[] = SidecarProcess.program()): Promise<Upgraded> {
    const end = await callControl(controlPath(this.state), "upgrade", { program }, { timeoutMs: upgradeMs });
    const upgraded = end as Upgraded;
    this.pid = upgraded.pid;
    return upgraded;
  }

  facts(): Facts {
    return {
      rssMib: mibOf(this.pid, "status", "VmRSS"),
      pssMib: mibOf(this.pid, "smaps_rollup", "Pss"),
      descriptors: readdirSync(`/proc/${this.pid}/fd`).length,
    };
  }

  /** Of all that are the sidecar now, together. */
  pssMib(): number {
    return this.processes().reduce((sum, pid) => sum + mibOf(pid, "smaps_rollup", "Pss"), 0);
  }

  /** Those that are alive of the parent's children, or of all that it ever was. */
  processes(): readonly number[] {
    const parent = this.#supervised ? this.child.pid : undefined;
    return readdirSync("/proc")
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && isAlive(pid))
      .filter((pid) => (parent === undefined ? isRunBy(pid, this.#file) : parentOf(pid) === parent));
  }

  /** An orderly end; returns the code of the supervising parent, or undefined for a process that is nobody's child any more. */
  async end(): Promise<number | null | undefined> {
    const isOwn = this.#supervised || this.child.pid === this.pid;
    if (isOwn) this.child.kill("SIGTERM");
    else if (isAlive(this.pid)) process.kill(this.pid, "SIGTERM");
    const hasEnded = (): boolean =>
      this.processes().length === 0 && (this.child.exitCode !== null || this.child.signalCode !== null);
    try {
      await eventually("it has ended", hasEnded, 15_000);
    } finally {
      this.kill();
    }
    return isOwn ? this.child.exitCode : undefined;
  }

  kill(): void {
    this.child.kill("SIGKILL");
    const all = readdirSync("/proc")
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && isRunBy(pid, this.#file));
    for (const pid of all)
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it has just ended
      }
  }
}

/** 0 for a process that has just ended. */
function mibOf(pid: number, file: string, key: string): number {
  try {
    const text = readFileSync(`/proc/${pid}/${file}`, "latin1");
    return Math.round(Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) / 102.4) / 10;
  } catch {
    return 0;
  }
}

/** R, S, T (it stands still), Z and so on; undefined when it is gone. */
export function stateOf(pid: number): string | undefined {
  return statOf(pid)?.[0];
}

export function isAlive(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== undefined && stat[0] !== "Z" && stat[0] !== "X";
}

function parentOf(pid: number): number {
  return Number(statOf(pid)?.[1]);
}

/** State, parent and what follows of /proc/PID/stat. */
function statOf(pid: number): readonly string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/** A sidecar, or its parent, by the configuration in its command line. */
function isRunBy(pid: number, file: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(file);
  } catch {
    return false;
  }
}

const portCount = 7;

/** A row of ports that nothing listens on, below those that the kernel gives to callers. */
async function freePorts(): Promise<SidecarPorts> {
  for (let tries = 0; tries < 100; tries++) {
    const first = 21_000 + Math.floor(Math.random() * 1_000) * 10;
    const row = Array.from({ length: portCount }, (_, index) => first + index);
    if (!(await Promise.all(row.map(isFree))).every(Boolean)) continue;
    const [outbound, inbound, admin, http, zookeeper, eureka, published] = row as [
      ...[number, number, number, number, number, number, number],
    ];
    return { outbound, inbound, admin, http, zookeeper, eureka, published };
  }
  throw new Error("no row of ports is free");
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "0.0.0.0", () => server.close(() => resolve(true)));
  });
}
