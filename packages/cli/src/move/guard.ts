/**
 * The guard of a moves directory as a process: one for each, started by `move in`, or by an init system that wants one to stay. Under a parent
 * (`supervise-guard.ts`) whatever kills one of the three is mended: the parent has back a guard that died or lost who holds its privileges, and a guard that has
 * lost its parent has a pair of both started by who holds its privileges, and makes room.
 */
import { sleep, systemClock } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import { netnsOf } from "@dualmesh/fleet/host/namespace";
import type { AgentProcess } from "@dualmesh/fleet/host/start-agent";
import { runGuard } from "@dualmesh/fleet/move/guard";
import { type GuardPost, guardLog, guardWords, takeGuardPost } from "@dualmesh/fleet/move/guard-post";
import { boundLogs } from "@dualmesh/fleet/move/sidecar-remains";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { movesPath, openSetting, ownerOfGuard, type Setting } from "./privileges.ts";
import { hearParent, isParentGone } from "./supervise-guard.ts";

const parentLookMs = 200;
/** How often one that stays looks whether the post is free. */
const postLookMs = 200;
/** How often it is seen that no log becomes too long. */
const logLookMs = 60_000;
/** Between the tries to start another guard. */
const handOverWaitsMs: readonly number[] = [1_000, 5_000];

export async function runMoveGuard(flags: FlagValues, agent: AgentProcess | undefined): Promise<number> {
  const moves = movesPath(flags);
  const user = ownerOfGuard(flags, moves);
  await using setting = await openSetting({ moves, user, sudo: false, logLevel: "info", agent });
  const { log, records } = setting;
  const ending = new AbortController();
  let isTold = false;
  const end = (): void => {
    isTold = true;
    ending.abort();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, end);
  hearParent(end);
  const looking = systemClock.every(parentLookMs, () => {
    if (isParentGone()) ending.abort();
  });
  const isLast = await guardOn(setting, flags.has("stay"), ending.signal);
  looking.cancel();
  const isNeeded = !isTold && (await records.list()).length + (await records.unreadable()).length > 0;
  if (!isLast) log.info({ moves }, "another guard is at work");
  else if (isNeeded && isParentGone()) await handOver(setting);
  else log.info({ moves }, isTold ? "the guard was told to end" : "there is nothing left to guard");
  return exitCodes.ok;
}

/** Resolves when there is nothing left to guard, or `ending` is aborted; to false when another guard is at work. */
async function guardOn(setting: Setting, stays: boolean, ending: AbortSignal): Promise<boolean> {
  const { moves, records, world, log } = setting;
  for (let isTold = false; !ending.aborted; ) {
    const post = await postIfFree(setting);
    if (post === undefined && !stays) return false;
    if (post === undefined) {
      if (!isTold) log.info({ moves }, "another guard is at work, whose place is taken when it ends");
      isTold = true;
      await sleep(systemClock, postLookMs, ending).catch(() => undefined); // the loop sees it
      continue;
    }
    isTold = false;
    const bounding = systemClock.every(logLookMs, () => {
      boundLogs(moves).catch((error) =>
        log.warn({ error: messageOf(error) }, "the logs of sidecars cannot be bounded"),
      );
    });
    try {
      log.info({ moves, pid: process.pid }, "the guard is at work");
      await runGuard({ world, records, stays, signal: ending });
    } finally {
      bounding.cancel();
      await post.leave();
    }
    // A mover that saw this one a moment ago relies on it.
    if (!stays && (await records.list()).length === 0) break;
  }
  return true;
}

async function postIfFree({ moves, log }: Setting): Promise<GuardPost | undefined> {
  try {
    return await takeGuardPost({ moves, clock: systemClock, log });
  } catch (error) {
    if (isMeshError(error, "state.locked")) return undefined;
    throw error;
  }
}

/** Nobody would have this one back: it has left its post to one with a parent. Rejects when none could be started, time after time. */
async function handOver({ moves, privileged, log }: Setting): Promise<void> {
  const netns = netnsOf("self");
  log.warn({ moves }, "the parent of the guard is gone, and another guard with a parent is started");
  if (netns === undefined) return;
  for (let tries = 0; ; tries++) {
    try {
      await privileged.start({ netns, user: undefined, words: guardWords(moves), log: guardLog(moves) });
      return;
    } catch (error) {
      const waitMs = handOverWaitsMs[tries];
      if (waitMs === undefined) throw error;
      log.error({ moves, error: messageOf(error), waitMs }, "another guard could not be started, and is tried again");
      await sleep(systemClock, waitMs);
    }
  }
}
