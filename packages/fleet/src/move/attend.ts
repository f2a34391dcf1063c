/** Looks after the sidecar while a process is on its way in: one that is away for too long ends the way. */
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { awayMs, type OneMove } from "./one-move.ts";

const lookMs = 200;

export function attend(move: OneMove, stop: AbortController): Disposable {
  const { clock, log } = move.world;
  let away: number | undefined;
  let isLooking = false;
  const look = async (): Promise<void> => {
    // Before, the steps themselves say that it does not answer.
    if (!move.record.done.includes("crossing")) return;
    const asked = clock.now();
    if (await move.isBack(0)) {
      away = undefined;
      return;
    }
    away ??= asked;
    if (clock.now() - away < awayMs) return;
    const { state } = move.record.sidecar;
    stop.abort(new MeshError("move.sidecar-away", `the sidecar at ${state} does not answer since ${awayMs / 1_000} s`));
  };
  const timer = clock.every(lookMs, () => {
    if (isLooking) return;
    isLooking = true;
    look()
      .catch((error) => log.warn({ error: messageOf(error) }, "it cannot be seen whether the sidecar answers"))
      .finally(() => {
        isLooking = false;
      });
  });
  return { [Symbol.dispose]: () => timer.cancel() };
}
