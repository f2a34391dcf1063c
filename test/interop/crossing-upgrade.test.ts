/** What every commit plays: three upgrades of a sidecar that applications of one framework came through by a crossing (`move/seed.ts`). `npm run upgrade:full` plays twenty of each. */
import { test } from "node:test";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import { crossingFrameworks, playCrossingUpgrades } from "./crossing-upgrade.ts";
import { buildFixtures } from "./fixtures.ts";
import { moveSeed, sampleOf } from "./move/seed.ts";
import { takeTurn } from "./turn.ts";

const upgrades = 3;

for (const framework of sampleOf(crossingFrameworks, 1)) {
  test(`applications of ${framework.fixture} that come through a sidecar do not notice that it is upgraded`, async (t) => {
    const why = whyNoHandles(process);
    if (why !== undefined) return t.skip(why);
    t.diagnostic(`MOVE_SEED=${moveSeed}`);
    using _turn = await takeTurn();
    const missing = buildFixtures();
    if (missing !== undefined) return t.skip(missing);
    const { calls } = await playCrossingUpgrades({ framework, upgrades, tell: (line) => t.diagnostic(line) });
    t.diagnostic(`calls: ${calls}`);
  });
}
