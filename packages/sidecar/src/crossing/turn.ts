/**
 * One command at a time on one side of a crossing. The same once more joins the one that runs; the opposite ends its waiting, so that an
 * undo is never kept up by what it undoes.
 */
import { MeshError } from "@dualmesh/base/errors";
import type { Place } from "@dualmesh/model/crossing";

interface Running {
  readonly to: Place;
  /** For whom. */
  readonly scope: string;
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

export class Turn {
  /** Those that are not over, in their order. */
  readonly #running = new Set<Running>();

  /** Runs `work` when those before it are over. Its signal is aborted with `crossing.overtaken`. */
  async take(to: Place, scope: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const before = [...this.#running].at(-1);
    if (before?.to === to && before.scope === scope) return before.done;
    for (const one of this.#running) if (one.to !== to) one.abort.abort(overtaken(to));
    const abort = new AbortController();
    const running = { to, scope, abort, done: follow(before?.done, () => work(abort.signal), abort.signal) };
    this.#running.add(running);
    try {
      await running.done;
    } finally {
      this.#running.delete(running);
    }
  }

  end(): void {
    for (const { abort } of this.#running) abort.abort(new MeshError("crossing.closed", "the crossing was closed"));
  }
}

async function follow(
  before: Promise<void> | undefined,
  work: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  await before?.catch(() => undefined); // told to the one who asked for it
  signal.throwIfAborted();
  await work();
}

function overtaken(to: Place): MeshError {
  return new MeshError("crossing.overtaken", `another command came meanwhile, to ${to}`, { to });
}
