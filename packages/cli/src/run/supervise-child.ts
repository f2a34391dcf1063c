/**
 * A child that is had back when it dies, by a parent that does little else: of `--supervised`, for the parts and for the guard of moves. The parent
 * passes signals on, and ends with a child that has ended in order. It reads nothing that its child says but the wish for one that takes over from it (heirs.ts).
 */
import type { ChildProcess } from "node:child_process";
import { type Clock, sleep } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { exitCodes } from "../exit-codes.ts";

/** A child that lived this long was well; the waits begin again. */
const wellAfterMs = 10_000;
const signalNumbers: Readonly<Record<string, number>> = { SIGINT: 2, SIGTERM: 15 };

/** A child that takes over from the one before while that one lives: it is the child as soon as that one has ended. */
export interface Heirs {
  /** Called for each child; returns the one that takes over from it, if there is one by the time that it ends. */
  of(child: ChildProcess): () => ChildProcess | undefined;
}

/** The signals that a parent passes on: one may come before there is a child, and between two. */
export interface Passing {
  /** Aborted by the first. */
  readonly ending: AbortSignal;
  /** From now on to this child; undefined while there is none, when a second signal ends the parent itself. */
  to(child: ChildProcess | undefined): void;
  /** As if one had come. */
  end(): void;
}

export function passSignals(): Passing {
  const ending = new AbortController();
  let receiver: ChildProcess | undefined;
  let signals = 0;
  const end = (signal: string): void => {
    ending.abort(signal);
    receiver?.kill("SIGTERM");
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      end(signal);
      if (++signals > 1 && receiver === undefined) process.exit(128 + (signalNumbers[signal] ?? 0));
    });
  }
  return {
    ending: ending.signal,
    to(child) {
      receiver = child;
    },
    end: () => end("told"),
  };
}

export interface SupervisedOptions {
  readonly start: () => ChildProcess;
  /** The wait before the n-th start in a row after a child that died at once; undefined when there is to be none. */
  readonly waitMs: (deaths: number) => number | undefined;
  readonly passing: Passing;
  readonly clock: Clock;
  /** Called once the first child has been started: what writes a log is loaded meanwhile. */
  readonly openLog: () => Promise<Log>;
  readonly heirs?: Heirs;
}

/** Resolves to the exit code when the child has ended in order, cannot be started at all, or is given up. */
export async function superviseChild({
  start,
  waitMs,
  passing,
  clock,
  openLog,
  heirs,
}: SupervisedOptions): Promise<number> {
  let deaths = 0;
  let logging: Promise<Log> | undefined;
  let heir: ChildProcess | undefined;
  for (let starts = 1; !passing.ending.aborted || heir !== undefined; starts++) {
    const started = clock.now();
    const following = heir;
    let heirOf: (() => ChildProcess | undefined) | undefined;
    const next = (): ChildProcess => {
      const child = following ?? start();
      heirOf = heirs?.of(child);
      return child;
    };
    const life = begin(next, passing, starts === 1);
    // The wish to end came to the one before, which had handed over by then.
    if (passing.ending.aborted) following?.kill("SIGTERM");
    logging ??= openLog();
    const { code, signal, failed } = await life;
    heir = heirOf?.();
    if (heir !== undefined) continue;
    passing.to(undefined);
    if (passing.ending.aborted) return code ?? exitCodes.failed;
    if (code === exitCodes.ok) return code;
    // What the first start could not do, for the reason that its code says, the second cannot do either.
    if (starts === 1 && code !== null && code > exitCodes.failed && code < 128) return code;
    deaths = clock.now() - started >= wellAfterMs ? 1 : deaths + 1;
    const againMs = waitMs(deaths);
    const log = await logging;
    if (againMs === undefined) {
      log.error({ code, signal, failed, deaths }, "the child dies again and again, and is given up");
      return code ?? exitCodes.failed;
    }
    log.error({ code, signal, failed, waitMs: againMs }, "the child died and is started again");
    await waited(againMs, clock, passing.ending);
  }
  (await logging)?.info({}, "ended while no child was running");
  return exitCodes.ok;
}

/** The log of such a parent. */
export async function openParentLog(part: string): Promise<Log> {
  const { openLog } = await import("@dualmesh/base/open-log");
  return (await openLog({ level: "info" })).child({ part });
}

interface LifeEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it could not be started. */
  readonly failed?: string;
}

/** One life of the child. Only the first start has to succeed: a machine that has no room for another process has some a moment later. */
async function begin(start: () => ChildProcess, passing: Passing, isFirst: boolean): Promise<LifeEnd> {
  try {
    const child = start();
    passing.to(child);
    return await ended(child);
  } catch (error) {
    if (isFirst) throw error;
    return { code: null, signal: null, failed: messageOf(error) };
  }
}

function ended(child: ChildProcess): Promise<LifeEnd> {
  return new Promise((resolve, reject) => {
    if (child.exitCode !== null || child.signalCode !== null)
      return resolve({ code: child.exitCode, signal: child.signalCode });
    child.on("exit", (code, signal) => resolve({ code, signal }));
    // Of one that runs it says that a signal could not be sent, since the child is another user's: that it is to end is known, and it is waited for.
    child.on("error", (error) => {
      if (child.pid === undefined) reject(error);
    });
  });
}

/** Until then, or until a signal comes. */
async function waited(waitMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  try {
    await sleep(clock, waitMs, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
