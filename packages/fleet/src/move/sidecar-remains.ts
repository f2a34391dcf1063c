/**
 * What is left below the moves directory of a sidecar that has ended. Its directory goes, with the code and the ports that it kept: who needs one
 * again starts it from nothing. Its log stays beside it for people, and only the newest of these, and of each its end; of one that runs for long as well.
 */
import { appendFile, open, readdir, rename, rm, stat, truncate } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Clock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { takeLock } from "@dualmesh/base/state/lock";

const maxLogBytes = 256 * 1024;
const maxLogs = 10;
/** Of one that is still written. */
const maxRunningLogBytes = 16 * 1024 * 1024;

/** The log of the sidecar in a directory: beside it, so that it is where it was said to be when that one is gone. */
export function sidecarLog(directory: string): string {
  return `${directory}.log`;
}

/** With the lock of the directory in hand. Resolves to false when nothing goes, since a living process has the state. */
export async function removeRemains(directory: string, clock: Clock): Promise<boolean> {
  const state = join(directory, "state");
  const isThere = (await stat(state).catch(() => undefined)) !== undefined;
  const lock = isThere ? await lockOf(state, clock) : undefined;
  if (isThere && lock === undefined) return false;
  try {
    // At once, so that nobody finds half of it, and whoever waits for its lock makes another one.
    const aside = `${directory}.ended`;
    await rm(aside, { recursive: true, force: true });
    await rename(directory, aside);
    await rm(aside, { recursive: true, force: true });
  } finally {
    await lock?.release();
  }
  await shorten(sidecarLog(directory));
  await removeOldLogs(dirname(directory));
  return true;
}

/** Of the logs that are being written below a moves directory, the sidecars' and the guard's, those that have become too long are cut to their end. */
export async function boundLogs(moves: string): Promise<void> {
  const names = await readdir(moves);
  for (const name of names) {
    if (!/^(?:sidecar-[0-9a-f]{8}|guard)\.log$/.test(name)) continue;
    const log = join(moves, name);
    const size = (await stat(log).catch(() => undefined))?.size ?? 0;
    if (size > maxRunningLogBytes) await shorten(log);
  }
}

/** Undefined when a living process has it. */
async function lockOf(state: string, clock: Clock) {
  try {
    return await takeLock(state, clock);
  } catch (error) {
    if (isMeshError(error, "state.locked")) return undefined;
    throw error;
  }
}

/** The end of it, from the beginning of a line. In place, since who writes it has it open, and appends. */
async function shorten(log: string): Promise<void> {
  const size = (await stat(log).catch(() => undefined))?.size ?? 0;
  if (size <= maxLogBytes) return;
  const bytes = Buffer.alloc(maxLogBytes);
  const file = await open(log, "r");
  try {
    await file.read(bytes, 0, maxLogBytes, size - maxLogBytes);
  } finally {
    await file.close();
  }
  await truncate(log);
  await appendFile(log, bytes.subarray(bytes.indexOf(10) + 1));
}

/** Those whose sidecars have ended, the newest but for some. */
async function removeOldLogs(moves: string): Promise<void> {
  const names = await readdir(moves);
  const logs = names.filter(
    (name) => /^sidecar-[0-9a-f]{8}\.log$/.test(name) && !names.includes(basename(name, ".log")),
  );
  const dated = await Promise.all(
    logs.map(async (name) => ({ name, at: (await stat(join(moves, name)).catch(() => undefined))?.mtimeMs ?? 0 })),
  );
  const old = dated.sort((one, other) => other.at - one.at).slice(maxLogs);
  for (const { name } of old) await rm(join(moves, name), { force: true });
}
