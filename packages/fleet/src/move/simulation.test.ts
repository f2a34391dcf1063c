/**
 * A mover is killed at each of its words to the world, before it is heard, in the midst of what it asks for, and after; then somebody
 * recovers. Whatever the moment, the process ends in the mesh or fully out of it, no session ends, no list is empty, and no rule ever leads
 * to a door at which nobody listens.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Random, seededRandom } from "@dualmesh/base/random";
import type { MoveEnd } from "./one-move.ts";
import { Story } from "./testing/story.ts";

const seed = Number(process.env["SEED"] ?? 1);
const phases = ["before", "inside", "after"] as const;
type Way = "in" | "out";

const randomOf = (random: Random): Random => seededRandom(Math.floor(random.next() * 2 ** 32));

/** Words that change nothing: to die before, in the midst of and after one is the same. */
const questions: ReadonlySet<string> = new Set([
  "lives",
  "answers",
  "process",
  "list",
  "callers",
  "read",
  "records",
  "privileges",
  "state",
]);

/** The words of the way when nobody dies; it is proven on the way that it leads where it should. */
async function wordsOf(way: Way): Promise<readonly string[]> {
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
    let deaths = 0;
    for (const [index, word] of words.entries()) {
      const at = index + 1;
      for (const phase of questions.has(word) ? (["before"] as const) : phases) {
        deaths++;
        const story = new Story(randomOf(random));
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
        const told = `SEED=${seed}: killed ${phase} word ${at} (${word}) on the way ${way}`;
        assert.deepEqual(story.machine.wrong, [], told);
        assert.ok(["in", "out"].includes(story.place), `${told}: ${JSON.stringify(story.record)}`);
        ends.set(story.place, (ends.get(story.place) ?? 0) + 1);
      }
    }
    const ended = [...ends].map(([place, count]) => `${place}: ${count}`).join(", ");
    t.diagnostic(`${words.length} words, ${deaths} deaths; ended ${ended}`);
  });
}

for (const way of ["in", "out"] as const) {
  test(`a disk that is full from any word on its way ${way} on keeps nobody in the mesh who is to be out`, async (t) => {
    const words = await wordsOf(way);
    const random = seededRandom(seed);
    const ends = new Map<string, number>();
    for (const [index, word] of words.entries()) {
      for (const isKilled of [false, true]) {
        const story = new Story(randomOf(random));
        const { machine, disk } = story;
        const fullAt = index + 1;
        const at = fullAt + Math.floor(random.next() * (words.length - index));
        const death = isKilled
          ? ({ at, phase: phases[Math.floor(random.next() * 3)] ?? "before" } as const)
          : undefined;
        const first = story.mover(way === "in" ? death : undefined);
        if (way === "in") first.fullAt = fullAt;
        let end = await story.run(first, story.enter(first));
        if (way === "out") {
          const second = story.mover(death);
          second.fullAt = fullAt;
          end = await story.run(second, story.leave(second));
        }
        const told = `SEED=${seed}: full from word ${fullAt} (${word}) on its way ${way}${isKilled ? `, killed ${death?.phase} word ${at}` : ""}`;
        if (end === "dead") {
          // Somebody looks while it is full still, and once more when there is room.
          const next = story.mover();
          await settled(story.run(next, story.recover(next)));
          await machine.clock.advance(random.next() * 8_000);
          disk.isFull = false;
          const last = story.mover();
          await story.run(last, story.recover(last));
          await machine.clock.advance(60_000);
          assert.ok(["in", "out"].includes(story.place), `${told}: ${JSON.stringify(story.record)}`);
        } else {
          const hasRoom = disk.refusals === 0;
          assert.equal(end.state, way === "in" ? (hasRoom ? "in" : "undone") : "out", told);
          assert.equal(story.place, hasRoom && way === "in" ? "in" : "out", told);
          assert.equal(machine.rules.size, hasRoom && way === "in" ? 1 : 0, told);
        }
        assert.deepEqual(machine.wrong, [], told);
        ends.set(story.place, (ends.get(story.place) ?? 0) + 1);
      }
    }
    const ended = [...ends].map(([place, count]) => `${place}: ${count}`).join(", ");
    t.diagnostic(`${words.length} words, each with and without a death after it; ended ${ended}`);
  });
}

/** A sidecar that dies under its parent is back after 0.3 s; one that the guard starts after 1.5 s; one that is set aside is missed for 3 s and a reconnection. */
const longestGapMs = 5_500;
/** One that hangs is found out after six seconds, and then treated like one that died. */
const longestHangMs = 6_000 + longestGapMs;
const rounds = Number(process.env["ROUNDS"] ?? 60);

test("whoever dies with a guard at work, at any moment, everything comes to an end and nothing is missed for long", async (t) => {
  const random = seededRandom(seed);
  const ends = new Map<string, number>();
  let longest = 0;
  for (let round = 0; round < rounds; round++) {
    const story = new Story(randomOf(random));
    const { machine } = story;
    const { guard } = story.startGuard();
    const told = `SEED=${seed}, round ${round}`;
    let boundMs = longestGapMs;
    // What happens, and when: at most two deaths, that of the mover among them.
    const deaths = random.next() < 0.3 ? 2 : 1;
    for (let death = 0; death < deaths; death++) {
      const kind = random.next();
      machine.clock.after(random.next() * 70_000, () => {
        if (!machine.sidecarRuns && kind < 0.8) return;
        if (kind < 0.12) {
          boundMs = longestHangMs;
          machine.hangSidecar(kind < 0.06);
        } else if (kind < 0.36) machine.killSidecar();
        else if (kind < 0.6) machine.killSidecar(true);
        else if (kind < 0.8) {
          machine.sidecarStarts = false;
          machine.killSidecar(true);
          machine.clock.after(20_000, () => {
            machine.sidecarStarts = true;
          });
        } else for (const mover of story.disk.movers) if (mover !== guard && !mover.isDead) mover.end();
      });
    }
    const first = story.mover();
    await settled(story.run(first, story.enter(first)));
    await machine.clock.advance(1_000);
    if (story.record?.state === "in") {
      const second = story.mover();
      await settled(story.run(second, story.leave(second)));
    }
    await machine.clock.advance(240_000);
    story.end();
    assert.deepEqual(machine.wrong, [], told);
    assert.ok(["in", "out"].includes(story.place), `${told}: ${JSON.stringify(story.record)}`);
    if (story.place === "out") assert.deepEqual([story.record, machine.crossings()], [undefined, []], told);
    assert.ok(machine.longestGapMs <= boundMs, `${told}: ${machine.longestGapMs} ms`);
    longest = Math.max(longest, machine.longestGapMs);
    ends.set(story.place, (ends.get(story.place) ?? 0) + 1);
  }
  const ended = [...ends].map(([place, count]) => `${place}: ${count}`).join(", ");
  t.diagnostic(`${rounds} rounds; ended ${ended}; nobody served for ${longest} ms at most`);
});

/** A mover may fail for good reason when its sidecar dies; the guard goes on with what it leaves. */
async function settled(work: Promise<unknown>): Promise<void> {
  await work.catch(() => undefined);
}
