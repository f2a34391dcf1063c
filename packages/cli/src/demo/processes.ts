/**
 * Child processes of the demo. Each has a process group of its own, so that Ctrl-C in the terminal reaches the demo alone, which then
 * ends every one of them in order, by its id.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { openHeirs } from "../run/heirs.ts";

export interface ChildOptions {
  readonly name: string;
  /** The program, with words of its own before `arguments`. */
  readonly program: readonly string[];
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /**
   * Give the process a channel to the demo, which the kernel closes when the demo is gone, however it went, and by which it asks for the one that takes over from it.
   */
  readonly channel?: boolean;
  readonly onLine: (line: string) => void;
  /** Called when the process ends without having been asked to. */
  readonly onUnexpectedEnd: (error: MeshError) => void;
  readonly clock: Clock;
}

export interface Child {
  readonly name: string;
  /** Another one once another process has taken over. */
  readonly pid: number;
  readonly hasEnded: boolean;
  /** Asks the process to end, and ends it and its group by force when it has not ended after `graceMs`. */
  end(graceMs: number): Promise<void>;
}

const maxTail = 12;
/** After a process was killed, its group is given so long to disappear. */
const killedMs = 2000;

export function startChild(options: ChildOptions): Child {
  return new StartedChild(options);
}

class StartedChild implements Child {
  readonly name: string;
  readonly #options: ChildOptions;
  readonly #tail: string[] = [];
  readonly #ended = Promise.withResolvers<void>();
  /** All that run: two while one takes over from the other. */
  readonly #processes = new Set<ChildProcess>();
  readonly #heirs = openHeirs(({ program, env }) => ({ child: this.#launch(program, env), becomes: () => {} }));
  #current: ChildProcess;
  #asked = false;
  #hasEnded = false;

  constructor(options: ChildOptions) {
    this.#options = options;
    this.name = options.name;
    this.#current = this.#launch(options.program, {});
    this.#follow();
  }

  get pid(): number {
    return this.#current.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  async end(graceMs: number): Promise<void> {
    this.#asked = true;
    if (this.#current.pid === undefined) return;
    const { clock } = this.#options;
    this.#signal("SIGTERM");
    if (await within(this.#ended.promise, graceMs, clock)) return;
    this.#signal("SIGKILL");
    await within(this.#ended.promise, killedMs, clock);
  }

  #launch([command = "", ...words]: readonly string[], environment: Readonly<Record<string, string>>): ChildProcess {
    const { channel, onLine } = this.#options;
    const child = spawn(command, [...words, ...this.#options.arguments], {
      detached: true,
      // A service sees its standard input end when the demo is gone, however it went.
      stdio: channel === true ? ["pipe", "pipe", "pipe", "ipc"] : ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...this.#options.environment, ...environment },
    });
    this.#processes.add(child);
    child.stdin?.on("error", () => {}); // it ended: "close" tells
    readLines(child.stdout, (line) => {
      keep(this.#tail, line);
      onLine(line);
    });
    readLines(child.stderr, (line) => keep(this.#tail, line));
    child.on("error", (error) => keep(this.#tail, error.message));
    // "close" comes after the last line of output was read, so that nothing said is lost.
    child.on("close", () => {
      this.#processes.delete(child);
      if (this.#hasEnded && this.#processes.size === 0) this.#ended.resolve();
    });
    return child;
  }

  /** Until the end of the process that is this child now, and then of the one that has taken over from it. */
  #follow(): void {
    const child = this.#current;
    const heirOf = this.#heirs.of(child);
    child.on("close", (code, signal) => {
      const heir = heirOf();
      if (heir !== undefined) {
        this.#current = heir;
        if (this.#asked) this.#signal("SIGTERM");
        return this.#follow();
      }
      this.#hasEnded = true;
      if (this.#processes.size === 0) this.#ended.resolve();
      if (this.#asked) return;
      const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
      const last = this.#tail.length === 0 ? "It said nothing." : `It last said:\n  ${this.#tail.join("\n  ")}`;
      const { name, onUnexpectedEnd } = this.#options;
      onUnexpectedEnd(new MeshError("demo.part-ended", `${name} ended ${how}. ${last}`, { name }));
    });
  }

  #signal(signal: NodeJS.Signals): void {
    for (const { pid } of this.#processes) if (pid !== undefined) signalGroup(pid, signal);
  }
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
