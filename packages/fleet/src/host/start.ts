/**
 * Starts this product's own program in a network namespace, as a user, for longer than the one who asks lives; and makes directories for it. No
 * other program can be started, the new process has no privileges that its user does not have, and its environment is two
 * variables: the path of programs, and its user's home.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { chownSync, closeSync, constants, lstatSync, mkdirSync, openSync, readFileSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { type Clock, sleep } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { StartOptions, User } from "./host.ts";
import type { Entrance, Namespace } from "./namespace.ts";
import { cleanEnvironment, needProgram } from "./programs.ts";
import { asUser, homeOf, isSameUser, ownUser } from "./users.ts";

/** Until the words of the new process are those that were asked for. */
const runsWithinMs = 10_000;
const lookEveryMs = 10;

export interface Starter {
  /** Who asks. */
  readonly asker: User;
  /** The product's program: Node, its own flags, and the file of the command line. */
  readonly program: readonly [string, ...string[]];
  readonly clock: Clock;
}

export async function startProcess(
  { user, words, log }: StartOptions,
  namespace: Namespace,
  { asker, program, clock }: Starter,
): Promise<number> {
  const runsAs = user ?? asker;
  // A guard is the one part that needs what this process has. Its log is the asker's all the same.
  const keeps = user === undefined && words[0] === "move";
  const output = openLog(log, runsAs);
  try {
    const child = await namespace.at(async (entrance) => {
      const line = startLine([...program, ...words], keeps ? undefined : runsAs, entrance);
      return spawnDetached(line, entrance, output, homeOf(keeps ? ownUser() : runsAs));
    });
    await untilItRuns(child, program[0], log, clock);
    child.unref();
    return child.pid ?? -1;
  } finally {
    closeSync(output);
  }
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

/** Where root makes directories for others; nobody else can change what is on the way. */
const rootsOwn: readonly string[] = ["/var/lib/dualmesh", "/run/dualmesh"];

/** As `Privileged.directory`. */
export function makeDirectory(path: string, user: User): void {
  try {
    asUser(user, () => mkdirSync(path, { recursive: true, mode: 0o700 }));
  } catch (error) {
    const allowed = ["EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "");
    const below = rootsOwn.some((root) => path.startsWith(`${root}/`));
    if (!allowed || !below || ownUser().uid !== 0) throw directoryFailed(path, user, messageOf(error));
    makeAsRoot(path, user);
  }
  const { uid } = directoryAt(path, user);
  if (uid !== user.uid) throw directoryFailed(path, user, `it is there and belongs to user ${uid}`);
}

function makeAsRoot(path: string, user: User): void {
  const parts = path.split("/").filter((part) => part !== "");
  for (let length = 1; length < parts.length; length++) {
    const above = `/${parts.slice(0, length).join("/")}`;
    makeIfMissing(above, 0o755);
    if (directoryAt(above, user).uid !== 0) throw directoryFailed(path, user, `${above} does not belong to root`);
  }
  if (makeIfMissing(path, 0o700)) chownSync(path, user.uid, user.gid);
}

/** True when it was not there. */
function makeIfMissing(path: string, mode: number): boolean {
  try {
    mkdirSync(path, { mode });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw new MeshError("host.directory-failed", `${path} cannot be made: ${messageOf(error)}`, { path });
  }
}

function directoryAt(path: string, user: User): Stats {
  let stats: Stats;
  try {
    stats = lstatSync(path);
  } catch (error) {
    throw directoryFailed(path, user, messageOf(error));
  }
  if (!stats.isDirectory()) throw directoryFailed(path, user, `${path} is not a directory`);
  return stats;
}

function directoryFailed(path: string, { uid }: User, why: string): MeshError {
  return new MeshError(
    "host.directory-failed",
    `the directory ${path} cannot be made for user ${uid}: ${why}; name one below the home of that user, or below ${rootsOwn[0]}`,
    { path, above: dirname(path) },
  );
}
