/**
 * The parent of a guard, which keeps the rights that it was started with and has the guard back when that dies, or ends because its privileged process died. What it
 * starts are its own words, which whoever started it has chosen. Nothing reaches it from the guard but the end of that: no channel, no file, no
 * signal, since the guard is another user's by then and reads what others wrote (ADR 0008).
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { agentSocket } from "@dualmesh/fleet/host/start-agent";
import { openParentLog, passSignals, superviseChild } from "../run/supervise-child.ts";
import { ownProgram } from "./own-program.ts";

/** Tells a guard which process is its parent. */
const parentVariable = "DUALMESH_GUARD_PARENT";
const firstWaitMs = 50;
const longestWaitMs = 30_000;
/** Some fifty minutes of one death after the other. */
const maxDeaths = 100;

/** The wait before the n-th start in a row: nearly none, then a second, doubled each time. Undefined to give up. */
export function guardWaitMs(deaths: number): number | undefined {
  if (deaths > maxDeaths) return undefined;
  return deaths === 1 ? firstWaitMs : Math.min(longestWaitMs, 1_000 * 2 ** (deaths - 2));
}

/** Resolves to the exit code when the guard has ended in order, or is given up. */
export function superviseGuard(clock: Clock = systemClock): Promise<number> {
  const [node, ...words] = [...ownProgram(), ...process.argv.slice(2).filter((word) => word !== "--supervised")];
  const env = { ...process.env, [parentVariable]: String(process.pid) };
  return superviseChild({
    start: () => spawn(node, words, { stdio: ["ignore", "inherit", "inherit"], env }),
    waitMs: guardWaitMs,
    passing: passSignals(),
    clock,
    openLog: () => openParentLog("guard-parent"),
  });
}

/** Whether the parent of this guard has died; false for one that has none. Between the two may be who holds the privileges (`apart.ts`). */
export function isParentGone(): boolean {
  const parent = process.env[parentVariable];
  if (parent === undefined) return false;
  const own = agentSocket() === undefined ? process.ppid : parentOf(process.ppid);
  return own !== undefined && Number(parent) !== own;
}

/** Undefined for one that is not seen: the kernel ends this process with its own parent. */
function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
  } catch {
    return undefined;
  }
}
