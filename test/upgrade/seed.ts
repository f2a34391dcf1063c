/**
 * What each commit plays of what is too much for it follows from the commit, so that another one plays others. `UPGRADE_SEED=N` plays what N plays, and
 * `npm run upgrade:full` everything.
 */
import { spawnSync } from "node:child_process";
import { picked } from "../interop/move/plan.ts";
import { repository } from "../interop/product.ts";

const given = process.env["UPGRADE_SEED"];

export const upgradeSeed: number = given === undefined ? seedOfCommit() : Number(given);

/** As many of them as are wanted, by the seed. */
export function sampleOf<One>(all: readonly One[], wanted: number): readonly One[] {
  return picked(upgradeSeed, all, wanted);
}

function seedOfCommit(): number {
  const { stdout } = spawnSync("git", ["rev-parse", "HEAD"], { cwd: repository, encoding: "utf8" });
  return Number.parseInt(stdout?.slice(0, 8) || "1", 16);
}
