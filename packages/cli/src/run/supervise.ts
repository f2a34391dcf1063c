/**
 * The parent of `--supervised`: starts the same command without that flag as its child, starts it again when it dies, passes signals on, and ends
 * with it. The child holds an end of a channel to the parent, which the kernel closes when the parent dies, however it dies: no child
 * is left alone. The configuration is read once, while the first child loads its code, and handed to each child, so that a child that died is
 * back soon, and under what was in force (docs/performance.md has the figures).
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import { exitCodes } from "../exit-codes.ts";
import { hand, readApart, type Told, toldEnvironment } from "./apart.ts";
import { becomeBundle, cacheEnvironment } from "./bundle.ts";
import { openHeirs } from "./heirs.ts";
import type { RunOptions } from "./run-part.ts";
import { supervisedVariable } from "./signals.ts";
import { openParentLog, passSignals, superviseChild } from "./supervise-child.ts";

const longestWaitMs = 30_000;

/** The wait before the n-th start in a row after a child that died at once: 50 ms, then doubled, a second at most for the first six. */
export function restartWaitMs(deaths: number): number {
  if (deaths <= 6) return Math.min(1_000, 50 * 2 ** (deaths - 1));
  return Math.min(longestWaitMs, 1_000 * 2 ** (deaths - 6));
}

/** Resolves to the exit code when the child has ended in order, or cannot be started at all. */
export async function supervise(clock: Clock = systemClock): Promise<number> {
  await becomeBundle();
  const passing = passSignals();
  const words = process.argv.slice(1).filter((word) => word !== "--supervised");
  let cache = cacheEnvironment(statedDirectory(words));
  let reading = readApart(words, cache);
  /** What runs, which an upgrade changes. */
  let program: readonly string[] = [process.execPath, ...process.execArgv, words[0] ?? ""];
  const startOf = ([node = "", ...before]: readonly string[], told: typeof reading, env = {}) => {
    const child = spawn(node, [...before, ...words.slice(1)], {
      stdio: ["inherit", "inherit", "inherit", "ipc"],
      env: { ...process.env, ...cache, ...toldEnvironment, [supervisedVariable]: "1", ...env },
    });
    // The first loads its code while the configuration is read.
    const give = (text: Told | number): unknown => typeof text === "number" || !child.connected || hand(child, text);
    told.then(give, () => undefined); // who waits for the first hears of it; another one is ended
    return child;
  };
  const start = () => startOf(program, reading);
  const heirs = openHeirs((wish) => {
    // By the new program, which may know more of a configuration than this one does.
    const told = readApart(words, cache, wish.program).catch(async (error: unknown) => {
      const log = await openParentLog("supervisor");
      log.error({ program: wish.program, error: messageOf(error) }, "the program of an upgrade cannot be started");
      return exitCodes.failed;
    });
    const child = startOf(wish.program, told, wish.env);
    // A configuration that cannot be read is told of by its reader.
    void told.then((text) => typeof text !== "number" || child.kill("SIGKILL"));
    const becomes = (): void => {
      program = wish.program;
      reading = told;
    };
    return { child, becomes };
  });
  const ends = superviseChild({
    start,
    waitMs: restartWaitMs,
    passing,
    clock,
    openLog: () => openParentLog("supervisor"),
    heirs,
  });
  ends.catch(() => undefined); // who waits for it below hears of it, once it is known what was read
  const told = await reading;
  if (typeof told === "number") {
    passing.end();
    await ends;
    return told;
  }
  const { state } = JSON.parse(told) as Pick<RunOptions<unknown>, "state">;
  cache = cacheEnvironment(state);
  return ends;
}

/** The state directory of a part that has run in it before, as far as the words themselves say. */
function statedDirectory(words: readonly string[]): string | undefined {
  const at = words.lastIndexOf("--state");
  const state = at < 0 ? undefined : words[at + 1];
  return state !== undefined && existsSync(state) ? state : undefined;
}
