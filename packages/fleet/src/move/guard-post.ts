/**
 * The post of the guard of a moves directory: a lock, so that there is one, and a control socket by which others see that it is there. To ask
 * takes nothing away from it: whoever took the lock to see whether it is free would be taken for a guard.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, sleep } from "@dualmesh/base/clock";
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { callControl, controlPath, openControl } from "@dualmesh/base/state/control-socket";
import { takeLock } from "@dualmesh/base/state/lock";

export interface GuardPost {
  /** Nobody is seen here any more, and the next one may come. */
  leave(): Promise<void>;
}

export interface GuardPostOptions {
  readonly moves: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is seen of a guard: one that is there and does not answer holds the post all the same. */
export type GuardSeen =
  | { readonly kind: "at work"; readonly pid: number /** Wall time, in milliseconds. */; readonly since: number }
  | { readonly kind: "silent" }
  | { readonly kind: "none" };

const answerMs = 1_000;
const startMs = 15_000;
const lookMs = 50;

/** Throws `state.locked` when another one is at it. */
export async function takeGuardPost({ moves, clock, log }: GuardPostOptions): Promise<GuardPost> {
  const directory = postOf(moves);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const lock = await takeLock(directory, clock);
  try {
    const since = clock.wall();
    const handlers = new Map([["status", async () => ({ pid: process.pid, since })]]);
    const control = await openControl({ directory, handlers, clock, log });
    return {
      async leave() {
        await control.close();
        await lock.release();
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

export async function seeGuard(moves: string, clock: Clock): Promise<GuardSeen> {
  try {
    const answer = await callControl(controlPath(postOf(moves)), "status", {}, { timeoutMs: answerMs, clock });
    const { pid, since } = answer as { readonly pid: number; readonly since: number };
    return { kind: "at work", pid, since };
  } catch (error) {
    if (isMeshError(error, "control.unreachable")) return { kind: "none" };
    if (isMeshError(error) && error.code.startsWith("control.")) return { kind: "silent" };
    throw error;
  }
}

/** The words of this product's program that guard a moves directory. */
export function guardWords(moves: string): readonly string[] {
  return ["move", "guard", "--moves", moves];
}

/** Where those that are started write what they do. */
export function guardLog(moves: string): string {
  return join(moves, "guard.log");
}

/** Sees that one is at work; `start` starts one that writes into `log`. Rejects with `move.no-guard`. */
export async function ensureGuard(
  moves: string,
  clock: Clock,
  start: (log: string) => Promise<unknown>,
): Promise<void> {
  const log = guardLog(moves);
  const end = clock.now() + startMs;
  if ((await seeGuard(moves, clock)).kind === "at work") return;
  await start(log);
  for (;;) {
    const { kind } = await seeGuard(moves, clock);
    if (kind === "at work") return;
    if (clock.now() >= end) {
      const what = kind === "silent" ? "is there and does not answer" : "was started and is not at work";
      throw new MeshError("move.no-guard", `the guard ${what} after ${startMs / 1_000} s; ${log} says why`, { moves });
    }
    await sleep(clock, lookMs);
  }
}

function postOf(moves: string): string {
  return join(moves, "guard");
}
