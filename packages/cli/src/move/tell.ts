/** What a mover says while it goes on: lines for people, or an object a line for programs. */
import type { Check } from "@dualmesh/fleet/move/checks/check";
import type { MoveEnd, MoveEvent } from "@dualmesh/fleet/move/one-move";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import { type StepName, stepText } from "@dualmesh/fleet/move/steps";
import type { WatchFigures, WatchSummary } from "@dualmesh/fleet/watch/watching";
import { printable } from "../printable.ts";

export interface StepTime {
  readonly step: StepName;
  readonly ms: number;
}

export interface EndLine {
  readonly name: string;
  readonly pid: number;
  /** `refused` before anything was changed, `busy` while somebody else has the move. */
  readonly state: MoveEnd["state"] | "refused" | "busy";
  readonly ms: number;
  readonly failed: string;
  readonly watch?: WatchSummary;
}

export interface Teller {
  checks(checks: readonly Check[]): void;
  /** Before the first step. */
  begins(text: string): void;
  event(event: MoveEvent): void;
  /** What would be done. */
  plan(lines: readonly string[], record: MoveRecord): void;
  end(line: EndLine): void;
}

/** Steps that take long say so when they begin. */
const long: ReadonlySet<StepName> = new Set([
  "cut",
  "measure",
  "provide",
  "consume",
  "settle",
  "consume-back",
  "provide-back",
  "cut-back",
  "linger",
]);

type Write = (text: string) => void;

export function openTeller(isJson: boolean, write: Write): Teller {
  return isJson ? new Lines(write) : new People((text) => write(printable(text)));
}

class Lines implements Teller {
  readonly #write: Write;
  readonly #steps: StepTime[] = [];

  constructor(write: Write) {
    this.#write = write;
  }

  checks(checks: readonly Check[]): void {
    for (const check of checks) this.#line({ event: "check", ...check });
  }

  begins(): void {}

  event(event: MoveEvent): void {
    if (event.event === "step" && event.at === "end") this.#steps.push({ step: event.step, ms: event.ms });
    this.#line(event);
  }

  plan(lines: readonly string[], record: MoveRecord): void {
    this.#line({ event: "plan", lines, record });
  }

  end({ watch, ...line }: EndLine): void {
    if (watch !== undefined) this.#line({ event: "watch", ...watch });
    this.#line({ event: "end", ...line, steps: this.#steps, ...(watch === undefined ? {} : { watch }) });
  }

  #line(line: object): void {
    this.#write(`${JSON.stringify(line)}\n`);
  }
}

class People implements Teller {
  readonly #write: Write;

  constructor(write: Write) {
    this.#write = write;
  }

  checks(checks: readonly Check[]): void {
    const width = Math.max(0, ...checks.map(({ what }) => what.length));
    for (const { level, what, text } of checks) {
      this.#write(`  ${level === "stops" ? "STOPS  " : level.padEnd(7)}  ${what.padEnd(width)}  ${text}\n`);
    }
  }

  begins(text: string): void {
    this.#write(`${text}\n`);
  }

  event(event: MoveEvent): void {
    if (event.event === "undo") this.#write(`  undone because ${event.reason}\n`);
    else if (event.event === "note") this.#write(`  note: ${event.text}\n`);
    else if (event.at === "end")
      this.#write(`  ${seconds(event.ms)}  ${event.step.padEnd(12)}  ${event.text ?? stepText(event.step)}\n`);
    else if (long.has(event.step)) this.#write(`         …  ${event.step.padEnd(12)}  ${stepText(event.step)}\n`);
  }

  plan(lines: readonly string[]): void {
    this.#write(`this would be done:\n${lines.map((line) => `  ${line}\n`).join("")}`);
  }

  end({ pid, state, ms, failed, watch }: EndLine): void {
    if (watch !== undefined) this.#write(watchText(watch));
    const text = {
      in: `process ${pid} is in the mesh, after ${seconds(ms).trim()}; dualmesh move out --pid ${pid} takes it back`,
      out: `process ${pid} is out of the mesh, after ${seconds(ms).trim()}`,
      undone: `process ${pid} is as it was before, after ${seconds(ms).trim()}: ${failed}`,
      busy: `process ${pid} is left alone: ${failed}`,
      refused: "nothing was changed: mend what stops it, and ask again",
      forwarded: `the sidecar of process ${pid} is away; the process is at its registry by itself, and what is called at its published ports arrives at it, where the host can tell whose it is: ${failed}`,
      closing: `process ${pid} is out of the mesh; the sidecar that it was moved by is away, and has not closed its crossing yet`,
      gone: `${failed}; what was made for it is taken away`,
    }[state];
    this.#write(`${text}\n`);
  }
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1).padStart(6)} s`;
}

/** A table of the calls before and since. The groups of one interface at one address are counted together, and told once. */
export function watchText({ before, since, unseen }: WatchSummary): string {
  const services = [...new Set([...before, ...since].map(({ side, service }) => `${side} ${service}`))];
  const of = (figures: readonly WatchFigures[], key: string): WatchFigures | undefined =>
    figures.find(({ side, service }) => `${side} ${service}` === key);
  const textOf = (key: string): string =>
    `before ${figuresText(of(before, key))}; since ${figuresText(of(since, key))}\n`;
  const told = Map.groupBy(services, (key) => `${key.split(":")[0]}: ${textOf(key)}`);
  const lines = [...told].map(([line, [only, ...others]]) =>
    others.length === 0
      ? `  ${only}: ${textOf(only ?? "")}`
      : `  ${line.replace(":", `, ${others.length + 1} groups:`)}`,
  );
  return [...lines, ...unseen.map((text) => `  not seen: ${text}\n`)].join("");
}

function figuresText(figures: WatchFigures | undefined): string {
  if (figures === undefined || figures.calls === 0) return "no calls";
  const { calls, failed, p50Ms, p99Ms } = figures;
  const times =
    p50Ms === undefined ? "" : `, ${p50Ms.toFixed(1)} ms, of a hundred the slowest ${p99Ms?.toFixed(1) ?? "?"} ms`;
  return `${calls} calls, ${failed} failed${times}`;
}

/** How a record is named to people. */
export function titleOf({ process: { pid, command } }: Pick<MoveRecord, "process">): string {
  return `process ${pid} (${command})`;
}
