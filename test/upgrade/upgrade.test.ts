/** What every commit plays: ten upgrades in a row under a mixed load. `npm run upgrade:full` plays a hundred. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import { playRow } from "./row.ts";

const skip = whyNoHandles(process) ?? false;
const seed = Number(process.env["SEED"] ?? 1);

for (const [supervised, upgrades] of [
  [false, 6],
  [true, 4],
] as const)
  test(`${upgrades} upgrades in a row under load lose nothing and close nothing, ${supervised ? "under a parent" : "plain"}`, {
    skip,
    timeout: 300_000,
  }, async () => {
    const { faults, calls, oneways, upgrades: all } = await playRow({ upgrades, supervised, seed });
    assert.deepEqual(faults, []);
    assert.ok(calls > 100 && oneways > 10, `${calls} calls, ${oneways} oneway`);
    for (const { cut, moved } of all) assert.ok(cut === 0 && moved > 40, `${moved} moved, ${cut} cut`);
  });
