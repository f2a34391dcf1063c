/**
 * Starts this product's own program in a network namespace, as a user, for longer than the one who asks lives. No other program can be started, the
 * new process has no privileges that its user does not have, and its environment is two variables: the path of programs, and its
 * user's home. The guard alone begins with what this process has, under a parent that has it back when it dies and keeps that, and its words
 * say to whom it must come down.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { type Clock, sleep } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { soleOwner } from "./directories.ts";
import type { StartOptions, User } from "./host.ts";
import type { Entrance, Namespace } from "./namespace.ts";
import { cleanEnvironment, needProgram, withoutDebugger } from "./programs.ts";
import { asUser, homeOf, isSameUser, ownUser, userText } from "./users.ts";

/** Until the words of the new process are those that were asked for. */
const runsWithinMs = 10_000;
const lookEveryMs = 10;

export interface Starter {
  /** Who asks. */
  readonly asker: User;
  /** Whose moves may be guarded, beside the asker's. */
  readonly users: readonly User[];
  /** The product's program: Node, its own flags, and the file of the command line. */
  readonly program: readonly [string, ...string[]];
  readonly clock: Clock;
}

export async function startProcess(
  { user, words, log }: StartOptions,
  namespace: Namespace,
  { asker, users, program, clock }: Starter,
): Promise<number> {
  const runsAs = user ?? asker;
  // A guard is the one part that needs what this process has. Its log is the asker's all the same.
  const keeps = words[0] === "move";
  const all = keeps ? guardWords(words, [asker, ...users]) : words;
  const output = openLog(log, runsAs);
  try {
    const child = await namespace.at(async (entrance) => {
      const line = startLine([...withoutDebugger(program), ...all], keeps ? undefined : runsAs, entrance);
      return spawnDetached(line, entrance, output, homeOf(keeps ? ownUser() : runsAs));
    });
    await untilItRuns(child, program[0], log, clock);
    child.unref();
    return child.pid ?? -1;
  } finally {
    closeSync(output);
  }
}

/**
 * The words of a guard, which begins as root: whose moves it is for is found here, and said, so that it depends on nothing that can change
 * before the guard looks, at this start and at those that its parent makes later. Root's own moves are guarded only when root asks.
 */
function guardWords(words: readonly string[], allowed: readonly User[]): readonly string[] {
  const moves = words.at(-1) ?? "";
  const owner = soleOwner(moves);
  if (!allowed.some((user) => isSameUser(user, owner))) {
    throw new MeshError(
      "host.not-permitted",
      `the moves in ${moves} belong to ${userText(owner)}, and ${userText(allowed[0] as User)} may not have them guarded: name a directory of that user's own`,
      { moves },
    );
  }
  return [...words, "--owner", `${owner.uid}:${owner.gid}`, "--supervised"];
}

function openLog(path: string, user: User): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
  try {
    return asUser(user, () => openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600));
  } catch (error) {
    throw new MeshError("host.log-failed", `user ${user.uid} cannot write ${path}: ${messageOf(error)}`, { path });
  }
}

/** The whole line: enter the namespace, become the user without capabilities, run. */
function startLine(line: readonly string[], user: User | undefined, { fd }: Entrance): readonly string[] {
  const enter = fd === undefined ? [] : [needProgram("nsenter"), "--net=/proc/self/fd/3", "--"];
  if (user === undefined) return [...enter, ...line];
  const own = ownUser();
  const change = isSameUser(own, user)
    ? []
    : ["--reuid", `${user.uid}`, "--regid", `${user.gid}`, "--clear-groups", "--bounding-set=-all"];
  const confine = [needProgram("setpriv"), ...change, "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"];
  return [...enter, ...confine, ...line];
}

function spawnDetached(line: readonly string[], { fd }: Entrance, output: number, home: string): ChildProcess {
  const [file = "", ...words] = line;
  return spawn(file, words, {
    stdio: ["ignore", output, output, ...(fd === undefined ? [] : [fd])],
    env: { PATH: cleanEnvironment["PATH"], HOME: home },
    detached: true,
    cwd: "/",
  });
}

/** The programs before it replace themselves by the next, so that its process id is there from the beginning. */
async function untilItRuns(child: ChildProcess, program: string, log: string, clock: Clock): Promise<void> {
  let failed: string | undefined;
  child.once("error", (error) => {
    failed = error.message;
  });
  child.once("exit", (code, signal) => {
    failed = `it ended with ${signal ?? code}`;
  });
  const until = clock.now() + runsWithinMs;
  while (failed === undefined && clock.now() < until) {
    if (firstWordOf(child.pid) === program) return;
    await sleep(clock, lookEveryMs);
  }
  child.kill("SIGKILL");
  throw new MeshError(
    "host.start-failed",
    `the process could not be started: ${failed ?? `it did not run within ${runsWithinMs} ms`}; ${log} says more`,
    { log },
  );
}

function firstWordOf(pid: number | undefined): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0];
  } catch {
    return undefined; // it has ended
  }
}
