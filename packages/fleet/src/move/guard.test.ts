import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "@dualmesh/base/random";
import type { MoveEnd } from "./one-move.ts";
import type { MoveRecord } from "./record.ts";
import { Story } from "./testing/story.ts";

/** A story in which a process is in the mesh and a guard is at work. */
async function guarded(change: Partial<MoveRecord> = {}) {
  const story = new Story(seededRandom(11));
  if (change.sidecar?.own === undefined && change.sidecar !== undefined) story.machine.startSidecar();
  const { guard, ended } = story.startGuard();
  const mover = story.mover();
  await story.run(mover, story.enter(mover, change));
  assert.equal(story.place, "in");
  return { story, machine: story.machine, guard, ended };
}

const operators: Partial<MoveRecord> = { sidecar: { state: "/theirs", own: undefined } };

test("a sidecar that its own parent has back is left alone", async () => {
  const { story, machine } = await guarded();
  machine.killSidecar();
  await machine.clock.advance(10_000);
  assert.deepEqual([story.place, story.record?.state, machine.forwards.size], ["in", "in", 0]);
  assert.ok(machine.longestGapMs <= 1_700, `${machine.longestGapMs} ms`);
  assert.deepEqual(machine.wrong, []);
  story.end();
});

test("a sidecar that died with its parent is started by the guard, before it is set aside", async () => {
  const { story, machine } = await guarded();
  machine.killSidecar(true);
  await machine.clock.advance(10_000);
  assert.deepEqual([story.place, machine.starts, machine.forwards.size], ["in", 2, 0]);
  assert.ok(machine.longestGapMs <= 3_000, `${machine.longestGapMs} ms`);
  story.end();
});

test("a sidecar that cannot be started is set aside within seconds, and comes back when it can be", async () => {
  const { story, machine } = await guarded();
  machine.sidecarStarts = false;
  machine.killSidecar(true);
  await machine.clock.advance(8_000);
  assert.equal(story.place, "forwarded");
  assert.deepEqual([...machine.forwards.keys()], [story.record?.name]);
  assert.ok(machine.longestGapMs <= 4_500, `${machine.longestGapMs} ms`);
  machine.sidecarStarts = true;
  await machine.clock.advance(120_000);
  assert.deepEqual([story.place, machine.forwards.size], ["in", 0]);
  assert.deepEqual(machine.wrong, []);
  story.end();
});

test("a sidecar that the operator runs is set aside, and taken back at once when the operator has it back", async () => {
  const { story, machine } = await guarded(operators);
  machine.killSidecar(true);
  await machine.clock.advance(300_000);
  assert.deepEqual([story.place, machine.starts], ["forwarded", 1]);
  machine.startSidecar();
  await machine.clock.advance(4_000);
  assert.equal(story.record?.step, "consume");
  // Callers have connections past it, which they give up when the address leaves their lists for a while.
  await machine.clock.advance(50_000);
  assert.deepEqual([story.place, machine.forwards.size], ["in", 0]);
  assert.deepEqual(machine.wrong, []);
  story.end();
});

const refusedText =
  /the host cannot tell whose calls to 10\.1\.1\.2:20881 .* are, and hands none on: who calls there is refused/;

test("what is called at a port that two processes share is handed on to neither, and each says so", async () => {
  const story = new Story(seededRandom(3));
  const { machine } = story;
  const other = machine.addProcess(4712);
  story.startGuard();
  for (const process of [story.process, other]) {
    const mover = story.mover();
    await story.run(mover, story.enter(mover, {}, { process }));
  }
  machine.sidecarStarts = false;
  machine.killSidecar(true);
  await machine.clock.advance(10_000);
  const records = [...story.disk.records.values()];
  assert.deepEqual(
    records.map(({ state }) => state),
    ["forwarded", "forwarded"],
  );
  assert.equal(machine.forwards.size, 0);
  for (const { failed } of records) {
    assert.match(failed, refusedText);
    assert.match(failed, /20880 of process 4711 and 20890 of process 4712/);
  }
  machine.sidecarStarts = true;
  await machine.clock.advance(180_000);
  assert.deepEqual(
    [...story.disk.records.values()].map(({ state }) => state),
    ["in", "in"],
  );
  assert.deepEqual(machine.wrong, []);
  story.end();
});

test("of two ports of one process that share a published one, neither is handed what is the other's", async () => {
  const story = new Story(seededRandom(3), { ports: 2 });
  const { machine } = story;
  story.startGuard();
  const mover = story.mover();
  await story.run(mover, story.enter(mover));
  machine.sidecarStarts = false;
  machine.killSidecar(true);
  await machine.clock.advance(10_000);
  assert.deepEqual([story.place, machine.forwards.size], ["forwarded", 0]);
  assert.match(story.record?.failed ?? "", refusedText);
  assert.ok(
    story.events.every((event) => event.event !== "note"),
    "that was the guard's to say",
  );
  assert.deepEqual(machine.wrong, []);
  story.end();
});

test("a process that comes to a sidecar while another is set aside is not called in its place", async () => {
  const story = new Story(seededRandom(3));
  const { machine } = story;
  machine.startSidecar();
  const other = machine.addProcess(4712);
  const first = story.mover();
  await story.run(first, story.enter(first, operators));
  machine.killSidecar(true);
  const second = story.mover();
  assert.equal(((await story.run(second, story.recover(second))) as MoveEnd).state, "forwarded");
  assert.deepEqual(machine.forwards.get(story.record?.name ?? ""), [
    { published: { host: "10.1.1.2", port: 20_881 }, appPort: 20_880 },
  ]);
  machine.startSidecar();
  story.events.length = 0;
  const third = story.mover();
  assert.equal(((await story.run(third, story.enter(third, operators, { process: other }))) as MoveEnd).state, "in");
  assert.equal(machine.forwards.size, 0);
  assert.ok(story.events.some((event) => event.event === "note" && /^process 4711 is set aside: /.test(event.text)));
  const last = story.mover();
  assert.equal(((await story.run(last, story.recover(last))) as MoveEnd).state, "in");
  assert.deepEqual(machine.wrong, []);
});

test("a crossing at a sidecar that is away when its move ends is closed when that answers again", async () => {
  for (const end of ["out", "gone"] as const) {
    const { story, machine } = await guarded(operators);
    if (end === "out") {
      const mover = story.mover();
      const leaving = story.leave(mover);
      await machine.clock.advance(20_000);
      assert.equal(story.record?.step, "linger");
      machine.killSidecar(true);
      assert.equal(((await story.run(mover, leaving)) as MoveEnd).state, "out");
    } else {
      machine.killSidecar(true);
      machine.endProcess(story.process);
      await machine.clock.advance(5_000);
    }
    assert.deepEqual([story.record?.state, story.record?.ended], ["closing", end]);
    if (end === "out") assert.equal(story.place, "out");
    assert.deepEqual([machine.rules.size, machine.forwards.size, machine.crossings().length], [0, 0, 1]);
    await machine.clock.advance(300_000);
    assert.deepEqual([story.record?.state, story.disk.endings], ["closing", []]);
    machine.startSidecar();
    await machine.clock.advance(3_000);
    assert.deepEqual([story.record, machine.crossings(), story.disk.endings[0]?.state], [undefined, [], end]);
    assert.deepEqual(machine.wrong, []);
    story.end();
  }
});

test("what a sidecar that was removed has kept is not waited for", async () => {
  const { story, machine } = await guarded(operators);
  machine.killSidecar(true);
  machine.endProcess(story.process);
  await machine.clock.advance(5_000);
  assert.equal(story.record?.state, "closing");
  machine.sidecarKeepsState = false;
  await machine.clock.advance(70_000);
  assert.deepEqual([story.record, story.disk.endings[0]?.state], [undefined, "gone"]);
  story.end();
});

test("a sidecar that was started for a process that has ended is had back once more, to close its crossing", async () => {
  const { story, machine } = await guarded();
  machine.killSidecar(true);
  machine.endProcess(story.process);
  await machine.clock.advance(10_000);
  assert.deepEqual([story.record, machine.crossings(), machine.sidecarRuns], [undefined, [], false]);
  story.end();
});

test("a sidecar that dies once more while its move comes back is started at once, or set aside again", async () => {
  for (const starts of [true, false]) {
    const { story, machine } = await guarded();
    machine.sidecarStarts = false;
    machine.killSidecar(true);
    await machine.clock.advance(10_000);
    machine.sidecarStarts = true;
    for (let ms = 0; ms < 60_000 && story.record?.step !== "linger"; ms += 500) await machine.clock.advance(500);
    assert.deepEqual([story.record?.state, story.record?.step], ["forwarded", "linger"]);
    machine.longestGapMs = 0;
    machine.sidecarStarts = starts;
    machine.killSidecar(true);
    await machine.clock.advance(10_000);
    assert.ok(machine.longestGapMs <= 4_500, `${machine.longestGapMs} ms`);
    if (!starts) assert.equal(story.place, "forwarded");
    machine.sidecarStarts = true;
    await machine.clock.advance(180_000);
    assert.deepEqual([story.place, machine.wrong], ["in", []]);
    story.end();
  }
});

test("a sidecar that hangs is ended, and had back by its parent or the guard, before its sessions end", async () => {
  for (const isForGood of [false, true]) {
    const { story, machine } = await guarded();
    machine.hangSidecar(isForGood);
    await machine.clock.advance(60_000);
    assert.deepEqual([story.place, machine.starts, machine.forwards.size], ["in", 2, 0]);
    assert.ok(machine.longestGapMs <= 10_000, `${machine.longestGapMs} ms`);
    assert.deepEqual(machine.wrong, []);
    story.end();
  }
});

test("an operator's sidecar that hangs is set aside, and taken back when the operator has started it again", async () => {
  const { story, machine } = await guarded(operators);
  machine.hangSidecar(true);
  await machine.clock.advance(12_000);
  assert.deepEqual([story.place, machine.forwards.size], ["forwarded", 1]);
  assert.ok(machine.longestGapMs <= 10_000, `${machine.longestGapMs} ms`);
  machine.killSidecar(true);
  await machine.clock.advance(10_000);
  machine.startSidecar();
  await machine.clock.advance(90_000);
  assert.deepEqual([story.place, machine.forwards.size], ["in", 0]);
  assert.deepEqual(machine.wrong, []);
  story.end();
});

test("a sidecar that hangs in the midst of a way out holds nobody up for longer than a session lives", async () => {
  for (const [atMs, isForGood] of [500, 4_000, 8_000, 14_000].flatMap((at) => [
    [at, true] as const,
    [at, false] as const,
  ])) {
    for (const change of [{}, operators]) {
      const { story, machine } = await guarded(change);
      machine.clock.after(atMs, () => machine.hangSidecar(isForGood));
      const mover = story.mover();
      const end = story.leave(mover);
      end.catch(() => undefined);
      await machine.clock.advance(35_000);
      if (machine.hangsSince !== undefined) machine.killSidecar(true);
      machine.startSidecar();
      await story.run(mover, end);
      await machine.clock.advance(120_000);
      assert.deepEqual(machine.wrong, [], `${atMs} ms`);
      assert.equal(story.place, "out", `${atMs} ms: ${JSON.stringify(story.record)}`);
      story.end();
    }
  }
});

test("a sidecar that is back and cannot take the move is tried ever less often, and at once when it was away again", async () => {
  for (const fault of ["directory", "provide"] as const) {
    const { story, machine, guard } = await guarded(operators);
    machine.killSidecar(true);
    await machine.clock.advance(20_000);
    assert.equal(story.record?.state, "forwarded");
    if (fault === "directory") machine.directoryKind = "registry";
    else machine.refuses = "provide";
    machine.startSidecar();
    const from = guard.words.length;
    await machine.clock.advance(300_000);
    const said = (word: string): number => guard.words.slice(from).filter((one) => one === word).length;
    assert.ok(said("take") >= 4 && said("take") <= 12, `${fault}: ${said("take")} times in five minutes`);
    assert.ok(
      said("write") <= 200 && said("catch") <= 10 && said("cut") <= 24,
      `${fault}: ${guard.words.length} words`,
    );
    machine.directoryKind = "zookeeper";
    machine.refuses = undefined;
    machine.killSidecar(true);
    await machine.clock.advance(5_000);
    machine.startSidecar();
    await machine.clock.advance(3_000);
    assert.notEqual(story.record?.step, "", "it is on its way at once");
    await machine.clock.advance(60_000);
    assert.deepEqual([story.place, machine.forwards.size], ["in", 0]);
    assert.deepEqual(machine.wrong, []);
    story.end();
  }
});

test("what a mover left that was killed is taken back within seconds of its death", async () => {
  const story = new Story(seededRandom(11));
  story.startGuard();
  const mover = story.mover();
  const going = story.enter(mover);
  going.catch(() => undefined);
  await story.machine.clock.advance(6_000);
  assert.equal(story.record?.step, "provide");
  mover.end();
  await story.machine.clock.advance(5_000);
  assert.equal(story.record?.state, "undoing");
  assert.ok(story.process.node.now.has("direct") && story.process.node.now.size === 1);
  await story.machine.clock.advance(60_000);
  assert.equal(story.place, "out");
  assert.deepEqual(story.machine.wrong, []);
  story.end();
});

test("a guard that is killed is no loss: the next one goes on", async () => {
  const { story, machine, guard } = await guarded();
  machine.killSidecar(true);
  await machine.clock.advance(600);
  guard.end();
  story.startGuard();
  await machine.clock.advance(20_000);
  assert.equal(story.place, "in");
  story.end();
});

test("a process that ends takes its move along, and the guard ends a minute after the last one", async () => {
  const { story, machine, guard, ended } = await guarded();
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  machine.endProcess(story.process);
  await machine.clock.advance(5_000);
  assert.deepEqual([story.disk.records.size, machine.rules.size, machine.sidecarRuns], [0, 0, false]);
  await machine.clock.advance(50_000);
  assert.equal(hasEnded, false);
  await machine.clock.advance(15_000);
  assert.equal(hasEnded, true);
  assert.equal(guard.isDead, false);
});

test("a guard that has lost who holds its privileges ends, and whoever comes next to a move sees that there is another", async () => {
  const { story, machine, guard, ended } = await guarded();
  let failed: unknown;
  ended.catch((error) => {
    failed = error;
  });
  guard.hasAgent = false;
  await machine.clock.advance(5_000);
  assert.match(String(failed), /the process that holds the privileges is not there/);
  for (const way of ["recover", "leave"] as const) {
    const mover = story.mover();
    await story.run(mover, story[way](mover));
    assert.equal(mover.guards, 1, way);
  }
  assert.equal(story.place, "out");
});

test("a rule that somebody else takes away is put in force again, by the guard or on the way out", async () => {
  const story = new Story(seededRandom(3));
  const { machine } = story;
  const { guard } = story.startGuard();
  const mover = story.mover();
  await story.run(mover, story.enter(mover));
  const cutOff = (): void => {
    machine.rules.clear(); // as whoever loads all rules of a host anew does
    for (const flow of machine.flows(story.process)) machine.cut(flow);
  };
  cutOff();
  assert.equal(story.place, "between");
  await machine.clock.advance(60_000);
  assert.equal(story.place, "in");
  guard.end();
  cutOff();
  await machine.clock.advance(10_000);
  const last = story.mover();
  assert.equal(((await story.run(last, story.leave(last))) as MoveEnd).state, "out");
  assert.equal(story.place, "out");
  story.end();
});

test("what a mover led out that was killed on a full disk is seen, though its record says nothing of it", async () => {
  const { story, machine, guard } = await guarded();
  const { disk } = story;
  disk.isFull = true;
  const mover = story.mover();
  const leaving = story.run(mover, story.leave(mover));
  const isShown = (what: "direct" | "mesh"): boolean =>
    story.process.shown.now.has(what) && story.process.shown.now.size === 1;
  while (!isShown("direct")) await machine.clock.advance(100);
  mover.end();
  assert.equal(await leaving, "dead");
  assert.deepEqual([story.record?.state, machine.rules.size, isShown("direct")], ["in", 1, true]);
  // It is tried while there is no room as well, ever less often.
  await machine.clock.advance(60_000);
  assert.ok(!guard.isDead);
  disk.isFull = false;
  await machine.clock.advance(120_000);
  assert.equal(story.place, "in");
  assert.deepEqual(machine.wrong, []);
  const since = story.record?.since;
  await machine.clock.advance(120_000);
  assert.equal(story.record?.since, since, "it is mended once");
  story.end();
});
