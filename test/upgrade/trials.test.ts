/** What every commit plays: three of the shorter trials, by the commit. `npm run upgrade:full` plays all of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import { sampleOf, upgradeSeed } from "./seed.ts";
import { trials } from "./trials.ts";

const wanted = 3;
const short = trials.filter(({ isLong, skip }) => isLong !== true && skip === undefined);

for (const { name, run } of sampleOf(short, wanted))
  test(name, { skip: whyNoHandles(process) ?? false, timeout: 240_000 }, async () => {
    const { faults, note } = await run(upgradeSeed);
    assert.deepEqual(faults, [], note);
  });
