/**
 * Which parts run: the kernel lists every socket that somebody listens on, so that a part is found wherever its state is, the demo's
 * included. What is only named alike is told by the files beside it.
 */
import { access, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { isControlPath } from "./control-socket.ts";

const maxDirectories = 1_000;

/** The state directories that this user may enter and whose part listens, sorted. The table is that of one network namespace. */
export async function listeningDirectories(table = "/proc/net/unix"): Promise<string[]> {
  const found: string[] = [];
  for (const directory of listening(await readFile(table, "utf8"))) {
    if (found.length >= maxDirectories) break;
    if (await isStateDirectory(directory)) found.push(directory);
  }
  return found.sort();
}

/**
 * The directories in which a control socket is bound; flag 00010000 says that it listens. The kernel writes a path as it was given, and everybody may bind
 * one: what would move the cursor of a terminal is passed over, and a line may be made up by the end of another. Whose a directory is must be
 * looked at before it is believed.
 */
function listening(table: string): Set<string> {
  const directories = new Set<string>();
  for (const line of table.split("\n")) {
    const [, flags, path] = /^\S+ \S+ \S+ (\S+) \S+ \S+ +\S+ (\/\P{Cc}*)$/u.exec(line) ?? [];
    if (flags === "00010000" && path !== undefined && isControlPath(path)) directories.add(dirname(path));
  }
  return directories;
}

async function isStateDirectory(directory: string): Promise<boolean> {
  try {
    await access(`${directory}/epoch.document`);
    return true;
  } catch {
    return false; // another program's, or another user's
  }
}
