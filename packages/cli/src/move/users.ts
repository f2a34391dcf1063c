/** As whom a mover goes on once who holds the privileges has been started. */
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { MeshError } from "@dualmesh/base/errors";
import type { User } from "@dualmesh/fleet/host/host";

export function ownUser(): User {
  return { uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1 };
}

export function isRoot(): boolean {
  return ownUser().uid === 0;
}

/** A name, a number, or `UID:GID`. Throws `usage.wrong`. */
export function readUser(text: string): User {
  const [, uid, gid] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  const user = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(text) ? userNamed(text) : undefined;
  if (user !== undefined) return user;
  throw new MeshError("usage.wrong", `--user expects the name of a user, or UID:GID, got "${text}"`);
}

/** Undefined when there is none. */
export function userNamed(name: string): User | undefined {
  const idOf = (what: "-u" | "-g"): number =>
    // Users may be in a directory of the company, which only the system's own program knows.
    Number(execFileSync("id", [what, name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  try {
    return { uid: idOf("-u"), gid: idOf("-g") };
  } catch {
    return undefined;
  }
}

/** Undefined when there is no such file. */
export function ownerOf(path: string): User | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? undefined : { uid: stats.uid, gid: stats.gid };
}
