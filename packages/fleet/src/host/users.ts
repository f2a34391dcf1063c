/**
 * Who this process is, and how it becomes somebody with fewer rights: for good, or for the length of one synchronous task. What is done for a
 * user is done with that user's rights, so that no path that somebody names reaches where only root does.
 */
import { readFileSync } from "node:fs";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { effectiveCapabilities, permittedCapabilities } from "./capabilities.ts";
import type { User } from "./host.ts";

/** The user of this process. */
export function ownUser(): User {
  return { uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1 };
}

/** Whether this process has rights that it cannot give up by becoming somebody else. */
export function keepsRights(): boolean {
  return ownUser().uid !== 0 && permittedCapabilities() !== 0n;
}

export function isSameUser(one: User, other: User): boolean {
  return one.uid === other.uid && one.gid === other.gid;
}

/** For messages. */
export function userText({ uid, gid }: User): string {
  return `user ${uid} of group ${gid}`;
}

/**
 * From now on the signal by which Node's debugger is opened does nothing. Whoever came down from root may be sent signals by all of its new user, and the
 * debugger would let everybody on this machine ask for what only this process may ask for.
 */
export function refuseDebugger(): void {
  process.off("SIGUSR1", ignore);
  process.on("SIGUSR1", ignore);
}

function ignore(): void {}

/** Runs `task`, which must not wait for anything, with the rights of a user. */
export function asUser<T>(user: User, task: () => T): T {
  const own = ownUser();
  if (isSameUser(own, user)) return task();
  const groups = process.getgroups?.() ?? [];
  // Who may not do even this has nothing to put back, and would fail at that again.
  become(user, () => process.setgroups?.([]));
  try {
    become(user, () => {
      process.setegid?.(user.gid);
      process.seteuid?.(user.uid);
    });
    return task();
  } finally {
    process.seteuid?.(own.uid);
    process.setegid?.(own.gid);
    process.setgroups?.([...groups]);
  }
}

/**
 * Becomes `user` for good, with no group but its own and no capability. Throws `host.not-dropped` when anything is left or can be had back: whoever
 * goes on then would have rights that everybody takes to be gone. Does nothing for a process that is this user already.
 */
export function dropPrivileges(user: User): void {
  refuseDebugger();
  if (isSameUser(ownUser(), user)) return;
  become(user, () => {
    process.setgroups?.([]);
    process.setgid?.(user.gid);
    process.setuid?.(user.uid);
  });
  const left = [
    ...(canBecome(0) ? ["it can become root again"] : []),
    ...(process.getuid?.() === user.uid && process.geteuid?.() === user.uid ? [] : ["its user"]),
    ...(process.getgid?.() === user.gid && process.getegid?.() === user.gid ? [] : ["its group"]),
    ...(process.getgroups?.().some((group) => group !== user.gid) ? ["its other groups"] : []),
    ...(user.uid !== 0 && effectiveCapabilities() !== 0n ? ["capabilities"] : []),
  ];
  if (left.length > 0 && user.uid !== 0) {
    throw new MeshError(
      "host.not-dropped",
      `this process could not give up its rights for user ${user.uid}: ${left.join(", ")}`,
    );
  }
}

/** Root may lack even this, in a container from which all capabilities but some were taken. */
function become(user: User, change: () => void): void {
  try {
    change();
  } catch (error) {
    throw new MeshError(
      "host.not-dropped",
      `this process may not become ${userText(user)} (${messageOf(error)}): it needs CAP_SETUID and CAP_SETGID, which a container can be given (--cap-add SETUID --cap-add SETGID); or run everything as root with --user 0:0`,
    );
  }
}

function canBecome(uid: number): boolean {
  try {
    process.setuid?.(uid);
    return true;
  } catch {
    return false;
  }
}

/** Where a user is at home; `/` for one who has no entry. */
export function homeOf({ uid }: User, passwd: string = readFileSync("/etc/passwd", "utf8")): string {
  for (const line of passwd.split("\n")) {
    const [, , id, , , home] = line.split(":");
    if (id === `${uid}` && home?.startsWith("/")) return home;
  }
  return "/";
}
