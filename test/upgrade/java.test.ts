/** What every commit plays: real Java applications of one framework, by the commit, behind sidecars that are upgraded four times each. `npm run upgrade:full` plays all, twenty times. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { takeTurn } from "../interop/turn.ts";
import { javaFrameworks, playJava, whyNoJava } from "./java.ts";
import { sampleOf, upgradeSeed } from "./seed.ts";

const upgrades = 4;

for (const framework of sampleOf(javaFrameworks, 1))
  test(`applications of ${framework} do not notice that their sidecars are upgraded`, async (t) => {
    t.diagnostic(`UPGRADE_SEED=${upgradeSeed}`);
    using _turn = await takeTurn();
    const why = whyNoJava();
    if (why !== undefined) return t.skip(why);
    const { faults, note, calls, upgrades: all } = await playJava({ framework, upgrades });
    t.diagnostic(note);
    assert.deepEqual(faults, [], note);
    assert.ok(calls > 500 && all === upgrades * 2, note);
  });
