import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { FakeClock, systemClock } from "@dualmesh/base/clock";
import type { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { ensureGuard, type GuardPost, seeGuard, takeGuardPost } from "./guard-post.ts";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "dm-post-"));
});
after(() => rm(root, { recursive: true }));

let count = 0;
const openMoves = (): string => join(root, `${++count}`);
const options = (moves: string) => ({ moves, clock: systemClock, log: silentLog });

test("who asks for a guard keeps none from taking its post, however often it asks", async () => {
  const moves = openMoves();
  await (await takeGuardPost(options(moves))).leave();
  let isAsking = true;
  const asking = Array.from({ length: 4 }, async () => {
    let asked = 0;
    for (; isAsking; asked++) await seeGuard(moves, systemClock);
    return asked;
  });
  for (let round = 0; round < 50; round++) {
    const post = await takeGuardPost(options(moves));
    assert.equal((await seeGuard(moves, systemClock)).kind, "at work");
    await post.leave();
  }
  isAsking = false;
  for (const asked of await Promise.all(asking)) assert.ok(asked > 50, `${asked}`);
  assert.deepEqual(await seeGuard(moves, systemClock), { kind: "none" });
});

test("a second guard of a directory is one too many", async () => {
  const moves = openMoves();
  const post = await takeGuardPost(options(moves));
  const seen = await seeGuard(moves, systemClock);
  assert.ok(seen.kind === "at work" && seen.pid === process.pid && Math.abs(seen.since - systemClock.wall()) < 60_000);
  await assert.rejects(takeGuardPost(options(moves)), (error: MeshError) => error.code === "state.locked");
  assert.equal((await seeGuard(moves, systemClock)).kind, "at work", "the first is there as before");
  await post.leave();
  await (await takeGuardPost(options(moves))).leave();
});

test("a guard is started once, and waited for", async () => {
  const moves = openMoves();
  let started: GuardPost | undefined;
  const logs: string[] = [];
  const start = async (log: string): Promise<void> => {
    logs.push(log);
    started = await takeGuardPost(options(moves));
  };
  for (let round = 0; round < 3; round++) await ensureGuard(moves, systemClock, start);
  assert.deepEqual(logs, [join(moves, "guard.log")]);
  await started?.leave();
});

test("a guard that does not come, or hangs, is told with the log that says why", async () => {
  const moves = openMoves();
  const refused = (expected: RegExp) => (error: MeshError) =>
    error.code === "move.no-guard" && expected.test(error.message);
  const none = ensureGuard(moves, new HastyClock(), async () => undefined);
  await assert.rejects(none, refused(/was started and is not at work after 15 s; .*guard\.log says why/));
  const post = await takeGuardPost(options(moves));
  await post.leave();
  const hanging = createServer(() => undefined).listen(join(moves, "guard", "control.sock"));
  const silent = ensureGuard(moves, new HastyClock(), async () => undefined);
  await assert.rejects(silent, refused(/is there and does not answer after 15 s/));
  hanging.close();
});

/** Whatever is waited for comes at once, and time has passed by as much. */
class HastyClock extends FakeClock {
  override after(delayMs: number, task: () => void) {
    const timer = super.after(delayMs, task);
    setImmediate(() => void this.advance(delayMs));
    return timer;
  }
}
