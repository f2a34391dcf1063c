/** Where a part keeps its state when nothing is said. */
import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";

/** For the help. */
export const defaultStateText =
  "$XDG_STATE_HOME/dualmesh/PART, else ~/.local/state/dualmesh/PART, else ./.dualmesh/PART";

/** The first of the usual places that can be written. */
export function defaultStatePath(part: string): string {
  const [usual, fallback] = stateRoots();
  return join(isWritable(usual) ? usual : fallback, part);
}

/** The usual place for the state directories of parts, and the one for where that cannot be written. */
export function stateRoots(environment: NodeJS.ProcessEnv = process.env): readonly [string, string] {
  const home = environment["XDG_STATE_HOME"];
  // As its specification has it, a relative path there counts as none.
  const base = home?.startsWith("/") ? home : join(homedir(), ".local", "state");
  return [join(base, "dualmesh"), resolve(".dualmesh")];
}

/** Whether the directory, or the nearest one above it that exists, can be written. */
function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) return false;
    return isWritable(dirname(path));
  }
}
