import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { FakeClock } from "../clock.ts";
import { isMeshError } from "../errors.ts";
import { headerSize } from "./format.ts";
import { type Journal, openJournal } from "./journal.ts";
import { MemoryFiles } from "./testing.ts";

const path = "/state/sessions.journal";

async function contentOf(files: MemoryFiles): Promise<Record<string, string>> {
  await using journal = await openJournal({ path, files });
  return plain(journal);
}

function plain(journal: Journal): Record<string, string> {
  return Object.fromEntries([...journal.entries()].map(([key, value]) => [key, value.toString()]));
}

test("what was flushed is there after opening again, in a file of mode 0600", async () => {
  const directory = await mkdtemp(join(tmpdir(), "dualmesh-"));
  try {
    const file = join(directory, "a.journal");
    {
      await using journal = await openJournal({ path: file });
      journal.put("a", "1");
      journal.put("b", Buffer.from([0, 255]));
      journal.put("c", "3");
      journal.delete("c");
      assert.equal(journal.get("a")?.toString(), "1");
      await journal.flushed();
      assert.equal((await stat(file)).mode & 0o777, 0o600);
      journal.put("a", "2"); // closing writes the last batch
    }
    await using again = await openJournal({ path: file });
    assert.deepEqual(plain(again), { a: "2", b: "\u0000\ufffd" });
    assert.deepEqual(again.get("b"), Buffer.from([0, 255]));
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a file cut at any byte opens with a prefix of the history, and goes on from there", async () => {
  const files = new MemoryFiles();
  const states: Record<string, string>[] = [{}];
  const ends = [headerSize];
  {
    await using journal = await openJournal({ path, files });
    const steps: [string, string | undefined][] = [
      ["a", "one"],
      ["b", ""],
      ["a", "two"],
      ["b", undefined],
      ["ü", "x".repeat(40)],
    ];
    for (const [key, value] of steps) {
      if (value === undefined) journal.delete(key);
      else journal.put(key, value);
      await journal.flushed();
      states.push(plain(journal));
      ends.push(files.contents.get(path)?.length ?? 0);
    }
  }
  const whole = files.contents.get(path) as Buffer;
  for (let cut = 0; cut <= whole.length; cut++) {
    const torn = new MemoryFiles();
    torn.contents.set(path, whole.subarray(0, cut));
    const expected =
      states[
        Math.max(
          0,
          ends.findLastIndex((end) => end <= cut),
        )
      ];
    {
      await using journal = await openJournal({ path, files: torn });
      assert.deepEqual(plain(journal), expected, `cut at ${cut}`);
      journal.put("new", "value");
    }
    assert.deepEqual(await contentOf(torn), { ...expected, new: "value" }, `written after a cut at ${cut}`);
  }
});

test("a flipped byte ends the history there and never invents an entry", async () => {
  const files = new MemoryFiles();
  {
    await using journal = await openJournal({ path, files });
    for (let i = 0; i < 5; i++) journal.put(`key${i}`, `value${i}`);
  }
  const whole = files.contents.get(path) as Buffer;
  for (let at = headerSize; at < whole.length; at++) {
    const damaged = new MemoryFiles();
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] as number) ^ 0x10;
    damaged.contents.set(path, bytes);
    for (const [key, value] of Object.entries(await contentOf(damaged)))
      assert.equal(value, key.replace("key", "value"));
  }
});

test("a tail of zeros is no record", async () => {
  const files = new MemoryFiles();
  {
    await using journal = await openJournal({ path, files });
    journal.put("a", "1");
  }
  files.contents.set(path, Buffer.concat([files.contents.get(path) as Buffer, Buffer.alloc(64)]));
  assert.deepEqual(await contentOf(files), { a: "1" });
});

test("a foreign file and a file of a later format are refused with what to do", async () => {
  const files = new MemoryFiles();
  files.contents.set(path, Buffer.from("#!/bin/sh\necho this is not a journal\n"));
  await assert.rejects(
    openJournal({ path, files }),
    (error) => isMeshError(error, "state.damaged") && /move it away/.test(error.message),
  );
  files.contents.delete(path);
  await (await openJournal({ path, files }))[Symbol.asyncDispose]();
  const header = files.contents.get(path) as Buffer;
  header.writeUInt16BE(9, 8);
  const { crc32 } = await import("node:zlib");
  header.writeUInt32BE(crc32(header.subarray(0, 12)), 12);
  await assert.rejects(openJournal({ path, files }), (error) => isMeshError(error, "state.version"));
});

test("changes within 5 ms are written together and synced once", async () => {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  await using journal = await openJournal({ path, files, clock });
  const before = files.syncs;
  for (let i = 0; i < 100; i++) journal.put(`k${i}`, "v");
  const flushed = Promise.all([journal.flushed(), journal.flushed()]);
  await clock.advance(4);
  assert.equal(files.syncs, before);
  await clock.advance(1);
  await flushed;
  assert.equal(files.syncs, before + 1);
});

test("flushed resolves for what a batch under way already holds", async () => {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  await using journal = await openJournal({ path, files, clock });
  journal.put("a", "1");
  const advanced = clock.advance(5);
  await Promise.all([advanced, journal.flushed()]);
  await journal.flushed();
});

test("a full disk refuses, keeps what was refused, and takes it when there is room", async () => {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  const journal = await openJournal({ path, files, clock });
  journal.put("before", "1");
  await Promise.all([journal.flushed(), clock.advance(5)]);
  files.free = 10; // a part of the record fits, so the file is torn as well
  journal.put("refused", "2");
  const refused = assert.rejects(journal.flushed(), (error) => isMeshError(error, "state.write-failed"));
  await clock.advance(5);
  await refused;
  assert.equal(journal.get("refused")?.toString(), "2");
  assert.deepEqual(await contentOf(copy(files)), { before: "1" });
  journal.put("more", "3");
  files.free = 10_000;
  await clock.advance(1_000); // nobody asks: it is tried again by itself
  await journal.flushed();
  assert.deepEqual(await contentOf(copy(files)), { before: "1", refused: "2", more: "3" });
  await journal[Symbol.asyncDispose]();
  assert.equal(files.openFiles, 0);
});

test("who waits while the disk refuses brings the next try forward", async () => {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  await using journal = await openJournal({ path, files, clock });
  files.free = 0;
  journal.put("a", "1");
  await clock.advance(5);
  files.free = 1_000;
  await Promise.all([journal.flushed(), clock.advance(5)]);
});

test("after a failed sync the file is written anew, since its pages are not certain", async () => {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  await using journal = await openJournal({ path, files, clock });
  journal.put("a", "1");
  files.refuseSync = true;
  await Promise.all([assert.rejects(journal.flushed(), { code: "state.write-failed" }), clock.advance(5)]);
  files.refuseSync = false;
  const old = files.contents.get(path);
  await Promise.all([journal.flushed(), clock.advance(5)]);
  assert.notEqual(files.contents.get(path), old);
  assert.deepEqual(await contentOf(copy(files)), { a: "1" });
});

test("deletes that wait for a refusing disk are bounded: the file is then written whole", async () => {
  const files = new MemoryFiles();
  const clock = new FakeClock();
  await using journal = await openJournal({ path, files, clock });
  journal.put("keep", "1");
  files.free = 0;
  for (let i = 0; i < 25_000; i++) {
    journal.put(`session${i}`, "x");
    journal.delete(`session${i}`);
  }
  await clock.advance(5);
  files.free = 100_000;
  await Promise.all([journal.flushed(), clock.advance(5)]);
  assert.ok((files.contents.get(path)?.length ?? 0) < 100, "the deletes of what was never on disk are not written");
  assert.deepEqual(await contentOf(copy(files)), { keep: "1" });
});

test("a file that has grown is rewritten to what is live", async () => {
  const files = new MemoryFiles();
  await using journal = await openJournal({ path, files, compactAtBytes: 10_000, flushEveryMs: 0 });
  let largest = 0;
  for (let i = 0; i < 300; i++) {
    journal.put("turning", `${i}`.padEnd(200));
    journal.put(`kept${i % 3}`, `${i}`);
    await journal.flushed();
    largest = Math.max(largest, files.contents.get(path)?.length ?? 0);
  }
  assert.ok(largest < 11_000, `grew to ${largest}`);
  assert.deepEqual(await contentOf(copy(files)), plain(journal));
});

test("a rewrite that fails leaves the old file in use", async () => {
  const files = new MemoryFiles();
  await using journal = await openJournal({ path, files, compactAtBytes: 1_000, flushEveryMs: 0 });
  files.refuseRename = true;
  for (let i = 0; i < 100; i++) {
    journal.put("turning", `${i}`.padEnd(100));
    await journal.flushed();
  }
  assert.deepEqual(await contentOf(copy(files)), { turning: "99".padEnd(100) });
  assert.deepEqual([...files.contents.keys()], [path]);
});

test("whatever the disk refuses in between, a reopened journal holds exactly what was in force", async () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant("put" as const),
      key: fc.constantFrom("a", "b", "c", "d"),
      value: fc.string({ maxLength: 60 }),
    }),
    fc.record({ do: fc.constant("delete" as const), key: fc.constantFrom("a", "b", "c", "d") }),
    fc.record({ do: fc.constant("wait" as const) }),
    fc.record({
      do: fc.constantFrom("refuseSync" as const, "refuseRename" as const, "refuseDirectorySync" as const),
      on: fc.boolean(),
    }),
    fc.record({ do: fc.constant("room" as const), free: fc.integer({ min: 0, max: 200 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const files = new MemoryFiles();
      const clock = new FakeClock();
      const journal = await openJournal({ path, files, clock, compactAtBytes: 150 });
      for (const one of steps) {
        if (one.do === "put") journal.put(one.key, one.value);
        else if (one.do === "delete") journal.delete(one.key);
        else if (one.do === "room") files.free = one.free;
        else if (one.do === "wait") await clock.advance(5);
        else files[one.do] = one.on;
      }
      files.free = Number.POSITIVE_INFINITY;
      files.refuseSync = files.refuseRename = files.refuseDirectorySync = false;
      const expected = plain(journal);
      await clock.advance(2_000);
      await journal.flushed();
      assert.deepEqual(await contentOf(copy(files)), expected);
      await journal[Symbol.asyncDispose]();
      assert.equal(files.openFiles, 0);
    }),
    { numRuns: 200 },
  );
});

test("closing while the disk refuses says so, and a change after closing is an error", async () => {
  const files = new MemoryFiles();
  const journal = await openJournal({ path, files });
  files.free = 0;
  journal.put("a", "1");
  await assert.rejects(async () => journal[Symbol.asyncDispose](), { code: "state.write-failed" });
  assert.throws(() => journal.put("b", "2"), { code: "state.closed" });
  assert.equal(files.openFiles, 0);
});

test("a key or value beyond the limits is refused", async () => {
  await using journal = await openJournal({ path, files: new MemoryFiles() });
  assert.throws(() => journal.put("k".repeat(65_536), ""), { code: "state.too-large" });
  assert.throws(() => journal.put("k", Buffer.alloc(16 * 1024 * 1024)), { code: "state.too-large" });
  assert.equal(journal.get("k"), undefined);
});

function copy(files: MemoryFiles): MemoryFiles {
  const other = new MemoryFiles();
  for (const [name, bytes] of files.contents) other.contents.set(name, Buffer.from(bytes));
  return other;
}
