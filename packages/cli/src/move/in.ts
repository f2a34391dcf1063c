/** `dualmesh move in`: looks, says what it found, moves, and says how it ended. */
import { existsSync } from "node:fs";
import { systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { openLinux } from "@dualmesh/fleet/host/linux";
import { ownUser } from "@dualmesh/fleet/host/users";
import { examine, type Wish } from "@dualmesh/fleet/move/checks/examine";
import { pickProcess } from "@dualmesh/fleet/move/checks/pick";
import { Mover } from "@dualmesh/fleet/move/mover";
import type { MoveEnd } from "@dualmesh/fleet/move/one-move";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { addressesOf, meansOf } from "./examine.ts";
import { listenForInterrupts } from "./interrupt.ts";
import { checkMovesPath } from "./moves-path.ts";
import { planText } from "./plan.ts";
import {
  checkAccess,
  chooseUser,
  enterNamespace,
  movesPath,
  openSetting,
  prepareMoves,
  type Setting,
} from "./privileges.ts";
import { type EndLine, openTeller, type Teller } from "./tell.ts";
import { isRoot } from "./users.ts";
import { readWish } from "./wish.ts";

export async function runIn(flags: FlagValues): Promise<number> {
  const wish = readWish(flags);
  const moves = movesPath(flags);
  const isDry = flags.has("dry-run");
  const teller = openTeller(flags.has("json"), (text) => process.stdout.write(text));
  if (!isRoot() && flags.has("user")) {
    throw new MeshError("usage.wrong", "--user is for root: anybody else moves as the user that calls the command");
  }
  checkMovesPath(moves, { sudo: flags.has("sudo") });
  const user = isRoot() ? await prepareAsRoot(flags, wish, moves, isDry) : ownUser();
  await using setting = await openSetting({ moves, user, sudo: flags.has("sudo"), logLevel: "error" });
  if (!isRoot() && !isDry) await setting.privileged.directory(moves, user);
  if (!isDry || existsSync(moves)) checkAccess(setting);
  const facts = await pick(setting, wish);
  enterNamespace(facts);
  const { checks, record } = await examine(facts, wish, await meansOf(setting));
  teller.begins(`process ${facts.pid} into the mesh`);
  teller.checks(checks);
  if (record === undefined) {
    const failed = checks.flatMap(({ level, text }) => (level === "stops" ? [text] : [])).join("; ");
    teller.end({ name: "", pid: facts.pid, state: "refused", ms: 0, failed });
    return exitCodes.refused;
  }
  if (isDry) {
    teller.plan(planText(record), record);
    return exitCodes.ok;
  }
  return await move(record, setting, teller); // what it needs is closed behind it
}

/** What only root can do, before it is nobody in particular. */
async function prepareAsRoot(flags: FlagValues, wish: Wish, moves: string, isDry: boolean) {
  await using linux = openLinux();
  const facts = await pick({ privileged: linux }, wish);
  enterNamespace(facts);
  const user = await chooseUser(flags, moves, facts.netns, linux);
  await prepareMoves(moves, user, isDry ? { directory: async () => undefined } : linux);
  return user;
}

async function pick({ privileged }: Pick<Setting, "privileged">, { named, zookeeper }: Wish) {
  const all = await privileged.facts(named);
  // Names are resolved only to choose between several.
  const servers = all.length > 1 ? await Promise.all(zookeeper.map(placesOf)) : [];
  return pickProcess(all, named, servers.flat());
}

async function placesOf(text: string): Promise<readonly string[]> {
  const colon = text.lastIndexOf(":");
  const hosts = await addressesOf(text.slice(0, colon)).catch(() => []);
  return hosts.map((host) => `${host}${text.slice(colon)}`);
}

async function move(record: MoveRecord, { records, world }: Setting, teller: Teller): Promise<number> {
  const begun = systemClock.now();
  using interrupt = listenForInterrupts("undone", (text) => process.stderr.write(`${text}\n`));
  const hold = await records.take(record.name);
  try {
    const mover = new Mover({ world, records, record, tell: (event) => teller.event(event) });
    return tellEnd(record, await mover.enter(interrupt.signal), begun, teller);
  } finally {
    await hold.release();
  }
}

/** Says how a move ended; resolves to the exit code. */
export function tellEnd(record: MoveRecord, end: MoveEnd, begun: number, teller: Teller): number {
  const line: EndLine = {
    name: record.name,
    pid: record.process.pid,
    ms: Math.round(systemClock.now() - begun),
    ...end,
  };
  teller.end(line);
  return end.state === "in" || end.state === "out" ? exitCodes.ok : exitCodes.failed;
}
