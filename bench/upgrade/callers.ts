/** The callers of the bench: `steady.c` in a process of its own, and the windows into which the time of its calls is cut. */
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Scope } from "@dualmesh/base/scope";
import { type SteadyTarget, startSteady } from "../dataplane/load.ts";
import type { Started } from "../dataplane/process.ts";

/**
 * `before`: the load alone; `during`: from the word to upgrade until the old process is gone and every connection has called again; `between`: what is
 * left of the pause until the next.
 */
export type WindowName = "before" | "during" | "between";

/** What became of the calls that were due in a window, or in all of one name. Times count from when a call was due. */
export interface Tally {
  readonly seconds: number;
  readonly calls: number;
  /** Not answered, answered wrongly, or not answered within five seconds. */
  readonly failed: number;
  /** Connections that ended. */
  readonly lost: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
  /** From the beginning of the window until the worst was due. */
  readonly worstAtMs: number;
  /** How late the callers themselves were with a call, at worst: what is not the sidecar's. */
  readonly lateMs: number;
}

export interface CallersEnd {
  readonly connections: number;
  /** Of them, those that never ended. */
  readonly kept: number;
  readonly totals: ReadonlyMap<WindowName | "warm-up", Tally>;
}

export interface CallersOptions {
  readonly rate: number;
  readonly targets: readonly SteadyTarget[];
}

/** In both directions; the least that the Dubbo frames of the generator have. */
const bodyBytes = 1_024;

export class Callers {
  readonly #started: Started;
  readonly #opened = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<CallersEnd>();
  /** In the order of the windows that are asked for. */
  readonly #waiting: PromiseWithResolvers<Tally>[] = [];
  readonly #totals = new Map<WindowName | "warm-up", Tally>();

  private constructor(scope: Scope, options: CallersOptions) {
    const { started, lines } = startSteady(scope, { ...options, bodyBytes });
    this.#started = started;
    // Whoever waits is told; nobody may be.
    for (const { promise } of [this.#opened, this.#ended]) promise.catch(() => {});
    void this.#read(lines);
  }

  /** Resolves when every connection is open and the load has begun, as a warm-up. */
  static async open(scope: Scope, options: CallersOptions): Promise<Callers> {
    const callers = new Callers(scope, options);
    await callers.#opened.promise;
    return callers;
  }

  /** Begins a window; resolves with what became of the calls of the one before, once that is known. */
  begin(name: WindowName): Promise<Tally> {
    const tally = this.#next();
    this.#started.child.stdin?.write(`${name}\n`);
    return tally;
  }

  /** Ends the load and resolves when every call is answered or has failed. */
  async end(): Promise<CallersEnd> {
    const last = this.#next();
    this.#started.child.stdin?.end();
    await last;
    return this.#ended.promise;
  }

  #next(): Promise<Tally> {
    const waiting = Promise.withResolvers<Tally>();
    waiting.promise.catch(() => {});
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  async #read(lines: AsyncIterable<string>): Promise<void> {
    let why = "";
    try {
      for await (const line of lines) this.#take(JSON.parse(line) as Line);
      await this.#started.ended;
    } catch (error) {
      why = messageOf(error);
    }
    const error = new MeshError("bench.load", `the callers have ended: ${this.#started.complaint() || why}`);
    for (const { reject } of [this.#opened, this.#ended, ...this.#waiting.splice(0)]) reject(error);
  }

  #take(line: Line): void {
    if ("opened" in line) this.#opened.resolve();
    else if ("window" in line) this.#waiting.shift()?.resolve(line);
    else if ("total" in line) this.#totals.set(line.total, line);
    else this.#ended.resolve({ ...line, totals: this.#totals });
  }
}

type Line =
  | { readonly opened: number }
  | (Tally & { readonly window: string })
  | (Tally & { readonly total: WindowName | "warm-up" })
  | { readonly connections: number; readonly kept: number };
