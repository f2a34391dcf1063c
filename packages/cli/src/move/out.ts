/** `dualmesh move out`: takes a process out of the mesh, or completes what was begun of it. */
import { systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { Mover } from "@dualmesh/fleet/move/mover";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { findRecord } from "./find-records.ts";
import { takeHold } from "./hold.ts";
import { tellEnd } from "./in.ts";
import { listenForInterrupts } from "./interrupt.ts";
import { movesPath, openSetting, ownerOfMoves } from "./privileges.ts";
import { openTeller, titleOf } from "./tell.ts";
import { readName } from "./wish.ts";

export async function runOut(flags: FlagValues): Promise<number> {
  const named = readName(flags);
  const moves = movesPath(flags);
  const user = ownerOfMoves(moves);
  const teller = openTeller(flags.has("json"), (text) => process.stdout.write(text));
  await using setting = await openSetting({ moves, user, sudo: flags.has("sudo"), logLevel: "error" });
  const { records, world, privileged } = setting;
  const { name } = await findRecord(named, records, privileged);
  const begun = systemClock.now();
  using _interrupt = listenForInterrupts("completed", (text) => process.stderr.write(`${text}\n`));
  const hold = await takeHold(records, name);
  try {
    const record = await records.read(name);
    if (record === undefined)
      throw new MeshError("move.none", `the move ${name} has just been completed by somebody else`);
    teller.begins(`${titleOf(record)} out of the mesh`);
    const end = await new Mover({ world, records, record, tell: (event) => teller.event(event) }).leave();
    const code = tellEnd(record, end, begun, teller);
    // Undone is what was asked for here.
    return end.state === "undone" || end.state === "gone" ? exitCodes.ok : code;
  } finally {
    await hold.release();
  }
}
