/** Processes of a bench: started on one core, ended by their id whatever happens, and what the kernel knows of their memory. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { cpus } from "node:os";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Scope } from "@dualmesh/base/scope";

/** The proxy has one core, load generator and echo server share the other. */
export const proxyCore = 0;
export const loadCore = 1;

export interface Started {
  readonly pid: number;
  readonly child: ChildProcess;
  /** The end of what it wrote to standard error. */
  complaint(): string;
  /** Settles when it has ended; never rejects. */
  readonly ended: Promise<void>;
}

const keptComplaint = 4_096;
const orderlyEndMs = 10_000;
const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** Whether processes can be held to a core here; said once when not. */
export const pinning: boolean = cpus().length >= 2 && spawnSync("taskset", ["-V"]).status === 0;

export interface StartOptions {
  readonly core: number;
  readonly command: string;
  readonly args: readonly string[];
  /** True when what it writes to standard output is read by the caller; else it goes nowhere. */
  readonly speaks?: boolean;
}

/** Starts a process that ends with `scope`. */
export function start(scope: Scope, options: StartOptions): Started {
  const { command, args } = options;
  const [file, all] = pinning ? ["taskset", ["-c", String(options.core), command, ...args]] : [command, args];
  const child = spawn(file, [...all], { stdio: ["pipe", options.speaks === true ? "pipe" : "ignore", "pipe"] });
  children.add(child);
  let complaint = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-keptComplaint);
  });
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      children.delete(child);
      resolve();
    };
    child.once("close", end);
    child.once("error", (error) => {
      complaint = `${command}: ${error.message}`;
      end();
    });
  });
  scope.defer(() => stop(child, ended));
  if (child.pid === undefined) throw new MeshError("bench.start", `${command} cannot be started`);
  return { pid: child.pid, child, complaint: () => complaint.trim(), ended };
}

async function stop(child: ChildProcess, ended: Promise<void>): Promise<void> {
  const late = systemClock.after(orderlyEndMs, () => child.kill("SIGKILL"));
  child.kill("SIGTERM");
  await ended;
  late.cancel();
}

/** A port that was free a moment ago, for programs that cannot be asked which one they took. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** Waits until something accepts at `port`; fails when `started` ends first or `timeoutMs` pass. */
export async function accepting(started: Started, port: number, timeoutMs = 20_000): Promise<void> {
  const deadline = systemClock.now() + timeoutMs;
  let running = true;
  void started.ended.then(() => {
    running = false;
  });
  while (running && systemClock.now() < deadline) {
    if (await accepts(port)) return;
    await sleep(systemClock, 50);
  }
  throw new MeshError("bench.start", `nothing accepts at port ${port}: ${started.complaint() || "no reason given"}`);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const answer = (value: boolean): void => {
      socket.destroy();
      resolve(value);
    };
    socket.once("connect", () => answer(true));
    socket.once("error", () => answer(false));
  });
}

export interface Memory {
  readonly rssMb: number | null;
  readonly pssMb: number | null;
}

/** Resident memory of a process, whole and with shared pages divided by their users; nulls where the kernel does not say. */
export function memoryOf(pid: number): Memory {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    const field = (name: string): number | null => {
      const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text);
      return found === null ? null : Number(found[1]) / 1_024;
    };
    return { rssMb: field("Rss"), pssMb: field("Pss") };
  } catch {
    return { rssMb: null, pssMb: null }; // another system, or the process has ended: its load fails by itself then
  }
}

/** User and system, of all threads; the kernel counts in hundredths of a second. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Tells a person; standard output belongs to the results. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
