import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { Ready } from "./ready.ts";

test("ready is who listens and whose directory answered, or was waited for in vain; what is stale becomes fresh", async () => {
  const clock = new FakeClock();
  const ready = new Ready(clock);
  const answer = Promise.withResolvers<"fresh" | "stale">();
  const directory: { readiness: "fresh" | "stale" | "no"; ready(): Promise<"fresh" | "stale"> } = {
    readiness: "no",
    ready: () => answer.promise,
  };
  assert.match(String(ready.reply().body), /ports do not listen yet/);
  ready.follow(directory);
  directory.readiness = "stale";
  assert.equal(ready.reply().status, 503, "no port listens");
  ready.listening();
  directory.readiness = "no";
  assert.match(String(ready.reply().body), /the registry has not answered/);

  const since = new Date(clock.wall()).toISOString();
  directory.readiness = "stale";
  answer.resolve("stale");
  await clock.advance(5_000);
  assert.equal(ready.reply().status, 200);
  assert.ok(String(ready.reply().body).includes(since), "since when it is");

  directory.readiness = "fresh";
  assert.doesNotMatch(String(ready.reply().body), /stale/);
  assert.equal(ready.state, "fresh");
  ready.ending();
  assert.equal(ready.reply().status, 503);
});
