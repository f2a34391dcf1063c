/**
 * Users by name, and one that nobody has. Accounts may be in a directory of the company, which only the system's own program asks; where that is
 * missing the two files are all there is.
 */
import { readFileSync } from "node:fs";
import { MeshError } from "@dualmesh/base/errors";
import type { User } from "./host.ts";
import { ownEntrance, processIds } from "./namespace.ts";
import { findProgram, firstLine, runProgram } from "./programs.ts";

/** No distribution gives these to anybody, nor does systemd to what it runs. */
const firstUnused = 60_710;
const lastUnused = 61_183;

/** By name or number; undefined when there is none. */
export async function accountOf(name: string): Promise<User | undefined> {
  const [, , uid, gid] = (await entryOf("passwd", name)) ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}

/**
 * A user without an account as whom no process runs, so that nobody can send it signals or read what it has; its group has the same number. Throws
 * `host.no-user` when all are taken.
 */
export async function unusedUser(first: number = firstUnused): Promise<User> {
  const busy = runningUsers();
  for (let id = first; id <= lastUnused; id++) {
    if (busy.has(id)) continue;
    const entries = [await entryOf("passwd", `${id}`), await entryOf("group", `${id}`)];
    if (entries.every((entry) => entry === undefined)) return { uid: id, gid: id };
  }
  throw new MeshError("host.no-user", `every user from ${first} to ${lastUnused} is taken: name one with --user`);
}

async function entryOf(database: "passwd" | "group", key: string): Promise<readonly string[] | undefined> {
  if (findProgram("getent") === undefined) return entryIn(readFileSync(`/etc/${database}`, "utf8"), key);
  const { code, output, said } = await runProgram({ program: "getent", words: [database, key] }, ownEntrance);
  if (code === 0) return output.trimEnd().split(":");
  if (code === notFound) return undefined;
  throw new MeshError("host.failed", `getent cannot tell who ${key} is: ${firstLine(said)}`, { database, key });
}

/** What getent ends with for one that is not there. */
const notFound = 2;

function entryIn(text: string, key: string): readonly string[] | undefined {
  const entries = text.split("\n").map((line) => line.split(":"));
  return entries.find(([name, , id]) => name === key || id === key);
}

/** Every id that a process has, real, effective or kept. */
function runningUsers(): ReadonlySet<number> {
  return new Set(processIds().flatMap(usersOf));
}

function usersOf(pid: number): readonly number[] {
  try {
    const [, ids = ""] = /^Uid:\t(.+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
    return ids.split("\t").map(Number);
  } catch {
    return []; // it has ended
  }
}
