/** Looks after the sidecar while a process is on its way. */
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import { goneError, type OneMove } from "./one-move.ts";

const lookMs = 200;

export interface Attending {
  /** Resolves when nothing more comes of it. */
  end(): Promise<void>;
}

/** On the way in: one that is away for too long ends the way, and so does the end of the process. */
export function attendIn(move: OneMove, stop: AbortController): Attending {
  return attend(move, whetherItAnswers, async () => {
    if (!(await move.world.lives(move.record.process))) return stop.abort(goneError(move.record));
    // Before, the steps themselves say that it does not answer.
    if (!move.record.done.includes("crossing")) return;
    if ((await move.isBack(0)) || move.awayMs < move.patienceMs) return;
    const { state } = move.record.sidecar;
    stop.abort(
      new MeshError("move.sidecar-away", `the sidecar at ${state} does not answer since ${move.patienceMs / 1_000} s`),
    );
  });
}

/** On the way in: who wants it out meanwhile ends the way. */
export function attendWord(move: OneMove, stop: AbortController): Attending {
  return attend(move, "whether somebody wants it out", async () => {
    if (await move.isToldToUndo()) stop.abort(new MeshError("move.told-to-undo", "dualmesh move out was asked for"));
  });
}

/** On the way out, when no list names it any more: `replace` is done when it is away, for callers that have not heard of that. */
export function attendOut(move: OneMove, replace: () => Promise<void>): Attending {
  let isReplaced = false;
  return attend(move, whetherItAnswers, async () => {
    if (isReplaced || (await move.isBack(0))) return;
    await replace();
    isReplaced = true;
  });
}

const whetherItAnswers = "whether the sidecar answers";

function attend({ world: { clock, log }, record }: OneMove, what: string, look: () => Promise<void>): Attending {
  // Whoever holds the privileges may be gone for good, and this looks five times a second.
  const told = new ThrottledLog({ log, clock });
  let looking: Promise<void> | undefined;
  const timer = clock.every(lookMs, () => {
    looking ??= look()
      .catch((error) => {
        told.warn("", { move: record.name, error: messageOf(error) }, `it cannot be seen ${what}`);
      })
      .finally(() => {
        looking = undefined;
      });
  });
  return {
    async end() {
      timer.cancel();
      await looking;
    },
  };
}
