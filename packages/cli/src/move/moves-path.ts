/** Whether a directory can be that of moves: found out before anything is begun, also when nothing is to be changed. */
import { accessSync, constants, lstatSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { MeshError, messageOf } from "@dualmesh/base/errors";

/** What Linux takes as the path of a Unix socket. */
const maxSocketPath = 107;
/** The longest one below: the lock of the sidecar that a mover starts, while it is being taken. */
const longestBelow = "/sidecar-0badcafe/state/lock.4194304.0123456789ab".length;

export interface PathOptions {
  /** Whether somebody else makes what this user may not. */
  readonly sudo: boolean;
  readonly access?: typeof accessSync;
}

/** Throws `move.no-place`. */
export function checkMovesPath(moves: string, { sudo, access = accessSync }: PathOptions): void {
  const length = Buffer.byteLength(moves);
  const longest = maxSocketPath - longestBelow;
  if (length > longest) {
    const text = `its path has ${length} bytes, and with more than ${longest} the sockets below it would be too long for Linux`;
    throw noPlace(moves, `${text}: name a shorter one with --moves`);
  }
  const { path, stats } = nearest(moves);
  if (!stats.isDirectory()) throw noPlace(moves, `${path} is no directory: name another one with --moves`);
  if (path === moves || sudo) return; // who owns it may write there, which is looked at with its rights
  try {
    access(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw noPlace(moves, `it cannot be made in ${path} (${messageOf(error)}): name another one with --moves`);
  }
}

/** The directory itself, or the one above it that is there. */
function nearest(moves: string): { readonly path: string; readonly stats: Stats } {
  for (let path = moves; ; path = dirname(path)) {
    try {
      return { path, stats: lstatSync(path) };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" && code !== "ENOTDIR") {
        throw noPlace(moves, `it cannot be seen (${messageOf(error)}): name another one with --moves`);
      }
    }
  }
}

function noPlace(moves: string, why: string): MeshError {
  return new MeshError("move.no-place", `moves cannot be kept in ${moves}: ${why}`, { path: moves });
}
