/**
 * How a mover comes to what it needs: the network namespace of the process, a process that holds the privileges, and a user of its own without
 * any. As root all three are done here; an ordinary user stays what it is, and has the privileges by `--sudo` or by what it was given.
 */
import { accessSync, chownSync, constants, mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log, LogLevel } from "@dualmesh/base/log";
import { openLog } from "@dualmesh/base/open-log";
import type { Privileged, User } from "@dualmesh/fleet/host/host";
import { netnsOf } from "@dualmesh/fleet/host/namespace";
import { needProgram } from "@dualmesh/fleet/host/programs";
import { openPrivileged } from "@dualmesh/fleet/host/remote";
import { controlOf, openRealWorld } from "@dualmesh/fleet/move/real-world";
import { openRecords } from "@dualmesh/fleet/move/records";
import type { MoveRecords, MoveWorld } from "@dualmesh/fleet/move/world";
import type { ProcessFacts } from "@dualmesh/fleet/process/facts";
import type { FlagValues } from "../command.ts";
import { stateRoots } from "../state-path.ts";
import { isRoot, ownerOf, ownUser, readUser, userNamed } from "./users.ts";
import { textOf } from "./wish.ts";

export interface Setting extends AsyncDisposable {
  readonly privileged: Privileged;
  readonly records: MoveRecords;
  readonly world: MoveWorld;
  readonly moves: string;
  readonly user: User;
  readonly log: Log;
}

/** Set for a program that has entered a namespace, so that it does not try for ever. */
const enteredVariable = "DUALMESH_MOVE_ENTERED";
const rootsMoves = "/var/lib/dualmesh/moves";

/** The moves directory. */
export function movesPath(flags: FlagValues): string {
  const given = textOf(flags, "moves");
  if (given !== undefined) return resolve(given);
  const home = process.env["XDG_STATE_HOME"];
  return isRoot() && !home?.startsWith("/") ? rootsMoves : join(stateRoots()[0], "moves");
}

/**
 * Goes on in the network namespace of a process, from where its registry is as the process sees it: this same process begins again there, with
 * the same words. Nothing when it is there already.
 */
export function enterNamespace({ pid, netns }: Pick<ProcessFacts, "pid" | "netns">): void {
  if (netnsOf("self") === netns) return;
  if (!isRoot() || process.env[enteredVariable] !== undefined) {
    throw new MeshError(
      "move.other-namespace",
      `process ${pid} is in another network namespace, which only root enters: run as root, or in that namespace`,
    );
  }
  const nsenter = needProgram("nsenter");
  const words = [nsenter, `--net=/proc/${pid}/ns/net`, "--", ...ownProgram(), ...process.argv.slice(2)];
  process.execve?.(nsenter, words, { ...process.env, [enteredVariable]: String(netns) });
  throw new MeshError(
    "move.other-namespace",
    `this Node cannot go on in another namespace: run dualmesh by nsenter --net=/proc/${pid}/ns/net`,
  );
}

/** As whom a move runs that root asks for: as the operator says, else as the sidecar beside the process does, else as somebody without rights. */
export async function chooseUser(flags: FlagValues, privileged: Privileged, netns: number): Promise<User> {
  const given = textOf(flags, "user");
  if (given !== undefined) return readUser(given);
  const state = textOf(flags, "state");
  const owner = state === undefined ? await ownerOfSidecar(privileged, netns) : ownerOf(state);
  return owner ?? userNamed("dualmesh") ?? userNamed("nobody") ?? ownUser();
}

/** Of the first one beside the process that has its instances from ZooKeeper. */
async function ownerOfSidecar(privileged: Privileged, netns: number): Promise<User | undefined> {
  for (const { path, uid, gid } of await privileged.stateDirectories(netns)) {
    try {
      const { directory } = await controlOf(path, systemClock).list();
      if (directory.kind === "zookeeper") return { uid, gid };
    } catch (error) {
      if (!isMeshError(error)) throw error; // a registry, or one that is just ending
    }
  }
  return undefined;
}

/** As root: makes the moves directory for a user, with those above it. */
export function makeMoves(moves: string, user: User): void {
  const owner = ownerOf(moves);
  if (owner === undefined) {
    mkdirSync(dirname(moves), { recursive: true, mode: 0o755 });
    mkdirSync(moves, { mode: 0o700 });
    chownSync(moves, user.uid, user.gid);
  } else if (owner.uid !== user.uid) {
    throw new MeshError(
      "move.other-user",
      `the moves in ${moves} belong to user ${owner.uid}, and this one would run as user ${user.uid}: say --user ${owner.uid}:${owner.gid}, or another directory with --moves`,
    );
  }
}

/** Who looks after the moves that are there: their owner. Throws when there are none. */
export function ownerOfMoves(moves: string): User {
  const owner = ownerOf(moves);
  if (owner === undefined)
    throw new MeshError("move.none", `there are no moves in ${moves}: name their directory with --moves`);
  return isRoot() ? owner : ownUser();
}

export interface SettingOptions {
  readonly moves: string;
  readonly user: User;
  readonly sudo: boolean;
  readonly logLevel: LogLevel;
}

/** Starts who holds the privileges, and has none from then on. */
export async function openSetting({ moves, user, sudo, logLevel }: SettingOptions): Promise<Setting> {
  const host = [...ownProgram(), "move", "host"] as const;
  const privileged = await openPrivileged({
    command: sudo ? ["sudo", "-n", ...host] : (host as unknown as readonly [string, ...string[]]),
    ...(isRoot() ? { dropTo: user } : {}),
  });
  const log = (await openLog({ level: logLevel })).child({ part: "mover" });
  const clock = systemClock;
  const records = openRecords({ path: moves, clock, log });
  const world = openRealWorld({ privileged, records, moves, clock, log });
  return {
    privileged,
    records,
    world,
    moves,
    user,
    log,
    [Symbol.asyncDispose]: () => privileged[Symbol.asyncDispose](),
  };
}

/** Whether this user, who has no rights any more, can do here what it has to. */
export function checkAccess({ moves, user }: Pick<Setting, "moves" | "user">): void {
  const program = process.argv[1] ?? "";
  for (const [path, how, does] of [
    [moves, constants.W_OK | constants.X_OK, "write"],
    [program, constants.R_OK, "read"],
  ] as const) {
    try {
      accessSync(path, how);
    } catch (error) {
      throw new MeshError(
        "move.no-access",
        `user ${user.uid} cannot ${does} ${path} (${messageOf(error)}): open it for that user and the directories above it, or say another one with --user`,
      );
    }
  }
}

/** What starts this program again, as it runs now. */
function ownProgram(): readonly [string, ...string[]] {
  return [process.execPath, ...process.execArgv, process.argv[1] ?? ""];
}
