/** `dualmesh move` as an operator calls it: a process of its own, started from where the operator is. */
import { systemClock } from "@dualmesh/base/clock";
import { eventually, type Program, type Said } from "../program.ts";
import type { Way } from "./plan.ts";
import type { Application, World } from "./world.ts";

export interface MoveOptions {
  /** Beside `--pid`, `--json` and `--moves`. */
  readonly words?: readonly string[];
  /** How long calls are looked at before and after, as the operator writes it. */
  readonly before?: string;
  readonly watch?: string;
}

export interface MoveEnd {
  /** As the product says it; `nothing` when it said nothing. */
  readonly state: string;
  readonly seconds: number;
  /** `step ms` of each. */
  readonly steps: readonly string[];
  /** What it says has failed; else how it ended, with the last lines that it said. */
  readonly failed: string;
  /** Wall time of its beginning and end. */
  readonly from: number;
  readonly to: number;
}

/** Longer than any move: a way back serves callers that have not heard of it for a minute at most. */
const moveLimitMs = 240_000;

/** Where the movers of a world keep what they know. */
export function movesOf(world: World): string {
  return world.moves;
}

/** A mover that was started and may be killed. */
export class Mover {
  readonly program: Program;
  readonly #from = systemClock.wall();

  constructor(world: World, way: Way, application: Application, options: MoveOptions = {}) {
    const { words = [], before = "3s", watch = "3s" } = options;
    const looks = way === "in" ? ["--before", before, "--watch", watch] : [];
    const named = ["--pid", String(application.pid)];
    this.program = world.dualmesh(`move-${way}`, ["move", way, ...named, ...looks, ...words, "--json"]);
  }

  /** Resolves when the step begins, or has been done; rejects when the mover ends before. */
  async reaches(step: string, at: "begin" | "end" = "begin"): Promise<void> {
    const isIt = (line: Said): boolean => line["event"] === "step" && line["step"] === step && line["at"] === at;
    await eventually(`${step} ${at}s`, moveLimitMs, async () => {
      if (this.program.said.some(isIt)) return true;
      if (!this.program.running) throw new Error(`the mover ended before ${step}: ${this.program.tail()}`);
      return false;
    });
  }

  async end(): Promise<MoveEnd> {
    return endOf(this.program, this.#from);
  }
}

export async function move(world: World, way: Way, application: Application, options?: MoveOptions): Promise<MoveEnd> {
  return new Mover(world, way, application, options).end();
}

/** `dualmesh move recover`: what a mover that died has left is completed or taken back. */
export async function recover(world: World): Promise<MoveEnd> {
  const from = systemClock.wall();
  return endOf(world.dualmesh("move-recover", ["move", "recover", "--json"]), from);
}

async function endOf(program: Program, from: number): Promise<MoveEnd> {
  const patience = systemClock.after(moveLimitMs, () => program.signal("SIGKILL"), true);
  const ended = await program.ended;
  patience.cancel();
  const to = systemClock.wall();
  const last = program.said.findLast(({ event }) => event === "end");
  const steps = (last?.["steps"] ?? []) as readonly { readonly step: string; readonly ms: number }[];
  const failed = String(last?.["failed"] ?? "");
  return {
    state: String(last?.["state"] ?? "nothing"),
    seconds: (to - from) / 1_000,
    steps: steps.map(({ step, ms }) => `${step} ${ms}`),
    failed: last === undefined ? `${ended}: ${program.tail()}` : failed,
    from,
    to,
  };
}
