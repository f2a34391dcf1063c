/**
 * A mover is killed at each of its words to the world, before it is heard, in the midst of what it asks for, and after; then somebody
 * recovers. Whatever the moment, the process ends in the mesh or fully out of it, no session ends, no list is empty, and no rule ever leads
 * to a door at which nobody listens.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Random, seededRandom } from "@dualmesh/base/random";
import { Mover } from "./mover.ts";
import type { MoveEnd } from "./one-move.ts";
import type { MoveRecord } from "./record.ts";
import { Machine, type SimProcess } from "./testing/machine.ts";
import { type Death, Disk, recordOf, SimMover } from "./testing/sim-world.ts";

const seed = Number(process.env["SEED"] ?? 1);
const longestMs = 300_000;
const phases = ["before", "inside", "after"] as const;
type Way = "in" | "out";

class Story {
  readonly machine: Machine;
  readonly disk = new Disk();
  readonly process: SimProcess;
  #movers = 0;

  constructor(random: Random) {
    this.machine = new Machine(random);
    this.process = this.machine.addProcess(4711);
  }

  mover(death?: Death): SimMover {
    return new SimMover(this.machine, this.disk, 100 + this.#movers++, death);
  }

  /** Runs until the work is done, or its mover is dead. */
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
    for (let ms = 0; ms < longestMs; ms += 500) {
      if (result !== undefined && "error" in result) throw result.error;
      if (result !== undefined) return result.value;
      if (mover.isDead) return "dead";
      await this.machine.clock.advance(500);
    }
    throw new Error("it goes on for ever");
  }

  enter(mover: SimMover, change: Partial<MoveRecord> = {}): Promise<MoveEnd> {
    return this.#held(mover, recordOf(this.process, mover.self, change), (one) => one.enter(never));
  }

  leave(mover: SimMover): Promise<MoveEnd> {
    return this.#held(mover, undefined, (one) => one.leave());
  }

  /** As the guard does it, at every record. */
  async recover(mover: SimMover): Promise<MoveEnd | undefined> {
    if (this.disk.records.size === 0) return undefined;
    return await this.#held(mover, undefined, (one) => one.recover(never));
  }

  async #held(
    mover: SimMover,
    record: MoveRecord | undefined,
    work: (one: Mover) => Promise<MoveEnd>,
  ): Promise<MoveEnd> {
    const name = record?.name ?? ([...this.disk.records.keys()][0] as string);
    const hold = await mover.records.take(name);
    const found = record ?? (await mover.records.read(name));
    assert.ok(found !== undefined);
    const end = await work(new Mover({ world: mover.world, records: mover.records, record: found, tell: () => {} }));
    await hold.release();
    return end;
  }

  /** Where the process is, as everybody sees it. */
  get place(): "in" | "out" | "between" {
    const { node, shown, sessions } = this.process;
    const all = (kind: "direct" | "mesh", way: "direct" | "door"): boolean =>
      [node, shown].every(({ now }) => now.size === 1 && now.has(kind)) && sessions.every((one) => one.way === way);
    const [record] = this.disk.records.values();
    if (record === undefined) return all("direct", "direct") && this.machine.rules.size === 0 ? "out" : "between";
    return record.state === "in" && all("mesh", "door") && this.machine.forwards.size === 0 ? "in" : "between";
  }
}

const never = new AbortController().signal;

async function wordsOf(way: Way): Promise<number> {
  const story = new Story(seededRandom(seed));
  const mover = story.mover();
  assert.equal(((await story.run(mover, story.enter(mover))) as MoveEnd).state, "in");
  assert.equal(story.place, "in");
  if (way === "in") return mover.words;
  const second = story.mover();
  assert.equal(((await story.run(second, story.leave(second))) as MoveEnd).state, "out");
  assert.equal(story.place, "out");
  assert.deepEqual(story.machine.wrong, []);
  assert.equal(story.machine.sidecarRuns, false, "the sidecar that was started has ended");
  return second.words;
}

for (const way of ["in", "out"] as const) {
  test(`a mover killed at any word on its way ${way} leaves what somebody else completes or takes back`, async (t) => {
    const words = await wordsOf(way);
    const random = seededRandom(seed);
    const ends = new Map<string, number>();
    for (let at = 1; at <= words; at++) {
      for (const phase of phases) {
        const story = new Story(seededRandom(random.next() * 2 ** 32));
        const first = story.mover(way === "in" ? { at, phase } : undefined);
        await story.run(first, story.enter(first));
        if (way === "out") {
          const second = story.mover({ at, phase });
          await story.run(second, story.leave(second));
        }
        await story.machine.clock.advance(random.next() * 8_000);
        // Every other time who recovers is killed as well.
        if (random.next() < 0.5) {
          const other = story.mover({
            at: 1 + Math.floor(random.next() * 60),
            phase: phases[Math.floor(random.next() * 3)] ?? "before",
          });
          await story.run(other, story.recover(other));
        }
        const last = story.mover();
        await story.run(last, story.recover(last));
        await story.machine.clock.advance(60_000);
        const told = `SEED=${seed}: killed ${phase} word ${at} on the way ${way}`;
        assert.deepEqual(story.machine.wrong, [], told);
        assert.notEqual(story.place, "between", `${told}: ${JSON.stringify([...story.disk.records.values()][0])}`);
        ends.set(story.place, (ends.get(story.place) ?? 0) + 1);
      }
    }
    t.diagnostic(
      `${words} words, each in 3 ways; ended ${[...ends].map(([place, count]) => `${place}: ${count}`).join(", ")}`,
    );
  });
}
