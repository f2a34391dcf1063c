/** What every commit plays: four of the deaths, by the commit. `npm run upgrade:full` plays all of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import { upgradeStepNames } from "@dualmesh/sidecar/upgrade/steps";
import { allDeaths, deaths, nameOf, playDeath } from "./deaths.ts";
import { sampleOf, upgradeSeed } from "./seed.ts";

const skip = whyNoHandles(process) ?? false;
const wanted = 4;

test("either process dies at every step of the table somewhere", () => {
  for (const side of ["old", "new"])
    assert.deepEqual(
      upgradeStepNames.filter((step) => !deaths.some((death) => death.step === step && death.side === side)),
      [],
    );
});

console.log(`UPGRADE_SEED=${upgradeSeed}`);
for (const { death, supervised } of sampleOf(allDeaths, wanted))
  test(nameOf(death, supervised), { skip, timeout: 240_000 }, async () => {
    const { faults, outcome } = await playDeath(death, supervised, upgradeSeed);
    assert.deepEqual(faults, [], outcome);
  });
