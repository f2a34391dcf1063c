/** Takes a move for oneself, which the guard may be mending right now. */
import { sleep, systemClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import type { Hold, MoveRecords } from "@dualmesh/fleet/move/world";

const patienceMs = 30_000;
const againMs = 200;

/** Rejects with `move.busy` when somebody else is at it for long. */
export async function takeHold(records: Pick<MoveRecords, "take">, name: string): Promise<Hold> {
  const end = systemClock.now() + patienceMs;
  for (;;) {
    try {
      return await records.take(name);
    } catch (error) {
      if (!isMeshError(error, "move.busy") || systemClock.now() >= end) throw error;
      await sleep(systemClock, againMs);
    }
  }
}
