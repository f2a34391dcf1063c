/** `dualmesh move guard`: started by `move in`, one for each moves directory. */
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { runGuard } from "@dualmesh/fleet/move/guard";
import { takeGuardPost } from "@dualmesh/fleet/move/guard-post";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { movesPath, openSetting, ownerOfGuard } from "./privileges.ts";

export async function runMoveGuard(flags: FlagValues): Promise<number> {
  const moves = movesPath(flags);
  const user = ownerOfGuard(flags, moves);
  await using setting = await openSetting({ moves, user, sudo: false, logLevel: "info" });
  const { records, world, log } = setting;
  const ending = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => ending.abort());
  for (;;) {
    try {
      const post = await takeGuardPost({ moves, clock: systemClock, log });
      try {
        log.info({ moves, pid: process.pid }, "the guard is at work");
        await runGuard({ world, records, signal: ending.signal });
      } finally {
        await post.leave();
      }
    } catch (error) {
      if (!isMeshError(error, "state.locked")) throw error;
      log.info({ moves }, "another guard is at work");
      return exitCodes.ok;
    }
    // A mover that saw this one a moment ago relies on it.
    if (ending.signal.aborted || (await records.list()).length === 0) break;
  }
  log.info({ moves }, "there is nothing left to guard");
  return exitCodes.ok;
}
