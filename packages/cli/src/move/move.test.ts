import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import { openRecords } from "@dualmesh/fleet/move/records";
import { recordOf } from "@dualmesh/fleet/move/testing/sim-world";
import { openHome } from "../testing.ts";
import { endGuard } from "./testing.ts";

test("what is wrong with the words of a move is said and ends with 2", async () => {
  await using home = await openHome();
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [["move"], /Usage: dualmesh move VERB/],
    [["move", "inn"], /"move inn" is no command; did you mean "move in"\?/],
    [["move", "--pid", "1"], /--pid stands before the verb; there are move in, move out, move status, move recover/],
    [["move", "in", "--netns", ""], /--netns needs a value: --netns NAME/],
    [["move", "out", "--unit", " "], /--unit says which process, and nothing stands behind it/],
    [["move", "recover", "--pid", "1", "--unit", "x"], /name the process by one of --pid/],
    [["move", "in"], /name the process by one of --pid/],
    [["move", "in", "--pid", "x"], /--pid expects the number of a process/],
    [["move", "in", "--pid", "1", "--befor", "1s"], /did you mean --before\?/],
    [["move", "out", "--pid", "1", "--watch", "1s"], /--watch is no flag of it/],
    [["move", "recover", "--pid", "-1"], /--pid/],
  ];
  for (const [words, expected] of wrong) {
    const { code, stderr, stdout } = await home.run(...words);
    assert.deepEqual([code, stdout], [2, ""], words.join(" "));
    assert.match(stderr, expected);
  }
});

test("what can be said after move is told, with an example of each", async () => {
  await using home = await openHome();
  for (const words of [
    ["move", "--help"],
    ["help", "move"],
  ]) {
    const { code, stdout, stderr } = await home.run(...words);
    assert.deepEqual([code, stderr], [0, ""]);
    for (const verb of ["in", "out", "status", "recover"]) {
      assert.match(stdout, new RegExp(`^  move ${verb} +[A-Z]`, "m"));
      assert.match(stdout, new RegExp(`^  dualmesh move ${verb}( --pid 4711)?$`, "m"));
    }
    assert.match(stdout, /^ {2}move guard and move host are started by these\.$/m);
  }
});

test("a process that is not there is said, and nothing is made for it", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  const { code, stderr } = await home.run("move", "in", "--pid", "4194304", "--dry-run", "--moves", moves);
  assert.equal(code, 1);
  assert.match(stderr, /there is no process 4194304 on this machine/);
  for (const there of [moves, join(import.meta.filename, "moves")]) {
    const out = await home.run("move", "out", "--pid", "4194304", "--moves", there);
    assert.equal(out.code, 1);
    assert.match(out.stderr, /there are no moves in .*: name their directory with --moves/);
  }
  const recover = await home.run("move", "recover", "--moves", moves);
  assert.deepEqual([recover.code, recover.stdout], [1, ""]);
  assert.match(recover.stderr, /there are no moves in/);
});

test("before the first move there is nothing to recover", async () => {
  await using home = await openHome();
  for (const [words, text] of [
    [["move", "recover"], "there is nothing to recover\n"],
    [["move", "recover", "--json"], ""],
  ] as const) {
    const { code, stdout, stderr } = await home.run(...words);
    assert.deepEqual([code, stdout, stderr], [0, text, ""]);
  }
});

test("what goes wrong before anything is done is told to programs, too", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  for (const [words, code, text] of [
    [["out", "--pid", "1", "--moves", moves], "move.none", /there are no moves in/],
    [["in", "--pid", "x"], "usage.wrong", /--pid expects the number of a process/],
    [["in", "--pid", "1", "--only", "provider", "--first", "consumer"], "usage.wrong", /leave one of the two out/],
  ] as const) {
    const { stdout, stderr } = await home.run("move", ...words, "--json");
    const line = JSON.parse(stdout) as Record<string, string>;
    assert.deepEqual([line["event"], line["code"]], ["error", code]);
    assert.match(line["text"] ?? "", text);
    assert.match(stderr, text);
  }
});

test("a process without a registry is refused with the line that says why, for people and for programs", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  // The home of a test is closed to everybody else.
  const user = `${process.getuid?.()}:${process.getgid?.()}`;
  const words = ["move", "in", "--pid", String(process.pid), "--dry-run", "--moves", moves, "--user", user];
  const people = await home.run(...words);
  assert.equal(people.code, 8);
  assert.match(people.stdout, /STOPS {4}registry {2}none of its connections leads to a ZooKeeper/);
  assert.match(people.stdout, /nothing was changed: mend what stops it, and ask again\n$/);
  const { code, stdout } = await home.run(...words, "--json");
  const last = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
  assert.deepEqual([code, last.event, last.state, last.pid], [8, "end", "refused", process.pid]);
  assert.match(last.failed, /^none of its connections/);
});

test("status and recover say so where nothing is moved", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  await mkdir(moves, { mode: 0o700 });
  const status = await home.run("move", "status", "--moves", moves);
  assert.deepEqual([status.code, status.stdout], [0, `no process is moved; the records would be in ${moves}\n`]);
  assert.equal((await home.run("move", "status", "--json", "--moves", moves)).stdout, "");
  const recover = await home.run("move", "recover", "--moves", moves);
  assert.deepEqual([recover.code, recover.stdout], [0, "there is nothing to recover\n"]);
});

test("a record that cannot be read is named by every command that would need it, and none of them ends with 0", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  await mkdir(join(moves, "p4711-99"), { recursive: true, mode: 0o700 });
  await writeFile(join(moves, "p4711-99", "record.document"), "garbage");
  const named = /the move p4711-99 of process 4711 cannot be read, and nobody looks after it: .*record\.document/;
  for (const words of [["status"], ["out", "--pid", "4711"], ["recover"], ["recover", "--pid", "4711"]]) {
    const { code, stdout, stderr } = await home.run("move", ...words, "--moves", moves);
    assert.equal(code, 1, words.join(" "));
    assert.match(`${stdout}${stderr}`, named);
    assert.doesNotMatch(stdout, /nothing to recover|no process is moved/);
  }
  await endGuard(moves); // which the first recover has started
  const lines = await home.run("move", "status", "--json", "--moves", moves);
  const [unreadable, guard] = lines.stdout.split("\n");
  assert.deepEqual([lines.code, JSON.parse(unreadable ?? "").unreadable.name], [1, "p4711-99"]);
  assert.deepEqual(JSON.parse(guard ?? ""), { guard: { kind: "none" } });
  const other = await home.run("move", "recover", "--pid", "4712", "--moves", moves);
  assert.deepEqual([other.code, other.stdout], [0, "there is nothing to recover\n"]);
});

test("a move that is over but for its crossing is shown as that", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  const record = recordOf({ pid: 4_194_304, started: 1 } as Parameters<typeof recordOf>[0], { pid: 1, started: 1 });
  const records = openRecords({ path: moves, clock: systemClock, log: silentLog });
  await records.write({ ...record, state: "closing", ended: "out", since: systemClock.wall() });
  const { code, stdout } = await home.run("move", "status", "--moves", moves);
  assert.equal(code, 0);
  assert.match(
    stdout,
    /^process 4194304 \(java\): closing for \d s\n {2}it is over; its crossing is closed when its sidecar/,
  );
  assert.doesNotMatch(stdout, /the process has ended/);
});

test("a process that was mended is in since it came in, and when it was mended is said beside it", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  const sim = { pid: 4_194_304, started: 1 } as Parameters<typeof recordOf>[0];
  const records = openRecords({ path: moves, clock: systemClock, log: silentLog });
  const wall = systemClock.wall();
  const record: MoveRecord = { ...recordOf(sim, { pid: 1, started: 1 }), state: "in", cameIn: wall - 3_600_000 };
  for (const [since, expected] of [
    [wall - 60_000, /: in for 36\d\d s, mended 6\d s ago\n/],
    [wall - 3_600_000, /: in for 36\d\d s\n/],
  ] as const) {
    await records.write({ ...record, since });
    assert.match((await home.run("move", "status", "--moves", moves)).stdout, expected);
  }
});

test("recover leaves a move alone that somebody else has, says who, and does not end with 0", async () => {
  await using home = await openHome();
  const moves = join(home.path, "moves");
  await mkdir(moves, { mode: 0o700 });
  const sim = { pid: 4_194_304, started: 1 } as Parameters<typeof recordOf>[0];
  const record: MoveRecord = { ...recordOf(sim, { pid: 1, started: 1 }), named: { kind: "unit", name: "pay.service" } };
  const records = openRecords({ path: moves, clock: systemClock, log: silentLog });
  const hold = await records.take(record.name);
  await records.write(record);
  const who = `process ${process.pid} is at the move p4194304-1: wait for it, or see dualmesh move status`;
  for (const named of [[], ["--pid", "4194304"], ["--unit", "pay.service"]]) {
    const { code, stdout } = await home.run("move", "recover", ...named, "--moves", moves);
    assert.deepEqual([code, stdout], [1, `process 4194304 is left alone: ${who}\n`]);
  }
  const { code, stdout } = await home.run("move", "recover", "--json", "--moves", moves);
  const { event, state, pid, failed } = JSON.parse(stdout);
  assert.deepEqual([code, event, state, pid, failed], [1, "end", "busy", 4_194_304, who]);
  const other = await home.run("move", "recover", "--cgroup", "/nobody.slice", "--moves", moves);
  assert.deepEqual([other.code, other.stdout], [0, "there is nothing to recover\n"]);
  await endGuard(moves); // which the first recover has started
  await hold.release();
});
