import assert from "node:assert/strict";
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { takeLock } from "@dualmesh/base/state/lock";
import { boundLogs, removeRemains, sidecarLog } from "./sidecar-remains.ts";

async function withMoves(work: (moves: string) => Promise<void>): Promise<void> {
  const moves = await mkdtemp(join(tmpdir(), "dm-remains-"));
  try {
    await work(moves);
  } finally {
    await rm(moves, { recursive: true });
  }
}

test("the directory of a sidecar that has ended goes whole, and the end of its log stays beside it", async () => {
  await withMoves(async (moves) => {
    const directory = join(moves, "sidecar-0badcafe");
    await mkdir(join(directory, "state", "code"), { recursive: true });
    await writeFile(join(directory, "state", "code", "x"), "x");
    await mkdir(join(moves, "sidecar-0badcafe.ended"));
    await writeFile(sidecarLog(directory), `${"a line of a log\n".repeat(50_000)}the last line\n`);
    const lock = await takeLock(directory);
    assert.equal(await removeRemains(directory, systemClock), true);
    await lock.release();
    assert.deepEqual(await readdir(moves), ["sidecar-0badcafe.log"]);
    const log = await readFile(sidecarLog(directory), "utf8");
    assert.ok(log.length <= 256 * 1024 && log.length > 255 * 1024, String(log.length));
    assert.match(log, /^a line of a log\n/);
    assert.match(log, /\nthe last line\n$/);
  });
});

test("nothing of a sidecar goes while a living process has its state", async () => {
  await withMoves(async (moves) => {
    const directory = join(moves, "sidecar-0badcafe");
    const state = join(directory, "state");
    await mkdir(state, { recursive: true });
    const lock = await takeLock(state);
    assert.equal(await removeRemains(directory, systemClock), false);
    assert.ok((await stat(state)).isDirectory());
    await lock.release();
    await removeRemains(directory, systemClock);
    assert.deepEqual(await readdir(moves), []);
  });
});

test("of the logs of ended sidecars the newest ten stay, and those of running ones", async () => {
  await withMoves(async (moves) => {
    for (let index = 0; index < 14; index++) {
      const log = sidecarLog(join(moves, `sidecar-0badcaf${index.toString(16)}`));
      await writeFile(log, "x");
      await utimes(log, 1_000 + index, 1_000 + index);
    }
    await writeFile(join(moves, "guard.log"), "x");
    await mkdir(join(moves, "sidecar-0badcaf0"));
    const ended = join(moves, "sidecar-0badcafd");
    await mkdir(ended);
    await removeRemains(ended, systemClock);
    const names = (await readdir(moves)).filter((name) => name.endsWith(".log")).sort();
    const kept = ["0", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d"].map((digit) => `sidecar-0badcaf${digit}.log`);
    assert.deepEqual(names, ["guard.log", ...kept]);
  });
});

test("a log that is written for long is cut to its end, and goes on there", async () => {
  await withMoves(async (moves) => {
    const log = sidecarLog(join(moves, "sidecar-0badcafe"));
    const writing = await open(log, "a");
    try {
      await writing.write("a line of a log\n".repeat(1024 * 1024));
      await boundLogs(moves);
      assert.equal((await stat(log)).size, 16 * 1024 * 1024, "not before it is too long");
      await writing.write("one more\n");
      await boundLogs(moves);
      await writing.write("the last line\n");
    } finally {
      await writing.close();
    }
    const text = await readFile(log, "utf8");
    assert.ok(text.length <= 257 * 1024, String(text.length));
    assert.match(text, /^a line of a log\n.*\none more\nthe last line\n$/s);
  });
});
