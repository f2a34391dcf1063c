/** One process on a machine in memory, and those who move it: for tests that let movers, sidecars and processes die. */
import type { Random } from "@dualmesh/base/random";
import { runGuard } from "../guard.ts";
import { Mover } from "../mover.ts";
import type { MoveEnd, MoveEvent } from "../one-move.ts";
import type { MoveRecord } from "../record.ts";
import { Machine, type SimProcess } from "./machine.ts";
import { type Death, Disk, recordOf, SimMover } from "./sim-world.ts";

const longestMs = 300_000;
const pieceMs = 500;

export class Story {
  readonly machine: Machine;
  readonly disk = new Disk();
  readonly process: SimProcess;
  readonly events: MoveEvent[] = [];
  readonly #ending = new AbortController();

  constructor(random: Random, options: Parameters<Machine["addProcess"]>[1] = {}) {
    this.machine = new Machine(random);
    this.process = this.machine.addProcess(4711, options);
  }

  mover(death?: Death): SimMover {
    return new SimMover(this.machine, this.disk, 100 + this.disk.movers.length, death);
  }

  /** Runs until the work is done, or its mover is dead, as it is afterwards. */
  async run<Result>(mover: SimMover, work: Promise<Result>): Promise<Result | "dead"> {
    let result: { readonly value: Result } | { readonly error: unknown } | undefined;
    work.then(
      (value) => {
        result = { value };
      },
      (error: unknown) => {
        result = { error };
      },
    );
    for (let ms = 0; ms < longestMs; ms += pieceMs) {
      if (mover.isDead) return "dead";
      if (result !== undefined) {
        mover.end();
        if ("error" in result) throw result.error;
        return result.value;
      }
      await this.machine.clock.advance(pieceMs);
    }
    throw new Error("it goes on for ever");
  }

  enter(
    mover: SimMover,
    change: Partial<MoveRecord> = {},
    { signal = never, process = this.process }: { readonly signal?: AbortSignal; readonly process?: SimProcess } = {},
  ): Promise<MoveEnd> {
    return this.#held(mover, recordOf(process, mover.self, change), (one) => one.enter(signal));
  }

  leave(mover: SimMover): Promise<MoveEnd> {
    return this.#held(mover, undefined, (one) => one.leave());
  }

  async recover(mover: SimMover): Promise<MoveEnd | undefined> {
    if (this.disk.records.size === 0) return undefined;
    return await this.#held(mover, undefined, (one) => one.recover(never));
  }

  /** Goes on until the story ends, or the guard is killed. */
  startGuard(): { readonly guard: SimMover; readonly ended: Promise<void> } {
    const guard = this.mover();
    const ended = runGuard({ world: guard.world, records: guard.records, signal: this.#ending.signal });
    return { guard, ended };
  }

  end(): void {
    this.#ending.abort();
  }

  get record(): MoveRecord | undefined {
    return [...this.disk.records.values()].find(({ process }) => process.pid === this.process.pid);
  }

  /** Where the process is, as everybody sees it. */
  get place(): "in" | "out" | "forwarded" | "between" {
    const { node, shown, sessions } = this.process;
    const { rules, forwards } = this.machine;
    const all = (kind: "direct" | "mesh", way: "direct" | "door"): boolean =>
      [node, shown].every(({ now }) => now.size === 1 && now.has(kind)) && sessions.every((one) => one.way === way);
    const { record } = this;
    if (record === undefined || record.state === "closing")
      return all("direct", "direct") && rules.size === 0 && forwards.size === 0 ? "out" : "between";
    if (record.state === "in") return all("mesh", "door") && rules.size === 1 && forwards.size === 0 ? "in" : "between";
    const isAside = sessions.every(({ way }) => way === "direct") && rules.size === 0;
    return record.state === "forwarded" && isAside ? "forwarded" : "between";
  }

  async #held(
    mover: SimMover,
    record: MoveRecord | undefined,
    work: (one: Mover) => Promise<MoveEnd>,
  ): Promise<MoveEnd> {
    const name = record?.name ?? ([...this.disk.records.keys()][0] as string);
    const hold = await mover.records.take(name);
    try {
      const found = record ?? (await mover.records.read(name));
      if (found === undefined) throw new Error(`there is no move ${name}`);
      const { world, records } = mover;
      return await work(new Mover({ world, records, record: found, tell: (event) => void this.events.push(event) }));
    } finally {
      await hold.release();
    }
  }
}

const never = new AbortController().signal;
