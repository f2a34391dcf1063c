import assert from "node:assert/strict";
import { test } from "node:test";
import { type Call, lostDuring, lostNotInFlight } from "./calls.ts";

const lost = (at: number, ms: number): Call => ({ at, ms, who: undefined, error: "reset" });

test("a lost call counts for every span that it overlaps", () => {
  const calls = [lost(90, 20), lost(200, 1), { ...lost(120, 1), who: "a:1:plain" }];
  assert.deepEqual(lostDuring(calls, { from: 100, to: 150 }), [calls[0]]);
  assert.deepEqual(lostDuring(calls, { from: 0, to: 300 }), [calls[0], calls[1]]);
});

test("a lost call is excused only if it was under way at the moment of the kill", () => {
  const underWay = lost(1_000, 3_000);
  const before = lost(500, 100);
  const after = lost(2_100, 5);
  assert.deepEqual(lostNotInFlight([underWay, before, after], { from: 2_000, to: 2_000 }), [before, after]);
});
