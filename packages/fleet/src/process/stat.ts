/** What /proc/PID/stat says of a process that tells it from every other one, and whether it still does anything. */
import { readFileSync } from "node:fs";

export interface ProcessStat {
  readonly pid: number;
  /** One letter; `Z` for one that has ended and is not yet waited for. */
  readonly state: string;
  /** The group that a terminal's signals reach at once. */
  readonly group: number;
  /** Clock ticks since the machine began. */
  readonly started: number;
}

export function readStat(pid: number | "self"): ProcessStat {
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The second field is the program's name in parentheses, which may hold anything, parentheses and blanks as well.
  const [state = "", ...fields] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    pid: Number(text.slice(0, text.indexOf(" "))),
    state,
    group: Number(fields[1]),
    started: Number(fields[18]),
  };
}
