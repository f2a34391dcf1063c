/**
 * What a continuous build plays of what is too much for it follows from the commit, so that another commit plays others. `MOVE_SEED=N` plays
 * what N plays, and `MOVE_SEED=all` everything.
 */
import { spawnSync } from "node:child_process";
import { repository } from "../product.ts";
import { picked } from "./plan.ts";

const given = process.env["MOVE_SEED"];

export const moveSeed: number = given === undefined || given === "all" ? seedOfCommit() : Number(given);

/** As many of them as are wanted by the seed, or all. */
export function sampleOf<One>(all: readonly One[], wanted: number): readonly One[] {
  return given === "all" ? all : picked(moveSeed, all, wanted);
}

function seedOfCommit(): number {
  const { stdout } = spawnSync("git", ["rev-parse", "HEAD"], { cwd: repository, encoding: "utf8" });
  return Number.parseInt(stdout?.slice(0, 8) || "1", 16);
}
