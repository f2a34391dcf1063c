import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshError } from "@dualmesh/base/errors";
import { seededRandom } from "@dualmesh/base/random";
import { Mover } from "./mover.ts";
import type { MoveEnd } from "./one-move.ts";
import type { MoveRecord } from "./record.ts";
import { recordOf } from "./testing/sim-world.ts";
import { Story } from "./testing/story.ts";
import type { MoveWorld } from "./world.ts";

const openStory = (): Story => new Story(seededRandom(7));

async function entered(story: Story, change: Parameters<Story["enter"]>[1] = {}): Promise<MoveEnd | "dead"> {
  const mover = story.mover();
  return story.run(mover, story.enter(mover, change));
}

const stepsOf = (story: Story): readonly string[] =>
  story.events.flatMap((event) => (event.event === "step" && event.at === "begin" ? [event.step] : []));

test("a process goes in step by step, and out again until nothing of it is left", async () => {
  const story = openStory();
  assert.deepEqual((await entered(story)) as MoveEnd, {
    state: "in",
    failed: "",
    watch: { before: [], since: [], unseen: [] },
  });
  const way = ["guard", "sidecar", "crossing", "tracking", "rule", "cut", "measure", "provide", "consume", "settle"];
  assert.deepEqual(stepsOf(story), way);
  assert.equal(story.place, "in");
  assert.equal(story.record?.published[0]?.direct.port, 20_880);
  story.events.length = 0;
  const mover = story.mover();
  assert.equal(((await story.run(mover, story.leave(mover))) as MoveEnd).state, "out");
  const back = ["consume-back", "provide-back", "release", "cut-back", "linger", "close", "end-sidecar"];
  assert.deepEqual(stepsOf(story), back);
  assert.equal(story.place, "out");
  assert.deepEqual(
    [story.disk.records.size, story.machine.sidecarRuns, story.machine.crossings().length],
    [0, false, 0],
  );
  assert.equal(story.disk.endings[0]?.state, "out");
  assert.deepEqual(story.machine.wrong, []);
});

test("one side alone is moved when that is wished, and the other may go first", async () => {
  const story = openStory();
  await entered(story, { only: "consumer" });
  assert.deepEqual([...story.process.node.now, ...story.process.shown.now], ["direct", "mesh"]);
  const mover = story.mover();
  await story.run(mover, story.leave(mover));
  assert.ok(!stepsOf(story).includes("provide-back") && !stepsOf(story).includes("linger"));
  assert.equal(story.place, "out");
  const other = openStory();
  await entered(other, { first: "consumer" });
  assert.ok(stepsOf(other).indexOf("consume") < stepsOf(other).indexOf("provide"));
});

test("calls that become worse undo the move, and go the old way again within ten seconds", async () => {
  for (const atMs of [4_000, 8_000, 12_000, 17_000]) {
    const story = openStory();
    const { clock } = story.machine;
    const mover = story.mover();
    clock.after(atMs, () => mover.verdict.resolve({ reason: "5 in a hundred calls fail" }));
    let backAt = Number.POSITIVE_INFINITY;
    const watch = clock.every(100, () => {
      const isBack = [story.process.node, story.process.shown].every(({ now }) => now.size === 1 && now.has("direct"));
      if (clock.now() > atMs && isBack) backAt = Math.min(backAt, clock.now());
    });
    const end = await story.run(mover, story.enter(mover, { watchMs: 30_000 }));
    watch.cancel();
    assert.deepEqual([(end as MoveEnd).state, (end as MoveEnd).failed], ["undone", "5 in a hundred calls fail"]);
    assert.ok(backAt - atMs <= 4_000, `back after ${backAt - atMs} ms`);
    assert.equal(story.place, "out");
    assert.equal(story.disk.endings[0]?.state, "undone");
    assert.deepEqual(story.machine.wrong, []);
  }
});

test("an operator who interrupts it has everything as before", async () => {
  for (const atMs of [500, 1_500, 3_000, 5_000, 11_000]) {
    const story = openStory();
    const mover = story.mover();
    const stop = new AbortController();
    story.machine.clock.after(atMs, () => stop.abort(new MeshError("move.interrupted", "it was interrupted")));
    const end = await story.run(mover, story.enter(mover, {}, { signal: stop.signal }));
    assert.deepEqual([(end as MoveEnd).state, (end as MoveEnd).failed], ["undone", "it was interrupted"]);
    assert.equal(story.place, "out");
    assert.deepEqual(story.machine.wrong, []);
  }
});

test("an operator who wants it out meanwhile has everything as before, soon, and says nothing to who moves it in again", async () => {
  for (const atMs of [500, 1_500, 3_000, 5_000, 11_000, 20_000]) {
    const story = openStory();
    const { machine, disk } = story;
    const mover = story.mover();
    machine.clock.after(atMs, () => void mover.records.tellToUndo("p4711-32977", mover.self));
    let undoingAt = Number.POSITIVE_INFINITY;
    const watch = machine.clock.every(50, () => {
      if (story.events.some(({ event }) => event === "undo")) undoingAt = Math.min(undoingAt, machine.clock.now());
    });
    const end = await story.run(mover, story.enter(mover, { watchMs: 30_000 }));
    watch.cancel();
    assert.deepEqual([(end as MoveEnd).state, (end as MoveEnd).failed], ["undone", "dualmesh move out was asked for"]);
    assert.ok(undoingAt - atMs <= 1_500, `it begins ${undoingAt - atMs} ms after it was asked for`);
    assert.deepEqual([story.place, disk.told.size], ["out", 1]);
    assert.deepEqual(machine.wrong, []);
    assert.equal(((await entered(story)) as MoveEnd).state, "in", "the word was for another mover");
  }
});

test("sessions that do not come through the doors in time go back to the registry while they live", async () => {
  const story = openStory();
  // Its client library dials again only after 33 s, as one does whose names resolve slowly.
  story.machine.redialAfterMs = 33_000;
  const end = (await entered(story)) as MoveEnd;
  assert.equal(end.state, "undone");
  assert.match(
    end.failed,
    /^within 30 s 0 of its 2 sessions came through the doors for process 4711: look into its log/,
  );
  assert.equal(story.place, "out");
  assert.deepEqual(story.machine.wrong, []);
});

test("a process that ends on the way leaves nothing behind", async () => {
  for (const atMs of [1_000, 3_000, 8_000, 14_000]) {
    const story = openStory();
    story.machine.clock.after(atMs, () => story.machine.endProcess(story.process));
    const end = (await entered(story, { watchMs: 10_000 })) as MoveEnd;
    const last = end.state === "in" ? await recovered(story) : end;
    assert.equal(last.state, "gone");
    const { rules, forwards, sidecarRuns } = story.machine;
    assert.deepEqual([rules.size, forwards.size, sidecarRuns, story.disk.records.size], [0, 0, false, 0]);
    assert.equal(story.disk.endings[0]?.state, "gone");
  }
});

async function recovered(story: Story): Promise<MoveEnd> {
  const mover = story.mover();
  return (await story.run(mover, story.recover(mover))) as MoveEnd;
}

test("a sidecar through which others have come ends in order when its process has ended, since callers of theirs go on", async () => {
  const story = openStory();
  await entered(story);
  const other = story.machine.processes[0] as (typeof story.machine.processes)[number];
  const ways: string[] = [];
  const mover = story.mover();
  const { world } = mover;
  const { sidecars, lives } = world;
  const asked = {
    ...world,
    lives: async (of: Parameters<typeof lives>[0]) => of.pid !== other.pid && (await lives(of)),
    sidecars: { ...sidecars, end: async (_: unknown, how: string) => String(ways.push(how)) },
  };
  const record = story.record as MoveRecord;
  const end = new Mover({ world: asked, records: mover.records, record, tell: () => undefined });
  await story.run(mover, end.recover(new AbortController().signal));
  assert.deepEqual(ways, ["in order"]);
});

test("two movers of one process are one too many, and the second is told who is first", async () => {
  const story = openStory();
  const first = story.mover();
  const going = story.enter(first);
  await story.machine.clock.advance(2_000);
  const second = story.mover();
  await assert.rejects(
    story.enter(second),
    (error: MeshError) => error.code === "move.busy" && /100/.test(error.message),
  );
  assert.equal(((await story.run(first, going)) as MoveEnd).state, "in");
});

test("two processes are moved at once by one sidecar, which ends with the last of them", async () => {
  const story = openStory();
  const other = story.machine.addProcess(4712);
  const [one, two] = [story.mover(), story.mover()];
  const going = Promise.all([story.enter(one), story.enter(two, {}, { process: other })]);
  const ends = (await story.run(one, going)) as readonly MoveEnd[];
  assert.deepEqual(
    ends.map(({ state }) => state),
    ["in", "in"],
  );
  assert.equal(story.machine.starts, 1);
  for (const expected of [true, false]) {
    const mover = story.mover();
    await story.run(mover, story.leave(mover));
    assert.equal(story.machine.sidecarRuns, expected);
  }
  assert.deepEqual(story.machine.wrong, []);
});

test("a sidecar that has its instances from elsewhere is refused before anything is touched", async () => {
  const story = openStory();
  story.machine.directoryKind = "registry";
  story.machine.startSidecar();
  const end = (await entered(story, { sidecar: { state: "/theirs", own: undefined } })) as MoveEnd;
  assert.match(end.failed, /has its instances from "registry": a process is moved by one with directory: zookeeper/);
  assert.deepEqual([end.state, story.machine.sidecarRuns, story.place], ["undone", true, "out"]);
});

test("a move that is set aside goes out when its sidecar can be had, and says so while it cannot", async () => {
  const story = openStory();
  await entered(story);
  story.machine.sidecarStarts = false;
  story.machine.killSidecar(true);
  assert.equal((await recovered(story)).state, "forwarded");
  await story.machine.clock.advance(2_000);
  assert.equal(story.place, "forwarded");
  const mover = story.mover();
  const end = (await story.run(mover, story.leave(mover))) as MoveEnd;
  assert.deepEqual([end.state, story.place], ["forwarded", "forwarded"]);
  assert.match(end.failed, /does not answer/);
  story.machine.sidecarStarts = true;
  assert.equal((await recovered(story)).state, "out");
  assert.equal(story.place, "out");
  assert.deepEqual(story.machine.wrong, []);
});

test("a move that is undone because its sidecar died for a moment waits for the sessions before it asks for what they wrote", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const story = new Story(seededRandom(seed));
    const { machine } = story;
    const mover = story.mover();
    const atMs = 8_000 + seed * 400;
    machine.clock.after(atMs, () => machine.killSidecar());
    machine.clock.after(atMs + 50, () => mover.verdict.resolve({ reason: "calls fail" }));
    const end = (await story.run(mover, story.enter(mover, { watchMs: 10_000 }))) as MoveEnd;
    assert.deepEqual([end.state, story.place], ["undone", "out"]);
    assert.deepEqual(machine.wrong, []);
  }
});

test("when it came in is known through every mending, and what calls were like is told as it was before it was undone", async () => {
  const story = openStory();
  await entered(story);
  const first = story.record as MoveRecord;
  assert.equal(first.cameIn, first.since);
  story.machine.sidecarStarts = false;
  story.machine.killSidecar(true);
  assert.equal((await recovered(story)).state, "forwarded");
  story.machine.sidecarStarts = true;
  assert.equal((await recovered(story)).state, "in");
  assert.equal(story.record?.cameIn, first.cameIn);
  assert.ok((story.record?.since ?? 0) > first.since);

  const other = openStory();
  const mover = other.mover();
  const { openWatch } = mover.world;
  const world: MoveWorld = {
    ...mover.world,
    openWatch: (asked) => {
      const unseen = (): readonly string[] => (other.machine.sidecarRuns ? [] : ["there is no sidecar to be asked"]);
      return { ...openWatch(asked), summary: () => ({ before: [], since: [], unseen: unseen() }) };
    },
  };
  other.machine.clock.after(17_000, () => mover.verdict.resolve({ reason: "calls fail" }));
  const record = { ...recordOf(other.process, mover.self), watchMs: 30_000 };
  const one = new Mover({ world, records: mover.records, record, tell: () => undefined });
  const end = (await other.run(mover, one.enter(new AbortController().signal))) as MoveEnd;
  assert.deepEqual([end.state, other.machine.sidecarRuns, end.watch?.unseen], ["undone", false, []]);
});

test("a process that has closed its registry clients is moved out all the same, and undone soon", async () => {
  const story = openStory();
  await entered(story);
  story.machine.closeSessions(story.process);
  const { clock } = story.machine;
  const begun = clock.now();
  const mover = story.mover();
  const end = (await story.run(mover, story.leave(mover))) as MoveEnd;
  assert.deepEqual([end.state, story.record, story.machine.rules.size], ["out", undefined, 0]);
  assert.ok(clock.now() - begun <= 75_000, `${clock.now() - begun} ms`);
  assert.deepEqual(story.machine.wrong, []);
  const other = openStory();
  const second = other.mover();
  other.machine.clock.after(17_000, () => {
    other.machine.closeSessions(other.process);
    second.verdict.resolve({ reason: "calls fail" });
  });
  const undone = (await other.run(second, other.enter(second, { watchMs: 30_000 }))) as MoveEnd;
  assert.deepEqual([undone.state, undone.failed], ["undone", "calls fail"]);
});

test("a move that was set aside comes back also when its process has closed its registry clients", async () => {
  const story = openStory();
  await entered(story);
  story.machine.killSidecar(true);
  story.machine.closeSessions(story.process);
  story.machine.sidecarStarts = false;
  assert.equal((await recovered(story)).state, "forwarded");
  story.machine.sidecarStarts = true;
  assert.equal((await recovered(story)).state, "in");
  assert.deepEqual([story.record?.sessions, story.machine.forwards.size], [0, 0]);
});
