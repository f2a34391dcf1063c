/** `dualmesh move recover`: now, what the guard does by itself. */
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import { netnsOf } from "@dualmesh/fleet/host/namespace";
import { ensureGuard, guardWords } from "@dualmesh/fleet/move/guard-post";
import { Mover } from "@dualmesh/fleet/move/mover";
import { stoppedGroup } from "@dualmesh/fleet/move/processes";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { movesMeant, unreadableText } from "./find-records.ts";
import { killText, stoppedText } from "./hold.ts";
import { tellEnd } from "./in.ts";
import { listenForInterrupts } from "./interrupt.ts";
import { isThere, movesPath, openSetting, ownerOfMoves, type Setting } from "./privileges.ts";
import { openTeller, type Teller, titleOf } from "./tell.ts";
import { readNameIfAny } from "./wish.ts";

const nothingText = "there is nothing to recover\n";

export async function runRecover(flags: FlagValues): Promise<number> {
  const named = readNameIfAny(flags);
  const moves = movesPath(flags);
  const isJson = flags.has("json");
  const write = (text: string): unknown => process.stdout.write(text);
  // Where moves are by default there are none before the first one; a directory that is named is expected.
  if (named === undefined && !flags.has("moves") && !isThere(moves)) {
    if (!isJson) write(nothingText);
    return exitCodes.ok;
  }
  const user = ownerOfMoves(moves);
  await using setting = await openSetting({ moves, user, sudo: flags.has("sudo"), logLevel: "error" });
  using interrupt = listenForInterrupts("completed", (text) => process.stderr.write(`${text}\n`));
  const { found, unreadable } = await movesMeant(named, setting.records, setting.privileged);
  let code: number = exitCodes.ok;
  for (const record of found) {
    code = Math.max(code, await recoverOne(record, setting, openTeller(isJson, write), interrupt.signal));
  }
  for (const one of unreadable) {
    write(isJson ? `${JSON.stringify({ event: "unreadable", ...one })}\n` : `${unreadableText(one)}\n`);
    code = exitCodes.failed;
  }
  if (found.length + unreadable.length === 0 && !isJson) write(nothingText);
  if (found.length + unreadable.length > 0) await seeGuardIsThere(setting, openTeller(isJson, write));
  return code;
}

/** After the moves were recovered, so that both are not after the same: for what is left of them, which may be what nobody can read, or a crossing to be closed. */
async function seeGuardIsThere({ moves, records, privileged }: Setting, teller: Teller): Promise<void> {
  const netns = netnsOf("self");
  const left = (await records.list()).length + (await records.unreadable()).length;
  if (left === 0 || netns === undefined) return;
  try {
    const words = guardWords(moves);
    await ensureGuard(moves, systemClock, (log) => privileged.start({ netns, user: undefined, words, log }));
  } catch (error) {
    teller.event({ event: "note", text: `no guard looks after what is left: ${messageOf(error)}` });
  }
}

async function recoverOne(
  seen: MoveRecord,
  { records, world }: Setting,
  teller: Teller,
  signal: AbortSignal,
): Promise<number> {
  const begun = systemClock.now();
  const { name } = seen;
  let hold: Awaited<ReturnType<Setting["records"]["take"]>>;
  try {
    hold = await records.take(name);
  } catch (error) {
    if (!isMeshError(error, "move.busy")) throw error;
    const ms = Math.round(systemClock.now() - begun);
    const group = stoppedGroup(seen.mover);
    const { pid } = seen.mover;
    const failed =
      group === undefined ? error.message : `process ${pid} ${stoppedText(group)}, and it goes on; ${killText(pid)}`;
    teller.end({ name, pid: seen.process.pid, state: "busy", ms, failed });
    return exitCodes.failed;
  }
  try {
    const record = await records.read(name);
    if (record === undefined) return exitCodes.ok;
    teller.begins(`${titleOf(record)}, found ${record.state}`);
    const end = await new Mover({ world, records, record, tell: (event) => teller.event(event) }).recover(signal);
    tellEnd(record, end, begun, teller);
    return end.state === "forwarded" || end.state === "closing" ? exitCodes.failed : exitCodes.ok;
  } finally {
    await hold.release();
  }
}
