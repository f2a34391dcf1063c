/**
 * One process at a time in a state directory, also when processes see different process tables (containers on one volume).
 *
 * The lock is a Unix socket on which the holder listens: that somebody answers is the proof of life, and the kernel ends it with
 * the process, so that no process id that has been given to another is ever believed. Taking over a dead lock is free of races because locks are numbered:
 * the successor of lock N is whoever links N + 1 into place, which the file system grants to one only, and who finds a higher
 * number after that has lost. The highest file is never removed, so that numbers never begin again.
 */
import { link, readdir, rm } from "node:fs/promises";
import { createConnection, createServer, type Server } from "node:net";
import { join } from "node:path";
import { type Clock, systemClock } from "../clock.ts";
import { MeshError } from "../errors.ts";

export interface Lock {
  /** Lets the next process in. */
  release(): Promise<void>;
}

/** How long a living holder has to say its process id; the refusal does not depend on it. */
const answerWithinMs = 500;
/** Each round is lost only to another process that went on, so more than this is a fault of the file system. */
const maxRounds = 50;
/** What Linux takes as the path of a Unix socket. */
const maxSocketPath = 107;

/** Takes the lock of `directory`, or throws `state.locked` with the process that holds it. */
export async function takeLock(directory: string, clock: Clock = systemClock): Promise<Lock> {
  const fresh = join(directory, `lock.${process.pid}.${process.hrtime.bigint().toString(36)}`);
  if (Buffer.byteLength(fresh) > maxSocketPath) {
    throw new MeshError(
      "state.path-too-long",
      `the path ${directory} is too long: sockets in it must stay within ${maxSocketPath} bytes; choose a shorter --state`,
      { path: directory },
    );
  }
  const server = await listen(fresh);
  try {
    for (let round = 0; round < maxRounds; round++) {
      const before = Math.max(0, ...(await generations(directory)));
      if (before > 0) {
        const holder = await ask(lockPath(directory, before), clock);
        if (holder === "gone") continue;
        if (holder !== "dead") throw locked(directory, holder.pid);
      }
      if (!(await linked(fresh, lockPath(directory, before + 1)))) continue;
      const after = await generations(directory);
      if (after.some((generation) => generation > before + 1)) {
        await rm(lockPath(directory, before + 1), { force: true });
        continue;
      }
      // The one before stays: a process that is listing the directory right now must find one of the two.
      for (const old of after) if (old < before) await rm(lockPath(directory, old), { force: true });
      await rm(fresh, { force: true });
      return { release: () => closed(server) };
    }
    throw new MeshError(
      "state.lock-failed",
      `the lock of ${directory} could not be taken in ${maxRounds} rounds; is it on a file system that keeps hard links?`,
      { path: directory },
    );
  } catch (error) {
    await closed(server);
    await rm(fresh, { force: true });
    throw error;
  }
}

function locked(directory: string, pid: number | undefined): MeshError {
  const holder = pid === undefined ? "another process" : `process ${pid}`;
  return new MeshError(
    "state.locked",
    `${directory} is in use by ${holder}: stop it first${pid === undefined ? "" : ` (kill ${pid})`}, or give this one a directory of its own with --state`,
    { path: directory, ...(pid === undefined ? {} : { pid }) },
  );
}

function lockPath(directory: string, generation: number): string {
  return join(directory, `lock.${generation}`);
}

async function generations(directory: string): Promise<number[]> {
  const names = await readdir(directory);
  return names.flatMap((name) => (/^lock\.[1-9]\d{0,14}$/.test(name) ? [Number(name.slice("lock.".length))] : []));
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

type Holder = "gone" | "dead" | { readonly pid: number | undefined };

function ask(path: string, clock: Clock): Promise<Holder> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    let text = "";
    const answer = (): void => {
      timer.cancel();
      socket.destroy();
      const pid = Number.parseInt(text, 10);
      resolve({ pid: Number.isSafeInteger(pid) ? pid : undefined });
    };
    const timer = clock.after(answerWithinMs, answer, true);
    socket.setEncoding("latin1");
    socket.on("data", (piece) => {
      text = (text + piece).slice(0, 32);
    });
    socket.on("end", answer);
    socket.on("error", (error: NodeJS.ErrnoException) => {
      timer.cancel();
      socket.destroy();
      if (error.code === "ECONNREFUSED") resolve("dead");
      else if (error.code === "ENOENT") resolve("gone");
      else if (error.code === "EAGAIN" || error.code === "ECONNRESET") resolve({ pid: undefined });
      else
        reject(new MeshError("state.lock-failed", `cannot ask for the holder of ${path}: ${error.message}`, { path }));
    });
  });
}

function listen(path: string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy()); // a process that asked and went
    socket.end(`${process.pid}\n`);
    socket.resume();
  });
  server.unref();
  return new Promise((resolve, reject) => {
    // After listening there is nobody left to reject, and an accept that failed takes nothing from the lock: connecting succeeded.
    server.on("error", (error) => {
      reject(
        new MeshError(
          "state.lock-failed",
          `cannot make a lock at ${path}: ${error.message}; is the directory writable?`,
          { path },
          { cause: error },
        ),
      );
    });
    server.listen(path, () => resolve(server));
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
