/**
 * The moves directory: for each move a directory of its name, with its record and the lock of who is at it; beside them `history.jsonl` with
 * what became of former ones. The directory belongs to the user that movers run as.
 */
import { mkdir, readdir, readlink, rename, rm, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, sleep } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { readDocument, writeDocument } from "@dualmesh/base/state/document";
import { type Files, systemFiles } from "@dualmesh/base/state/files";
import { type Lock, takeLock } from "@dualmesh/base/state/lock";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import { isMoveName, type MoveRecord, type ProcessId, readRecord } from "./record.ts";
import type { Hold, MoveEnding, MoveRecords, UnreadableMove } from "./world.ts";

export interface RecordsOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly files?: Files;
}

/** Moves at once; who begins one more is refused. */
const maxMoves = 1_000;
const maxHistoryBytes = 1024 * 1024;
/** A directory that is removed while its lock is asked for is made again. */
const takeRounds = 20;
const takeAgainMs = 20;
/** Others may tell the same at the same moment. */
const tellRounds = 5;

/** The directory is there and belongs to this user. */
export function openRecords({ path, clock, log, files = systemFiles }: RecordsOptions): MoveRecords {
  const directoryOf = (name: string): string => join(path, name);
  const fileOf = (name: string): string => join(directoryOf(name), "record.document");
  const history = join(path, "history.jsonl");
  // The guard lists five times a second.
  const told = new ThrottledLog({ log, clock });

  const read = async (name: string): Promise<MoveRecord | undefined> => {
    const value = await readDocument(files, fileOf(name));
    return value === undefined ? undefined : readRecord(value, fileOf(name));
  };
  const names = async (): Promise<string[]> => {
    try {
      return (await readdir(path)).filter(isMoveName).sort();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return [];
      if (code === "ENOTDIR") {
        const text = `${path} is no directory, and holds no moves: name theirs with --moves`;
        throw new MeshError("move.no-place", text, { path });
      }
      throw new MeshError(
        "move.no-access",
        `the moves in ${path} cannot be read (${messageOf(error)}): run as the user that they belong to, and open the directories above for that user`,
        { path },
      );
    }
  };
  // One that cannot be read must not hide the others.
  const readAny = async (name: string): Promise<MoveRecord | UnreadableMove | undefined> => {
    try {
      return await read(name);
    } catch (error) {
      told.error(name, { move: name, error: messageOf(error) }, "the record of a move cannot be read");
      return { name, pid: pidOf(name), why: messageOf(error) };
    }
  };
  // Beside them may be any number of directories in which somebody has just looked, or was killed: they hide none either.
  const all = async (): Promise<readonly (MoveRecord | UnreadableMove)[]> => {
    const found: (MoveRecord | UnreadableMove)[] = [];
    const left = await names();
    while (left.length > 0 && found.length < maxMoves) {
      const some = await Promise.all(left.splice(0, maxMoves).map(readAny));
      found.push(...some.filter((one) => one !== undefined));
    }
    return found.slice(0, maxMoves);
  };
  /** Those whose directory this process has removed under the lock that it still has: who comes now makes another. */
  const removed = new Set<string>();
  // At once, so that nobody finds half of it; with the lock in hand, so that nobody begins there meanwhile.
  const remove = async (name: string): Promise<void> => {
    const aside = `${directoryOf(name)}.ended`;
    try {
      await rm(aside, { recursive: true, force: true });
      await rename(directoryOf(name), aside);
      removed.add(name);
      await rm(aside, { recursive: true, force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      log.warn({ move: name, error: messageOf(error) }, "what is left of a move could not be removed");
    }
  };
  const hold = (name: string, lock: Lock): Hold => {
    removed.delete(name);
    return {
      async release() {
        // Whoever has taken a move that had ended already leaves nothing of it.
        if (!removed.has(name) && !(await isThere(fileOf(name)))) await remove(name);
        removed.delete(name);
        await lock.release();
      },
    };
  };
  return {
    read,
    async list() {
      return (await all()).flatMap((one) => ("why" in one ? [] : [one]));
    },
    async unreadable() {
      return (await all()).flatMap((one) => ("why" in one ? [one] : []));
    },
    async write(record) {
      const { name } = record;
      await mkdir(directoryOf(name), { recursive: true, mode: 0o700 });
      await writeDocument(files, fileOf(name), record);
      await files.syncDirectory(directoryOf(name));
    },
    async take(name) {
      const known = await names();
      if (!known.includes(name) && known.length >= maxMoves && (await all()).length >= maxMoves) {
        throw new MeshError("move.too-many", `there are ${maxMoves} moves in ${path}: move some out`, { path });
      }
      return hold(name, await locked(directoryOf(name), name, clock));
    },
    async forget(record, ending) {
      await append(files, history, ending).catch((error) =>
        log.warn({ move: record.name, error: messageOf(error) }, "the history of moves could not be written"),
      );
      await files.remove(fileOf(record.name));
      await files.syncDirectory(fileOf(record.name));
      await files.remove(wordFile(directoryOf(record.name)));
      // What is left is its lock.
      await remove(record.name);
    },
    ending: async (name) => endingIn((await files.read(history)) ?? Buffer.alloc(0), name),
    tellToUndo: (name, mover) => tell(wordFile(directoryOf(name)), mover),
    isToldToUndo: async (name, mover) => (await wordIn(wordFile(directoryOf(name)))) === nameOfMover(mover),
  };
}

/**
 * The word to a mover that its way in is to be taken back: a link that leads nowhere and names the mover. It is there whole or not at all, takes no
 * room on a full disk, is the same however often it is given, and says nothing to the mover who comes next.
 */
const wordFile = (directory: string): string => join(directory, "undo");

function nameOfMover({ pid, started }: ProcessId): string {
  return `${pid}-${started}`;
}

async function tell(file: string, mover: ProcessId): Promise<void> {
  const word = nameOfMover(mover);
  try {
    for (let round = 0; round < tellRounds && (await wordIn(file)) !== word; round++) {
      await rm(file, { force: true });
      await symlink(word, file).catch((error) => {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      });
    }
  } catch (error) {
    // The move has just ended, and its directory with it.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new MeshError(
      "move.not-told",
      `process ${mover.pid} cannot be told to take the move back (${messageOf(error)}): interrupt it (kill -INT ${mover.pid}), and it does`,
      { pid: mover.pid },
      { cause: error },
    );
  }
}

async function wordIn(file: string): Promise<string | undefined> {
  try {
    return await readlink(file);
  } catch (error) {
    if (["ENOENT", "EINVAL"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

/** Also what cannot be looked at is there. */
async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ENOENT";
  }
}

/** The process that a move is named after. */
function pidOf(name: string): number {
  return Number(name.slice(1, name.indexOf("-")));
}

async function locked(directory: string, name: string, clock: Clock): Promise<Lock> {
  for (let round = 1; ; round++) {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      return await takeLock(directory, clock);
    } catch (error) {
      if (isMeshError(error, "state.locked")) throw busy(name, error.details["pid"], error);
      // The directory may have gone between its making and its lock, which the system tells in one way or another.
      const mayPass = isMeshError(error, "state.lock-failed") || (error as NodeJS.ErrnoException).code === "ENOENT";
      if (!mayPass || round >= takeRounds) throw error;
      await sleep(clock, takeAgainMs);
    }
  }
}

function busy(name: string, pid: unknown, cause: unknown): MeshError {
  const who = typeof pid === "number" ? `process ${pid}` : "another process";
  return new MeshError(
    "move.busy",
    `${who} is at the move ${name}: wait for it, or see dualmesh move status`,
    { name, pid },
    { cause },
  );
}

/** The history is a help for people: it is kept short, and of two moves that end at the same moment one may be missing. */
async function append(files: Files, path: string, ending: MoveEnding): Promise<void> {
  const before = (await files.read(path)) ?? Buffer.alloc(0);
  const line = Buffer.from(`${JSON.stringify(ending)}\n`);
  const kept = before.length + line.length <= maxHistoryBytes ? before : newestHalf(before);
  const fresh = `${path}.${ending.name}`;
  try {
    const file = await files.open(fresh, "new");
    try {
      await file.write(Buffer.concat([kept, line]), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(fresh, path);
  } catch (error) {
    // On a full disk it would only take what little room there is.
    await files.remove(fresh);
    throw error;
  }
}

/** A line that somebody has spoilt hides no other. */
function endingIn(lines: Buffer, name: string): MoveEnding | undefined {
  for (const line of lines.toString("utf8").split("\n").reverse()) {
    if (!line.includes(name)) continue;
    try {
      const ending = JSON.parse(line) as MoveEnding;
      if (ending.name === name) return ending;
    } catch {
      // The next one is asked.
    }
  }
  return undefined;
}

function newestHalf(lines: Buffer): Buffer {
  const half = lines.subarray(lines.length >> 1);
  return half.subarray(half.indexOf(10) + 1);
}
