/**
 * Child processes of the demo. Each has a process group of its own, so that Ctrl-C in the terminal reaches the demo alone, which then
 * ends every one of them in order, by its id.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";

export interface ChildOptions {
  readonly name: string;
  /** Node unless it says otherwise. */
  readonly command?: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Give the process a channel to the demo, which the kernel closes when the demo is gone, however it went. */
  readonly channel?: boolean;
  readonly onLine: (line: string) => void;
  /** Called when the process ends without having been asked to. */
  readonly onUnexpectedEnd: (error: MeshError) => void;
  readonly clock: Clock;
}

export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly hasEnded: boolean;
  /** Asks the process to end, and ends it and its group by force when it has not ended after `graceMs`. */
  end(graceMs: number): Promise<void>;
}

const maxTail = 12;
/** After a process was killed, its group is given so long to disappear. */
const killedMs = 2000;

export function startChild(options: ChildOptions): Child {
  const { name, clock } = options;
  const tail: string[] = [];
  const child: ChildProcess = spawn(options.command ?? process.execPath, options.arguments, {
    detached: true,
    // A service sees its standard input end when the demo is gone, however it went.
    stdio: options.channel === true ? ["pipe", "pipe", "pipe", "ipc"] : ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...options.environment },
  });
  let asked = false;
  const { promise: ended, resolve: nowEnded } = Promise.withResolvers<void>();
  child.stdin?.on("error", () => {}); // it ended: "close" tells
  readLines(child.stdout, (line) => {
    keep(tail, line);
    options.onLine(line);
  });
  readLines(child.stderr, (line) => keep(tail, line));
  child.on("error", (error) => keep(tail, error.message));
  // "close" comes after the last line of output was read, so that nothing said is lost.
  child.on("close", (code, signal) => {
    nowEnded();
    if (asked) return;
    const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
    const last = tail.length === 0 ? "It said nothing." : `It last said:\n  ${tail.join("\n  ")}`;
    options.onUnexpectedEnd(new MeshError("demo.part-ended", `${name} ended ${how}. ${last}`, { name }));
  });

  return {
    name,
    pid: child.pid ?? 0,
    get hasEnded() {
      return child.exitCode !== null || child.signalCode !== null;
    },
    async end(graceMs) {
      asked = true;
      if (child.pid === undefined) return;
      signalGroup(child.pid, "SIGTERM");
      if (await within(ended, graceMs, clock)) return;
      signalGroup(child.pid, "SIGKILL");
      await within(ended, killedMs, clock);
    },
  };
}

function readLines(input: Readable | null, onLine: (line: string) => void): void {
  if (input !== null) createInterface({ input }).on("line", onLine);
}

/** Whether `promise` resolves within `ms`. */
async function within(promise: Promise<void>, ms: number, clock: Clock): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = clock.after(ms, () => resolve(false), true);
  const inTime = await Promise.race([promise.then(() => true), late]);
  timer.cancel();
  return inTime;
}

/** The group is named by the id of its first process, which we started. */
function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error; // ESRCH: it has ended
  }
}

function keep(tail: string[], line: string): void {
  if (line.startsWith('{"event":')) return;
  tail.push(line.slice(0, 300));
  if (tail.length > maxTail) tail.shift();
}
