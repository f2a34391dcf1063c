/**
 * A process of the matrix: started in a group of its own, its output kept in a file, what it says as JSON lines kept in memory,
 * ended by its id. None outlives the harness, however that ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { sleep, systemClock } from "@dualmesh/base/clock";

export type Said = Readonly<Record<string, unknown>>;

export interface ProgramOptions {
  readonly name: string;
  readonly command: string;
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Where standard output and standard error go, one after the other. */
  readonly log: string;
}

export interface Answer {
  readonly ok: boolean;
  readonly reason: string;
}

/** Programs say little; one that floods the harness is broken, and what it says beyond this is only in its log. */
const maxLinesKept = 200_000;
const tailLength = 4_000;

const alive = new Set<Program>();
let guarded = false;

export class Program {
  readonly name: string;
  readonly said: Said[] = [];
  readonly ended: Promise<string>;
  #ending: string | undefined;
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #answers = new Map<string, (answer: Answer) => void>();
  #nextId = 1;

  constructor(options: ProgramOptions) {
    guard();
    this.name = options.name;
    this.#log = options.log;
    const log = openSync(options.log, "a");
    this.#child = spawn(options.command, options.words, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      detached: true,
      stdio: ["pipe", "pipe", log],
    });
    alive.add(this);
    const { stdin, stdout } = this.#child;
    stdin?.on("error", () => undefined); // the program has ended, which `ended` tells
    if (stdout !== null) {
      createInterface({ input: stdout }).on("line", (line) => {
        if (this.#ending === undefined) writeSync(log, `${line}\n`);
        this.#hear(line);
      });
    }
    this.ended = new Promise((resolve) => {
      const end = (how: string): void => {
        if (this.#ending !== undefined) return;
        this.#ending = how;
        alive.delete(this);
        closeSync(log);
        for (const answer of this.#answers.values()) answer({ ok: false, reason: `${this.name} ended: ${how}` });
        this.#answers.clear();
        resolve(how);
      };
      this.#child.once("error", (error) => end(error.message));
      this.#child.once("close", (code, signal) => end(signal ?? `exit code ${code}`));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#ending === undefined;
  }

  /** Resolves when the program has said that it is ready; rejects when it ends or `limitMs` has passed. */
  async ready(limitMs = 60_000): Promise<this> {
    await eventually(`${this.name} is ready`, limitMs, () => {
      if (!this.running) throw new Error(`${this.name} ended before it was ready: ${this.#ending}`);
      return this.said.some((line) => line["ready"] === true);
    }).catch((error: Error) => {
      throw new Error(error.message, { cause: this.tail() });
    });
    return this;
  }

  /** Sends a command and waits for its answer. A program that does not answer in time has failed the command, and may still answer. */
  async ask(words: string, limitMs = 30_000): Promise<Answer> {
    if (!this.running) return { ok: false, reason: `${this.name} ended: ${this.#ending}` };
    const id = String(this.#nextId++);
    const late = new AbortController();
    const answer = new Promise<Answer>((resolve) => this.#answers.set(id, resolve));
    this.#child.stdin?.write(`${id} ${words}\n`);
    const patience = sleep(systemClock, limitMs, late.signal).then(
      () => ({ ok: false, reason: `${this.name} did not answer within ${limitMs} ms` }),
      () => ({ ok: false, reason: "answered" }),
    );
    const first = await Promise.race([answer, patience]);
    late.abort();
    this.#answers.delete(id);
    return first;
  }

  /** Signals the program's whole group. */
  signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid === undefined || !this.running) return;
    try {
      process.kill(-pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it ended meanwhile
    }
  }

  /** Ends the program: in order if it can within `graceMs`, else at once. */
  async end(graceMs = 0): Promise<void> {
    if (graceMs > 0) {
      this.signal("SIGTERM");
      const enough = new AbortController();
      const patience = sleep(systemClock, graceMs, enough.signal).catch(() => undefined);
      await Promise.race([this.ended, patience]);
      enough.abort();
    }
    this.signal("SIGKILL");
    await this.ended;
  }

  /** The last lines of its output, for a person who must find out what went wrong. */
  tail(): string {
    // A program that cannot reach what it needs may have written more than a string holds.
    const log = openSync(this.#log, "r");
    try {
      const { size } = fstatSync(log);
      const bytes = Buffer.alloc(Math.min(size, tailLength));
      readSync(log, bytes, 0, bytes.length, size - bytes.length);
      return `${size > tailLength ? "…" : ""}${bytes.toString("utf8")}`;
    } finally {
      closeSync(log);
    }
  }

  #hear(line: string): void {
    if (!line.startsWith("{") || this.said.length >= maxLinesKept) return;
    const said = parse(line);
    if (said === undefined) return;
    this.said.push(said);
    const answer = this.#answers.get(String(said["id"]));
    if (answer !== undefined) answer({ ok: said["ok"] === true, reason: String(said["reason"] ?? "") });
  }
}

/** Polls `holds` until it is true; rejects with what was waited for. */
export async function eventually(
  what: string,
  limitMs: number,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = systemClock.now() + limitMs;
  while (!(await holds())) {
    if (systemClock.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
    await sleep(systemClock, 50);
  }
}

function parse(line: string): Said | undefined {
  try {
    return JSON.parse(line) as Said;
  } catch {
    return undefined; // a log line of the SDK that happens to begin with a brace
  }
}

/** Directories that go when the harness does, however it ends. */
export const temporary = new Set<string>();
/** What else goes then, after the programs have been told to end. */
export const lastly = new Set<() => void>();

function endAll(): void {
  for (const program of alive) program.signal("SIGKILL");
  for (const undo of lastly) undo();
  for (const directory of temporary) rmSync(directory, { recursive: true, force: true });
}

/** Programs are in groups of their own, so that a Ctrl-C on the terminal reaches only the harness, which ends them. */
export function guard(): void {
  if (guarded) return;
  guarded = true;
  process.once("exit", endAll);
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.once(signal, () => {
      endAll();
      process.exit(code);
    });
  }
}
