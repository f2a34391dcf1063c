/** `dualmesh move out`: takes a process out of the mesh, completes what was begun of it, or has its way in taken back that goes on. */
import { systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { Mover } from "@dualmesh/fleet/move/mover";
import type { MoveEnd } from "@dualmesh/fleet/move/one-move";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import type { MoveRecords } from "@dualmesh/fleet/move/world";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { findRecord } from "./find-records.ts";
import { type TakenHold, takeToLeave } from "./hold.ts";
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
  const found = await findRecord(named, records, privileged);
  const [begun, begunAt] = [systemClock.now(), systemClock.wall()];
  using interrupt = listenForInterrupts("not waited for", (text) => process.stderr.write(`${text}\n`));
  teller.begins(`${titleOf(found)} out of the mesh`);
  const note = (text: string): void => teller.event({ event: "note", text });
  const { signal } = interrupt;
  const { hold, waitedFor } = await takeToLeave({ records, name: found.name, note, signal });
  interrupt.become("completed");
  try {
    const record = await records.read(found.name);
    const end =
      record === undefined
        ? await endOf(found, waitedFor, records, begunAt)
        : await new Mover({ world, records, record, tell: (event) => teller.event(event) }).leave();
    const code = tellEnd(found, end, begun, teller);
    // Undone is what was asked for here.
    return end.state === "undone" || end.state === "gone" ? exitCodes.ok : code;
  } finally {
    await hold.release();
  }
}

/** Of a move that somebody else has ended, who was waited for. */
async function endOf(
  { name, state }: MoveRecord,
  waitedFor: TakenHold["waitedFor"],
  records: Pick<MoveRecords, "ending">,
  begunAt: number,
): Promise<MoveEnd> {
  const ending = await records.ending(name);
  if (ending !== undefined && ending.at >= begunAt) return { state: ending.state, failed: ending.failed };
  // The history is a help, and may miss one.
  const way = waitedFor ?? state;
  if (way === "leaving") return { state: "out", failed: "" };
  if (way === "entering" || way === "undoing") return { state: "undone", failed: "its mover took it back" };
  throw new MeshError("move.none", `the move ${name} has just been completed by somebody else`);
}
