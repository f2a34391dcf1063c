/** As whom a mover goes on once who holds the privileges has been started. */
import { MeshError } from "@dualmesh/base/errors";
import { accountOf } from "@dualmesh/fleet/host/accounts";
import type { User } from "@dualmesh/fleet/host/host";
import { ownUser } from "@dualmesh/fleet/host/users";

export function isRoot(): boolean {
  return ownUser().uid === 0;
}

/** A name, a number, or `UID:GID`. Rejects with `usage.wrong`. */
export async function readUser(text: string): Promise<User> {
  const ids = readIds(text);
  if (ids !== undefined) return ids;
  const user = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(text) ? await accountOf(text) : undefined;
  if (user !== undefined) return user;
  throw new MeshError("usage.wrong", `--user expects the name of a user, or UID:GID, got "${text}"`);
}

/** `UID:GID`. */
export function readIds(text: string): User | undefined {
  const [, uid, gid] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}
