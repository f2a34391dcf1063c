/**
 * The parent of `--supervised`: starts the same command without that flag as its child, starts it again when it dies, passes signals on, and ends
 * with it. The child holds an end of a channel to the parent, which the kernel closes when the parent dies, however it dies: no child
 * is left alone. The configuration is read once, when the parent starts, and handed to each child, so that a child that died is back
 * soon, and under what was in force (docs/performance.md has the figures).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { type Clock, sleep, systemClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { openLog } from "@dualmesh/base/open-log";
import { exitCodes } from "../exit-codes.ts";
import { hand, readApart, toldEnvironment } from "./apart.ts";
import { becomeBundle, cacheEnvironment } from "./bundle.ts";
import type { RunOptions } from "./run-part.ts";
import { supervisedVariable } from "./signals.ts";

/** A child that lived this long was well; the waits begin again. */
const wellAfterMs = 10_000;
const longestWaitMs = 30_000;
const signalNumbers: Readonly<Record<string, number>> = { SIGINT: 2, SIGTERM: 15 };

/** The wait before the n-th start in a row after a child that died at once: 50 ms, then doubled, a second at most for the first six. */
export function restartWaitMs(deaths: number): number {
  if (deaths <= 6) return Math.min(1_000, 50 * 2 ** (deaths - 1));
  return Math.min(longestWaitMs, 1_000 * 2 ** (deaths - 6));
}

/** Resolves to the exit code when the child has ended in order, or cannot be started at all. */
export async function supervise(clock: Clock = systemClock): Promise<number> {
  await becomeBundle();
  const log = (await openLog({ level: "info" })).child({ part: "supervisor" });
  const ending = new AbortController();
  let child: ChildProcess | undefined;
  let signals = 0;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      ending.abort(signal);
      child?.kill("SIGTERM");
      if (++signals > 1 && child === undefined) process.exit(128 + (signalNumbers[signal] ?? 0));
    });
  }
  const words = process.argv.slice(1).filter((word) => word !== "--supervised");
  const told = await readApart(words);
  if (typeof told === "number") return told;
  const { state } = JSON.parse(told) as Pick<RunOptions<unknown>, "state">;
  const env = { ...process.env, ...cacheEnvironment(state), ...toldEnvironment, [supervisedVariable]: "1" };
  let deaths = 0;
  for (let starts = 1; ; starts++) {
    const started = clock.now();
    child = spawn(process.execPath, [...process.execArgv, ...words], {
      stdio: ["inherit", "inherit", "inherit", "ipc"],
      env,
    });
    hand(child, told);
    const { code, signal } = await ended(child);
    child = undefined;
    if (ending.signal.aborted) return code ?? exitCodes.failed;
    if (code === exitCodes.ok) return code;
    // What the first start could not do, for the reason that its code says, the second cannot do either.
    if (starts === 1 && code !== null && code > exitCodes.failed && code < 128) return code;
    deaths = clock.now() - started >= wellAfterMs ? 1 : deaths + 1;
    const waitMs = restartWaitMs(deaths);
    log.error({ code, signal, waitMs }, "the child died and is started again");
    if (!(await waited(waitMs, clock, ending.signal, log))) return exitCodes.ok;
  }
}

function ended(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.on("exit", (code, signal) => resolve({ code, signal }));
    child.on("error", reject);
  });
}

/** False when a signal came meanwhile. */
async function waited(waitMs: number, clock: Clock, signal: AbortSignal, log: Log): Promise<boolean> {
  try {
    await sleep(clock, waitMs, signal);
    return true;
  } catch (error) {
    if (isMeshError(error)) throw error;
    log.info({}, "ended while no child was running");
    return false;
  }
}
