/** What runs, as tests look for it in /proc. */
import { readdirSync, readFileSync } from "node:fs";

export interface SeenProcess {
  readonly pid: number;
  readonly parent: number;
  /** Its number in the innermost namespace of processes that it is in. */
  readonly innerPid: number;
  readonly uid: number;
  /** The capabilities that are in force, a bit for each. */
  readonly rights: bigint;
  /** The program and its words; none of a process that has ended and is not yet waited for. */
  readonly words: readonly string[];
}

export function processesSeen(): readonly SeenProcess[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map((pid) => processSeen(Number(pid))).filter((one) => one !== undefined);
}

/** Undefined when there is no such process, or it has ended meanwhile. */
export function processSeen(pid: number): SeenProcess | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
    const field = (line: RegExp): string => line.exec(status)?.[1] ?? "";
    return {
      pid,
      parent: Number(field(/^PPid:\t(\d+)$/m)),
      innerPid: Number(field(/^NSpid:.*\t(\d+)$/m)),
      uid: Number(field(/^Uid:\t(\d+)/m)),
      rights: BigInt(`0x${field(/^CapEff:\t(\w+)$/m)}`),
      words,
    };
  } catch {
    return undefined;
  }
}
