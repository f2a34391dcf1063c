/** `dualmesh move guard`: started by `move in`, one for each moves directory. */
import { mkdir } from "node:fs/promises";
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { takeLock } from "@dualmesh/base/state/lock";
import { runGuard } from "@dualmesh/fleet/move/guard";
import { guardDirectory } from "@dualmesh/fleet/move/real-world";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { movesPath, openSetting, ownerOfMoves } from "./privileges.ts";

export async function runMoveGuard(flags: FlagValues): Promise<number> {
  const moves = movesPath(flags);
  const user = ownerOfMoves(moves);
  await using setting = await openSetting({ moves, user, sudo: false, logLevel: "info" });
  const { records, world, log } = setting;
  const ending = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => ending.abort());
  await mkdir(guardDirectory(moves), { recursive: true, mode: 0o700 });
  for (;;) {
    try {
      const lock = await takeLock(guardDirectory(moves), systemClock);
      log.info({ moves, pid: process.pid }, "the guard is at work");
      await runGuard({ world, records, signal: ending.signal });
      await lock.release();
    } catch (error) {
      if (!isMeshError(error, "state.locked")) throw error;
      log.info({ moves }, "another guard is at work");
      return exitCodes.ok;
    }
    // A mover that saw the lock a moment ago relies on it.
    if (ending.signal.aborted || (await records.list()).length === 0) break;
  }
  log.info({ moves }, "there is nothing left to guard");
  return exitCodes.ok;
}
