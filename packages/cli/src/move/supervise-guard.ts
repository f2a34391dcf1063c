/**
 * The parent of a guard, which keeps the rights that it was started with and has the guard back when that dies, or ends because its privileged process died. What it
 * starts are its own words, which whoever started it has chosen. Nothing reaches it from the guard but the end of that: no channel, no file, no
 * signal, since the guard is another user's by then and reads what others wrote (ADR 0008). The guard hears one word of it: to end.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import type { Writable } from "node:stream";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { agentSocket } from "@dualmesh/fleet/host/start-agent";
import { refuseDebugger } from "@dualmesh/fleet/host/users";
import { openParentLog, passSignals, superviseChild } from "../run/supervise-child.ts";
import { ownProgram } from "./own-program.ts";

/** Tells a guard which process is its parent. */
const parentVariable = "DUALMESH_GUARD_PARENT";
/** By standard input; its end says nothing, since a parent that is killed closes it as well. */
const endWord = "end\n";
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
  refuseDebugger(); // an ordinary user's could be sent the signal by all of that user, and has rights
  const [node, ...words] = [...ownProgram(), ...process.argv.slice(2).filter((word) => word !== "--supervised")];
  const env = { ...process.env, [parentVariable]: String(process.pid) };
  const passing = passSignals();
  let told: Writable | undefined;
  // A signal does not reach a guard that has come down where this process lacks CAP_KILL.
  passing.ending.addEventListener("abort", () => told?.end(endWord));
  return superviseChild({
    start: () => {
      const child = spawn(node, words, { stdio: ["pipe", "inherit", "inherit"], env });
      told = child.stdin;
      told.on("error", () => undefined); // it has ended, which is told by that
      return child;
    },
    waitMs: guardWaitMs,
    passing,
    clock,
    openLog: () => openParentLog("guard-parent"),
  });
}

/** Calls `end` when the parent of this guard has it end. Nothing for one that has none. */
export function hearParent(end: () => void): void {
  if (process.env[parentVariable] === undefined) return;
  process.stdin.once("data", end);
  process.stdin.on("error", () => undefined); // the parent has died, which is looked for
  // What the guard guards keeps it going.
  if (process.stdin instanceof Socket) process.stdin.unref();
}

/** Whether the parent of this guard has died; false for one that has none. Between the two may be who holds the privileges (`serve-child.ts`). */
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
