/**
 * How a mover comes to what it needs: the network namespace of the process, a process that holds the privileges, and a user of its own without
 * any. As root all three are done here; an ordinary user stays what it is, and has the privileges by `--sudo` or by what it was given.
 */
import { accessSync, constants, lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log, LogLevel } from "@dualmesh/base/log";
import { openLog } from "@dualmesh/base/open-log";
import { accountOf, unusedUser } from "@dualmesh/fleet/host/accounts";
import { soleOwner } from "@dualmesh/fleet/host/directories";
import type { Privileged, User } from "@dualmesh/fleet/host/host";
import { netnsOf } from "@dualmesh/fleet/host/namespace";
import { needProgram } from "@dualmesh/fleet/host/programs";
import { joinPrivileged, type OpenPrivilegedOptions, openPrivileged } from "@dualmesh/fleet/host/remote";
import { type AgentProcess, agentSocket, agentSocketVariable, startAgent } from "@dualmesh/fleet/host/start-agent";
import { isSameUser, ownUser, userText } from "@dualmesh/fleet/host/users";
import { openRealWorld } from "@dualmesh/fleet/move/real-world";
import { openRecords } from "@dualmesh/fleet/move/records";
import type { MoveRecords, MoveWorld } from "@dualmesh/fleet/move/world";
import type { ProcessFacts } from "@dualmesh/fleet/process/facts";
import type { FlagValues } from "../command.ts";
import { stateRoots } from "../state-path.ts";
import { hostCommand, ownProgram } from "./own-program.ts";
import { isRoot, readIds, readUser } from "./users.ts";
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

/** The moves directory, with no link above it: whoever is asked to trust it looks at each part of the path. */
export function movesPath(flags: FlagValues): string {
  const given = textOf(flags, "moves");
  const home = process.env["XDG_STATE_HOME"];
  const usual = isRoot() && !home?.startsWith("/") ? rootsMoves : join(stateRoots()[0], "moves");
  const path = given === undefined ? usual : resolve(given);
  return join(withoutLinks(dirname(path)), basename(path));
}

/** What is not there yet has no links either. */
function withoutLinks(path: string): string {
  if (path === "/") return path;
  try {
    return realpathSync(path);
  } catch {
    return join(withoutLinks(dirname(path)), basename(path));
  }
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

/** The account that the product's packages make for what it runs. */
export const productAccount = "dualmesh";
/** What a sidecar that has its instances from ZooKeeper keeps in its state directory. */
export const zooKeepersFile = "zookeeper-directory.journal";
const root: User = { uid: 0, gid: 0 };

/**
 * As whom a move runs that root asks for: as the operator says, else as the sidecar beside the process does, else as the product's account, else as
 * whoever has the moves already, else as a user that nobody is. No sidecar is asked anything here, since root would read what it answers;
 * and whose directory could be somebody's who poses as one does not count.
 */
export async function chooseUser(
  flags: FlagValues,
  moves: string,
  netns: number,
  privileged: Pick<Privileged, "stateDirectories">,
): Promise<User> {
  const given = textOf(flags, "user");
  if (given !== undefined) return readUser(given);
  const state = textOf(flags, "state");
  const owner = state === undefined ? undefined : ownerOfState(resolve(state));
  if (owner !== undefined) return owner;
  const kept = isThere(moves) ? soleOwner(moves) : undefined;
  const account = await accountOf(productAccount);
  const found = (await privileged.stateDirectories(netns)).filter(
    ({ path, isPrivate }) => isPrivate && isThere(join(path, zooKeepersFile)),
  );
  const beside = [kept, account, root].find((user) => found.some(({ uid }) => uid === user?.uid));
  return beside ?? account ?? kept ?? unusedUser();
}

/** Undefined when there is no such directory. What is root's must be root's alone: everything would run as root. */
function ownerOfState(state: string): User | undefined {
  const stats = lstatSync(state, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  return stats.uid === 0 ? soleOwner(state) : { uid: stats.uid, gid: stats.gid };
}

export function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    // A file where a directory would be.
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return false;
    throw error;
  }
}

/** As root: makes the moves directory for a user, with those above it. */
export async function prepareMoves(
  moves: string,
  user: User,
  privileged: Pick<Privileged, "directory">,
): Promise<void> {
  const owner = isThere(moves) ? soleOwner(moves) : user;
  if (!isSameUser(owner, user)) {
    throw new MeshError(
      "move.other-user",
      `the moves in ${moves} belong to ${userText(owner)}, and this one would run as ${userText(user)}: say --user ${owner.uid}:${owner.gid}, or another directory with --moves`,
    );
  }
  await privileged.directory(moves, user);
}

/** Who looks after the moves that are there: their owner, when nobody else can have put them there. Throws when there are none. */
export function ownerOfMoves(moves: string): User {
  if (!isThere(moves))
    throw new MeshError("move.none", `there are no moves in ${moves}: name their directory with --moves`);
  return isRoot() ? soleOwner(moves) : ownUser();
}

/** As whom a guard goes on: whom the one who started it says, and as root only when root itself says so. Throws `move.other-user`. */
export function ownerOfGuard(flags: FlagValues, moves: string): User {
  const text = textOf(flags, "owner");
  const said = text === undefined ? undefined : readIds(text);
  if (text !== undefined && said === undefined) {
    throw new MeshError("usage.wrong", `--owner expects UID:GID, got "${text}"`);
  }
  const owner = ownerOfMoves(moves);
  if (said === undefined && owner.uid === 0) {
    throw new MeshError("move.other-user", `the moves in ${moves} are root's: say --owner 0:0 to guard them as root`);
  }
  if (said !== undefined && !isSameUser(said, owner)) {
    const text = `the moves in ${moves} belong to ${userText(owner)}, and not to ${userText(said)}, for whom they are to be guarded`;
    throw new MeshError("move.other-user", text);
  }
  return owner;
}

export interface SettingOptions {
  readonly moves: string;
  readonly user: User;
  readonly sudo: boolean;
  readonly logLevel: LogLevel;
  /** Who holds the privileges, when it has been started before all of this was loaded. */
  readonly agent?: AgentProcess | undefined;
}

/** Starts who holds the privileges, or asks the one that is there, and has none from then on. */
export async function openSetting({ moves, user, sudo, logLevel, agent }: SettingOptions): Promise<Setting> {
  const dropTo = isRoot() ? { dropTo: user } : {};
  const privileged = await (sudo ? openBySudo(dropTo) : openAgent(dropTo, agent));
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

type DropTo = Pick<OpenPrivilegedOptions, "dropTo">;

async function openAgent(dropTo: DropTo, agent: AgentProcess | undefined): Promise<Privileged> {
  const socket = agentSocket();
  if (socket !== undefined && isRoot()) {
    const text = `${agentSocketVariable} is set for root, who would keep all rights: it is for what an ordinary user's mover starts; unset it`;
    throw new MeshError("host.not-dropped", text);
  }
  if (socket !== undefined) return joinPrivileged(socket);
  return openPrivileged({ agent: agent ?? startAgent(hostCommand()), ...dropTo });
}

async function openBySudo(dropTo: DropTo): Promise<Privileged> {
  const host = hostCommand();
  try {
    return await openPrivileged({ agent: startAgent(["sudo", "-n", ...host]), ...dropTo });
  } catch (error) {
    if (!isMeshError(error, "host.no-agent")) throw error;
    const rule = `sudo has to let this user run, without a password: ${host.join(" ")}`;
    throw new MeshError(error.code, `${error.message}; ${rule}`, error.details, { cause: error });
  }
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
