/** Which process a number means: with the moment of its start it names one for good. */
import { readFileSync } from "node:fs";
import type { ProcessId } from "./record.ts";

/** Undefined when there is no such process. */
export function processId(pid: number | "self"): ProcessId | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name before may hold anything, brackets and blanks too.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const id = { pid: Number(text.slice(0, text.indexOf(" "))), started: Number(fields[19]) };
    // One that has ended and is not yet waited for does nothing any more.
    return fields[0] === "Z" || fields[0] === "X" ? undefined : id;
  } catch {
    return undefined;
  }
}

export function isAlive({ pid, started }: ProcessId): boolean {
  return processId(pid)?.started === started;
}
