import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "./clock.ts";
import { type Log, silentLog } from "./log.ts";
import { hostOf, ThrottledLog } from "./throttled-log.ts";

function open(keys?: number) {
  const clock = new FakeClock();
  const said: string[] = [];
  const say = (level: string) => (fields: object, text: string) =>
    void said.push(`${level} ${text} ${JSON.stringify(fields)}`);
  const log: Log = { ...silentLog, info: say("info"), warn: say("warn"), error: say("error") };
  const throttled = new ThrottledLog({ log, clock, ...(keys === undefined ? {} : { keys }) });
  return { clock, throttled, taken: () => said.splice(0) };
}

test("the first of a kind is said at once, and what follows once a minute with its number", async () => {
  const { clock, throttled, taken } = open();
  for (let node = 1; node <= 5; node += 1) throttled.warn("one", { node }, "refused");
  throttled.warn("other", { node: 9 }, "refused");
  throttled.error("one", { node: 9 }, "another text");
  assert.deepEqual(taken(), ['warn refused {"node":1}', 'warn refused {"node":9}', 'error another text {"node":9}']);
  await clock.advance(59_999);
  assert.deepEqual(taken(), []);
  await clock.advance(1);
  assert.deepEqual(taken(), ['warn refused {"node":5,"times":4}']);
  throttled.warn("one", { node: 6 }, "refused");
  throttled.warn("one", { node: 7 }, "refused");
  assert.deepEqual(taken(), []);
  await clock.advance(60_000);
  assert.deepEqual(taken(), ['warn refused {"node":7,"times":2}']);
});

test("what has been quiet for a period is said at once again", async () => {
  const { clock, throttled, taken } = open();
  throttled.info("one", {}, "gone");
  await clock.advance(60_000);
  throttled.info("one", {}, "gone");
  assert.deepEqual(taken(), ["info gone {}", "info gone {}"]);
});

test("peers beyond the bound are counted together, by the text", async () => {
  const { clock, throttled, taken } = open(2);
  for (let peer = 0; peer < 100; peer += 1) throttled.warn(`peer ${peer}`, { peer }, "refused");
  assert.deepEqual(taken(), ['warn refused {"peer":0}', 'warn refused {"peer":1}', 'warn refused {"peer":2}']);
  await clock.advance(60_000);
  assert.deepEqual(taken(), ['warn refused {"peer":99,"times":97}']);
  await clock.advance(60_000);
  throttled.warn("peer 100", { peer: 100 }, "refused");
  assert.deepEqual(taken(), ['warn refused {"peer":100}']);
});

test("a peer is its host, whatever port it comes from", () => {
  assert.deepEqual(["10.0.0.1:70", "[::1]:70", "::1:70", "host"].map(hostOf), ["10.0.0.1", "[::1]", "::1", "host"]);
});
