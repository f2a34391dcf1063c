/** For tests: whether the load generator can be had here. */
import type { TestContext } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import { buildLoad } from "./load.ts";

/** Builds it; false, and the test is skipped, where there is no compiler. */
export function canBuild(context: TestContext): boolean {
  try {
    buildLoad();
    return true;
  } catch (error) {
    if (!isMeshError(error, "bench.compiler") || !error.message.includes("no C compiler")) throw error;
    context.skip(error.message);
    return false;
  }
}
