import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import { type Files, systemFiles } from "@dualmesh/base/state/files";
import type { MoveRecord } from "./record.ts";
import { readRecord } from "./record.ts";
import { openRecords } from "./records.ts";
import { Machine } from "./testing/machine.ts";
import { recordOf } from "./testing/sim-world.ts";
import type { MoveEnding } from "./world.ts";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "dm-moves-"));
});
after(() => rm(root, { recursive: true }));

let count = 0;
function openIn(path = join(root, `${++count}`)) {
  return { path, records: openRecords({ path, clock: systemClock, log: silentLog }) };
}

const record: MoveRecord = recordOf(new Machine(seededRandom(1)).addProcess(4711), { pid: 1, started: 2 });
const ending: MoveEnding = { name: record.name, pid: 4711, command: "java", state: "out", failed: "", at: 5 };

test("a record is as it was written, for who comes later, and only for its user", async () => {
  const { path, records } = openIn();
  assert.deepEqual(await records.list(), []);
  assert.equal(await records.read(record.name), undefined);
  await records.write(record);
  const written: MoveRecord = { ...record, state: "in", step: "settle", done: ["sidecar"] };
  await records.write(written);
  const later = openIn(path).records;
  // What JSON has no word for is left out, and means the same.
  assert.deepEqual(await later.list(), [JSON.parse(JSON.stringify(written))]);
  assert.equal((await stat(join(path, record.name))).mode & 0o777, 0o700);
  assert.equal((await stat(join(path, record.name, "record.document"))).mode & 0o777, 0o600);
});

test("a record that is damaged, or of another version, hides no other and is told when it is asked for", async () => {
  const { path, records } = openIn();
  const other = { ...record, name: "p4712-1" };
  await records.write(record);
  await records.write(other);
  const file = join(path, record.name, "record.document");
  const bytes = await readFile(file);
  for (let at = 0; at < bytes.length; at += 7) {
    const damaged = Buffer.from(bytes);
    damaged[at] = (damaged[at] as number) ^ 0x55;
    await writeFile(file, damaged);
    await assert.rejects(records.read(record.name), (error: MeshError) => /^(state|move)\./.test(error.code));
  }
  await writeFile(file, bytes.subarray(0, bytes.length >> 1));
  await assert.rejects(records.read(record.name), (error: MeshError) => error.code === "state.damaged");
  assert.deepEqual(
    (await records.list()).map(({ name }) => name),
    [other.name],
  );
  const [unreadable, ...more] = await records.unreadable();
  assert.deepEqual([unreadable?.name, unreadable?.pid, more], [record.name, record.process.pid, []]);
  assert.match(unreadable?.why ?? "", /record\.document/);
  for (const change of [
    { version: 2 },
    { state: "flying" },
    { begun: ["fly"] },
    { name: "../x" },
    { mover: 7 },
    { ended: "x" },
  ]) {
    assert.throws(
      () => readRecord({ ...record, ...change }, file),
      /is not the record of a move that this version knows/,
    );
  }
  assert.throws(() => readRecord(null, file), MeshError);
});

test("one at a time has a move, and the next is told who", async () => {
  const { records } = openIn();
  const hold = await records.take(record.name);
  await assert.rejects(
    records.take(record.name),
    (error: MeshError) =>
      error.code === "move.busy" && error.details["pid"] === process.pid && /wait for it/.test(error.message),
  );
  const other = await records.take("p4712-1");
  await hold.release();
  await (await records.take(record.name)).release();
  await other.release();
});

test("the hold of a mover that was killed is free at once", async () => {
  const { path, records } = openIn();
  const script = `
import { openRecords } from ${JSON.stringify(new URL("./records.ts", import.meta.url).href)};
import { systemClock } from ${JSON.stringify(import.meta.resolve("@dualmesh/base/clock"))};
import { silentLog } from ${JSON.stringify(import.meta.resolve("@dualmesh/base/log"))};
await openRecords({ path: ${JSON.stringify(path)}, clock: systemClock, log: silentLog }).take("p4711-32977");
process.stdout.write("held");
process.stdin.resume();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["pipe", "pipe", "inherit"] });
  await once(child.stdout, "data");
  await assert.rejects(records.take("p4711-32977"), (error: MeshError) => error.details["pid"] === child.pid);
  child.kill("SIGKILL");
  await once(child, "exit");
  await (await records.take("p4711-32977")).release();
});

test("a move that has ended is in the history and nowhere else, also when somebody waits for it", async () => {
  const { path, records } = openIn();
  for (let round = 0; round < 20; round++) {
    const hold = await records.take(record.name);
    await records.write(record);
    const waiting = takeInTheEnd(records);
    await records.forget(record, { ...ending, at: round });
    await hold.release();
    const next = await waiting;
    assert.equal(await records.read(record.name), undefined);
    await next.release();
  }
  const lines = (await readFile(join(path, "history.jsonl"), "utf8")).trim().split("\n");
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).at),
    Array.from({ length: 20 }, (_, round) => round),
  );
  assert.deepEqual(await readdir(path), ["history.jsonl"]);
});

test("directories of moves that nobody has begun, or that ended, hide no move and count for none", async () => {
  const { path, records } = openIn();
  const later = { ...record, name: "p99999-1" };
  await records.write(later);
  for (let count = 0; count < 1_000; count++) await mkdir(join(path, `p1000-${count}`));
  assert.deepEqual(
    (await records.list()).map(({ name }) => name),
    [later.name],
  );
  const hold = await records.take(record.name);
  await records.write(record);
  await hold.release();
  assert.deepEqual(
    (await records.list()).map(({ name }) => name),
    [record.name, later.name],
  );
});

test("a thousand moves are the most, and one that is there already may be taken all the same", async () => {
  const { path, records } = openIn();
  await records.write({ ...record, name: "p1-0" });
  const bytes = await readFile(join(path, "p1-0", "record.document"));
  for (let count = 1; count < 1_000; count++) {
    await mkdir(join(path, `p1-${count}`));
    await writeFile(join(path, `p1-${count}`, "record.document"), bytes);
  }
  await assert.rejects(records.take(record.name), (error: MeshError) => error.code === "move.too-many");
  await (await records.take("p1-77")).release();
  assert.equal((await records.list()).length, 1_000);
});

test("the word to take a move back reaches the mover that it is for, from however many, and goes with the move", async () => {
  const { path, records } = openIn();
  const [mover, next] = [
    { pid: 7, started: 9 },
    { pid: 7, started: 10 },
  ];
  await records.tellToUndo(record.name, mover);
  assert.equal(await records.isToldToUndo(record.name, mover), false, "there is no such move");
  await records.write(record);
  await Promise.all([1, 2, 3].map(() => records.tellToUndo(record.name, mover)));
  assert.deepEqual(
    [await records.isToldToUndo(record.name, mover), await records.isToldToUndo(record.name, next)],
    [true, false],
  );
  await records.tellToUndo(record.name, next);
  assert.equal(await records.isToldToUndo(record.name, next), true);
  assert.equal(await records.ending(record.name), undefined);
  await records.forget(record, ending);
  const other = { ...record, name: "p4712-1" };
  for (const one of [record, other]) await records.write(one);
  await records.forget(record, { ...ending, state: "undone", at: 6 });
  await records.forget(other, { ...ending, name: other.name });
  assert.deepEqual(await records.ending(record.name), { ...ending, state: "undone", at: 6 });
  assert.deepEqual(await readdir(path), ["history.jsonl"]);
});

test("a move ends on a full disk as well, and leaves nothing there that would take room", async () => {
  const { path, records } = openIn();
  await records.write(record);
  const full: Files = {
    ...systemFiles,
    async open(name, how) {
      const file = await systemFiles.open(name, how);
      const write = async (): Promise<never> => {
        throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
      };
      return { ...file, write };
    },
  };
  const later = openRecords({ path, clock: systemClock, log: silentLog, files: full });
  await assert.rejects(
    later.write({ ...record, state: "undoing" }),
    (error: MeshError) => error.code === "state.write-failed" && /make room on the disk/.test(error.message),
  );
  assert.equal((await later.read(record.name))?.state, "entering", "what was there is there");
  await later.forget(record, ending);
  assert.equal(await records.read(record.name), undefined);
  assert.deepEqual(await readdir(path), []);
});

async function takeInTheEnd(records: ReturnType<typeof openRecords>) {
  for (;;) {
    try {
      return await records.take(record.name);
    } catch (error) {
      if (!(error instanceof MeshError && error.code === "move.busy")) throw error;
    }
  }
}

test("the history stays within a megabyte and keeps what is newest", async () => {
  const { path, records } = openIn();
  const long = "x".repeat(300_000);
  for (let at = 0; at < 5; at++) {
    await records.write(record);
    await records.forget(record, { ...ending, command: long, at });
  }
  const text = await readFile(join(path, "history.jsonl"), "utf8");
  assert.ok(text.length <= 1024 * 1024, `${text.length}`);
  const ats = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).at);
  assert.equal(ats.at(-1), 4);
});
