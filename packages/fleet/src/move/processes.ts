/** Which process a number means: with the moment of its start it names one for good. */
import { statSync } from "node:fs";
import { isMeshError } from "@dualmesh/base/errors";
import type { Privileged } from "../host/host.ts";
import { readStat } from "../process/stat.ts";
import type { ProcessId } from "./record.ts";

/** Undefined when there is no such process, and for another user's where /proc hides these (its option hidepid). */
export function processId(pid: number | "self"): ProcessId | undefined {
  try {
    const { pid: own, state, started } = readStat(pid);
    // One that has ended and is not yet waited for does nothing any more.
    return state === "Z" || state === "X" ? undefined : { pid: own, started };
  } catch (error) {
    if (unseen.includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

const unseen: readonly string[] = ["ENOENT", "ESRCH", "EACCES", "EPERM"];

/** Of one's own user's. */
export function isAlive({ pid, started }: ProcessId): boolean {
  return processId(pid)?.started === started;
}

/**
 * The group of processes to which one belongs that somebody has stopped (SIGSTOP, Ctrl-Z), so that it does nothing until it is told to go on; undefined for one that goes on. A
 * terminal stops the whole group, and with one of them alone the others would still stand.
 */
export function stoppedGroup(of: ProcessId): number | undefined {
  try {
    const { state, started, group } = readStat(of.pid);
    return started === of.started && state === "T" ? group : undefined;
  } catch (error) {
    if (unseen.includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

/** Whether others' processes are hidden from this one: then a process that is not seen may live. */
export function areHidden(): boolean {
  // The first process lives as long as the machine, or the container, does.
  return statSync("/proc/1", { throwIfNoEntry: false }) === undefined || processId(1) === undefined;
}

/** Whether a process lives, whoever's it is: only who holds the privileges says of one that is not seen that it has ended. */
export async function lives(of: ProcessId, privileged: Pick<Privileged, "facts">): Promise<boolean> {
  if (isAlive(of)) return true;
  try {
    const [facts] = await privileged.facts({ kind: "pid", pid: of.pid });
    return facts?.started === of.started;
  } catch (error) {
    // It is there, and nothing more may be known of it.
    if (isMeshError(error, "host.not-permitted")) return true;
    throw error;
  }
}
