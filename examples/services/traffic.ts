/** Counts the calls that a provider serves, so that it can leave in order: it closes only once no caller uses it any more. */
import { setTimeout as wait } from "node:timers/promises";

/** How long no call must have come. Callers learn within milliseconds that an instance was withdrawn; this is that, many times over. */
const quietMs = 1000;
/** Then it closes whatever still comes. */
const longestMs = 7000;

export class Traffic {
  #serving = 0;
  #lastAt = 0;

  async serve<T>(work: () => Promise<T>): Promise<T> {
    this.#serving += 1;
    this.#lastAt = performance.now();
    try {
      return await work();
    } finally {
      this.#serving -= 1;
    }
  }

  /** Resolves when nothing is being served and no call has come for a while. Called when the provider has withdrawn. */
  async quiet(): Promise<void> {
    const begin = performance.now();
    while (performance.now() - begin < longestMs) {
      const since = Math.max(this.#lastAt, begin);
      if (this.#serving === 0 && performance.now() - since >= quietMs) return;
      await wait(50);
    }
  }
}
