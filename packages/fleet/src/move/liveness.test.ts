import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { controlPath, openControl } from "@dualmesh/base/state/control-socket";
import { Livenesses } from "./liveness.ts";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "dm-liveness-"));
});
after(() => rm(root, { recursive: true }));

/** Listens, and says nothing, as a process that hangs does. */
async function openHanging(directory: string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(controlPath(directory), resolve));
  return server;
}

/** Asked five times a second, as the guard does; the moment at which it first was so. */
async function firstAt(clock: FakeClock, of: () => Promise<string>, wanted: string, longestMs: number) {
  for (let ms = 0; ms <= longestMs; ms += 200) {
    if ((await of()) === wanted) return ms;
    await clock.advance(200);
  }
  return undefined;
}

test("one that listens and leaves questions without an answer hangs within seven seconds, and is another once it listens anew", async () => {
  const clock = new FakeClock();
  const livenesses = new Livenesses(clock);
  const of = () => livenesses.of(root);
  assert.equal(await of(), "away");
  const hanging = await openHanging(root);
  assert.equal(await of(), "answers", "one question is none");
  const at = await firstAt(clock, of, "hangs", 20_000);
  assert.ok(at !== undefined && at >= 4_000 && at <= 7_000, `${at}`);
  await new Promise<void>((resolve) => {
    hanging.close(() => resolve());
    void clock.advance(2_000);
  });
  assert.equal(await of(), "away");
  const control = await openControl({ directory: root, handlers: new Map([["status", async () => ({})]]) });
  for (let round = 0; round < 50; round++) {
    assert.equal(await of(), "answers");
    await clock.advance(200);
  }
  await control.close();
});

test("one that refuses what it is asked does not hang", async () => {
  const clock = new FakeClock();
  const livenesses = new Livenesses(clock);
  const control = await openControl({ directory: root, handlers: new Map() });
  assert.equal(await firstAt(clock, () => livenesses.of(root), "hangs", 10_000), undefined);
  await control.close();
});
