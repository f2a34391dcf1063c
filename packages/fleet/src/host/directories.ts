/**
 * Directories that must be what somebody takes them for: whose one is, when nobody else can have put anything there or another in its place, and
 * how one is made for a user. A path is looked at part by part and no link is followed, since a link may point elsewhere a moment later.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  rmdirSync,
  type Stats,
} from "node:fs";
import { dirname } from "node:path";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { User } from "./host.ts";
import { asUser, isSameUser, ownUser, userText } from "./users.ts";

const othersWrite = 0o022;
const sticky = 0o1000;

/**
 * The owner of a directory in which only that user writes, below none where somebody else than root and that user may put another in its place.
 * Throws `host.directory-unsafe`, which says which part of the path is not so.
 */
export function soleOwner(path: string): User {
  const { uid, gid, mode } = partOf(path, path);
  if ((mode & othersWrite) !== 0) throw unsafe(path, `others than user ${uid} may write there (chmod go-w ${path})`);
  for (const above of partsAbove(path)) {
    const part = partOf(above, path);
    if (part.uid !== 0 && part.uid !== uid) {
      throw unsafe(path, `${above} belongs to user ${part.uid}, who can put another in its place`);
    }
    if ((part.mode & othersWrite) !== 0 && (part.mode & sticky) === 0) {
      throw unsafe(path, `others may write in ${above} (chmod go-w ${above})`);
    }
  }
  return { uid, gid };
}

/** `/`, `/a`, `/a/b` of `/a/b/c`. */
function partsAbove(path: string): readonly string[] {
  const parts = path.split("/").filter((part) => part !== "");
  return parts.map((_, length) => `/${parts.slice(0, length).join("/")}`);
}

function partOf(part: string, path: string): Stats {
  let stats: Stats;
  try {
    stats = lstatSync(part);
  } catch (error) {
    throw unsafe(path, messageOf(error));
  }
  if (stats.isSymbolicLink()) throw unsafe(path, `${part} is a link: name the directory that it leads to`);
  if (!stats.isDirectory()) throw unsafe(path, `${part} is not a directory`);
  return stats;
}

function unsafe(path: string, why: string): MeshError {
  return new MeshError("host.directory-unsafe", `the directory ${path} is not trusted: ${why}`, { path });
}

/** Where root makes directories for users who ask for them. */
const rootsOwn: readonly string[] = ["/var/lib/dualmesh", "/run/dualmesh"];

/** As `Privileged.directory`. When root itself asks it is made wherever nobody but root can change what is on the way. */
export function makeDirectory(path: string, user: User, asker: User): void {
  try {
    asUser(user, () => mkdirSync(path, { recursive: true, mode: 0o700 }));
  } catch (error) {
    const refused = ["EACCES", "EPERM", "host.not-dropped"].includes((error as NodeJS.ErrnoException).code ?? "");
    const allowed = asker.uid === 0 || rootsOwn.some((root) => path.startsWith(`${root}/`));
    if (!refused || !allowed || ownUser().uid !== 0) throw notMade(path, user, messageOf(error));
    makeAsRoot(path, user);
  }
  const { uid, gid } = directoryAt(path, path, user);
  if (!isSameUser({ uid, gid }, user))
    throw notMade(path, user, `it is there and belongs to ${userText({ uid, gid })}`);
}

function makeAsRoot(path: string, user: User): void {
  for (const above of partsAbove(path)) {
    makeIfMissing(above, 0o755);
    const { uid, mode } = directoryAt(above, path, user);
    if (uid !== 0) throw notMade(path, user, `${above} does not belong to root`);
    if ((mode & othersWrite) !== 0 && (mode & sticky) === 0) throw notMade(path, user, `others may write in ${above}`);
  }
  makeIfMissing(path, 0o700, user);
}

/** With just this mode, whatever the mask of this process takes away. */
function makeIfMissing(path: string, mode: number, owner?: User): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
    throw new MeshError("host.directory-failed", `${path} cannot be made: ${messageOf(error)}`, { path });
  }
  const made = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    if (owner !== undefined) fchownSync(made, owner.uid, owner.gid);
    fchmodSync(made, mode);
  } catch (error) {
    rmdirSync(path); // what is not that user's would be in the way of the next attempt
    const needs = "root needs CAP_CHOWN for it, which a container can be given (--cap-add CHOWN)";
    throw new MeshError("host.directory-failed", `${path} cannot be given away: ${messageOf(error)}; ${needs}`, {
      path,
    });
  } finally {
    closeSync(made);
  }
}

function directoryAt(part: string, path: string, user: User): Stats {
  let stats: Stats;
  try {
    stats = lstatSync(part);
  } catch (error) {
    throw notMade(path, user, messageOf(error));
  }
  if (!stats.isDirectory()) throw notMade(path, user, `${part} is not a directory`);
  return stats;
}

function notMade(path: string, user: User, why: string): MeshError {
  return new MeshError(
    "host.directory-failed",
    `the directory ${path} cannot be made for ${userText(user)}: ${why}; name one below the home of that user, or below ${rootsOwn[0]}`,
    { path, above: dirname(path) },
  );
}
