/**
 * Why this exists: how long calls took, in a memory that does not grow with them: a histogram whose bounds grow by 5 %, from 10
 * microseconds to ten minutes. A quantile read from it is the upper bound of its class: never less than the true one, and at most
 * 5 % more (or 10 microseconds).
 */
import type { WatchFigures } from "./watching.ts";

const smallestMs = 0.01;
const growth = 1.05;
const largestMs = 600_000;
const logGrowth: number = Math.log(growth);
const classes: number = Math.ceil(Math.log(largestMs / smallestMs) / logGrowth) + 2;

/** The upper bound of each class; the last has none. */
const upperMs: Float64Array = Float64Array.from({ length: classes }, (_, index) =>
  index === classes - 1 ? Number.POSITIVE_INFINITY : smallestMs * growth ** index,
);

export class Durations {
  readonly #counts = new Uint32Array(classes);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** `times` calls that took `ms`; Infinity for those that had not ended. */
  add(ms: number, times = 1): void {
    const index = classOf(ms);
    this.#counts[index] = (this.#counts[index] as number) + times;
    this.#count += times;
  }

  /** Adds all of `other`. */
  merge(other: Durations): void {
    for (let index = 0; index < classes; index++)
      this.#counts[index] = (this.#counts[index] as number) + (other.#counts[index] as number);
    this.#count += other.#count;
  }

  /** What a share `q` of the calls did not exceed; undefined without calls, Infinity when those had not ended. */
  quantile(q: number): number | undefined {
    if (this.#count === 0) return undefined;
    const rank = Math.max(1, Math.ceil(q * this.#count));
    let seen = 0;
    for (let index = 0; index < classes; index++) {
      seen += this.#counts[index] as number;
      if (seen >= rank) return upperMs[index];
    }
    return undefined;
  }

  /** How many calls took longer than `ms`, those in the class of `ms` included. */
  beyond(ms: number): number {
    let count = 0;
    for (let index = classOf(ms); index < classes; index++) count += this.#counts[index] as number;
    return count;
  }
}

function classOf(ms: number): number {
  if (ms <= smallestMs) return 0;
  if (ms >= largestMs) return classes - 1;
  const index = Math.ceil(Math.log(ms / smallestMs) / logGrowth);
  // The logarithm of a bound itself may fall to either side of it.
  return ms <= (upperMs[index - 1] as number) ? index - 1 : ms > (upperMs[index] as number) ? index + 1 : index;
}

/** Calls that ended, and how. */
export class Tally {
  readonly durations: Durations = new Durations();
  calls = 0;
  failed = 0;
  /** Answered with an exception of the application; not failed. */
  raised = 0;

  add(ms: number, outcome: "ok" | "raised" | "failed"): void {
    this.calls++;
    if (outcome === "failed") this.failed++;
    else if (outcome === "raised") this.raised++;
    // A call that failed at once or never says nothing of how long calls take.
    if (outcome !== "failed") this.durations.add(ms);
  }

  merge(other: Tally): void {
    this.durations.merge(other.durations);
    this.calls += other.calls;
    this.failed += other.failed;
    this.raised += other.raised;
  }

  figures(service: string, side: "provided" | "consumed"): WatchFigures {
    const { calls, failed, durations } = this;
    return { service, side, calls, failed, p50Ms: durations.quantile(0.5), p99Ms: durations.quantile(0.99) };
  }
}
