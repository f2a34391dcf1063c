/**
 * Why this exists: calls are compared with calls of their own kind: one method of one service, called by one host at one place. Callers do
 * not go over to the mesh all at once, and one of them may call what takes a millisecond and another what takes a second; the median of
 * whatever happens to come first says nothing.
 *
 * A slow call is counted where it began, not where it ended: a second after the start of anything only fast calls have ended. Whether a call
 * takes longer than a threshold is known once that much time has passed since it began, answered or not, and only then is it asked.
 */
import { upperRatio } from "./chance.ts";
import { type Durations, Tally } from "./figures.ts";
import type { WatchBounds } from "./watching.ts";

/** What is judged are these quantiles: each may move by `addedMs`. */
export const judgedQuantiles: readonly number[] = [0.25, 0.5];

/** One piece of time, in which counts are kept together. */
export const slotMs = 250;
/** A minute is remembered. */
const slots = 240;
/** Calls that take longer than this are not judged by their duration. */
export const maxThresholdMs = 12_000;
/** How sure the share of slow calls before must be. */
const shareDeviations = 4;
/** How far the ratio of failures before may be from the true one. */
const failedDeviations = 3;

/** What a kind of calls was like before, as limits. */
export interface Baseline {
  /** The ratio of failures that is accepted. */
  readonly failedRatio: number;
  /** For each of `judgedQuantiles`; empty when nothing of the kind was called before. */
  readonly limits: readonly DurationLimit[];
}

export interface DurationLimit {
  readonly quantile: number;
  readonly beforeMs: number;
  /** The quantile before and `addedMs`. */
  readonly thresholdMs: number;
  /** The share of calls that may take longer than that. */
  readonly share: number;
}

export function baselineOf(kind: Tally | undefined, service: Tally | undefined, bounds: WatchBounds): Baseline {
  const { addedErrorRatio, addedMs } = bounds;
  const failedRatio = Math.max(failedBefore(kind), failedBefore(service)) + addedErrorRatio;
  return { failedRatio, limits: kind === undefined ? [] : limitsOf(kind.durations, addedMs) };
}

/** The ratio of failures before, at its worst; 0 when none failed. */
function failedBefore(tally: Tally | undefined): number {
  if (tally === undefined || tally.calls === 0) return 0;
  const ratio = tally.failed / tally.calls;
  return ratio + failedDeviations * Math.sqrt((ratio * (1 - ratio)) / tally.calls);
}

function limitsOf(durations: Durations, addedMs: number): readonly DurationLimit[] {
  return judgedQuantiles.flatMap((quantile) => {
    const beforeMs = durations.quantile(quantile);
    const thresholdMs = (beforeMs ?? Number.POSITIVE_INFINITY) + addedMs;
    if (beforeMs === undefined || thresholdMs > maxThresholdMs) return [];
    // Where fast and slow calls are about as many, the quantile is the one or the other by chance: what was seen beyond it counts.
    const seen = upperRatio(durations.beyond(thresholdMs), durations.count, shareDeviations);
    return [{ quantile, beforeMs, thresholdMs, share: Math.max(1 - quantile, seen) }];
  });
}

/** Sums over some time, to which every strand of a place adds its own. */
export interface Sums {
  calls: number;
  /** How many of them failed, or took longer than their threshold. */
  bad: number;
  /** How many may be bad, as the baselines have it. */
  expected: number;
}

/** Counters of a slot, one behind the other. */
const field = { began: 0, failed: 1, underWay: 2, within: 3 } as const;
const fields: number = field.within + judgedQuantiles.length;

export class Strand {
  readonly isDirect: boolean;
  readonly method: string;
  /** What was seen before the start; of direct calls only. */
  readonly before: Tally = new Tally();
  /** Calls that have begun and not ended. */
  underWay = 0;
  /** When the first was seen. */
  firstMs: number | undefined;
  #startedMs: number | undefined;
  #baseline: Baseline | undefined;
  #counts: Uint32Array | undefined;
  #newest = 0;
  #sinceBegan = 0;
  #sinceFailed = 0;

  constructor(isDirect: boolean, method: string) {
    this.isDirect = isDirect;
    this.method = method;
  }

  /** From now on calls are held against `baseline`. */
  start(nowMs: number, baseline: Baseline): void {
    this.#startedMs = nowMs;
    this.#baseline = baseline;
    this.#counts = new Uint32Array(slots * fields);
    this.#newest = Math.floor(nowMs / slotMs);
    this.#counts[(this.#newest % slots) * fields + field.underWay] = this.underWay;
    this.#sinceBegan = this.underWay;
  }

  began(atMs: number): void {
    this.firstMs ??= atMs;
    if (this.#startedMs !== undefined && atMs >= this.#startedMs) {
      this.#sinceBegan++;
      this.#add(atMs, field.began, 1);
    }
    this.underWay++;
  }

  ended(atMs: number, ms: number, isFailed: boolean): void {
    this.underWay--;
    if (this.#startedMs === undefined) return;
    if (isFailed) {
      this.#sinceFailed++;
      this.#add(atMs + ms, field.failed, 1);
    }
    if (atMs < this.#startedMs) return;
    const limits = this.#baseline?.limits ?? [];
    // What failed is judged as a failure; it counts as fast enough, however long it took.
    for (const [index, { thresholdMs }] of limits.entries())
      if (isFailed || ms <= thresholdMs) this.#add(atMs, field.within + index, 1);
  }

  forgotten(atMs: number): void {
    this.underWay--;
    if (this.#startedMs === undefined) return;
    this.#sinceBegan--;
    if (atMs >= this.#startedMs) this.#add(atMs, field.began, -1);
  }

  /** Adds failures among the calls of the last `windowMs`, or of all since the start without it, those included that were under way then. */
  addFailures(sums: Sums, nowMs: number, windowMs?: number): void {
    const baseline = this.#baseline;
    if (baseline === undefined) return;
    let calls = this.#sinceBegan;
    let failed = this.#sinceFailed;
    if (windowMs !== undefined) {
      const counts = this.#advance(nowMs);
      const last = Math.floor(nowMs / slotMs);
      const started = Math.floor((this.#startedMs as number) / slotMs);
      const first = Math.max(last - Math.ceil(windowMs / slotMs) + 1, this.#newest - slots + 1, started);
      calls = counts[(first % slots) * fields + field.underWay] as number;
      failed = 0;
      for (let slot = first; slot <= Math.min(last, this.#newest); slot++) {
        const at = (slot % slots) * fields;
        calls += counts[at + field.began] as number;
        failed += counts[at + field.failed] as number;
      }
    }
    sums.calls += calls;
    sums.bad += failed;
    sums.expected += calls * baseline.failedRatio;
  }

  /** Calls that began in the last `windowMs`; undefined when so much time has not passed since the start. */
  beganWithin(nowMs: number, windowMs: number): number | undefined {
    if (this.#startedMs === undefined || nowMs - this.#startedMs < windowMs) return undefined;
    const counts = this.#advance(nowMs);
    const last = Math.floor(nowMs / slotMs);
    let began = 0;
    for (let slot = Math.max(last - Math.ceil(windowMs / slotMs) + 1, this.#newest - slots + 1); slot <= last; slot++)
      began += counts[(slot % slots) * fields + field.began] as number;
    return began;
  }

  /** Adds the calls beyond the threshold of the quantile `index`, of those that began in the `windowMs` before it could be known. */
  addSlow(sums: Sums, nowMs: number, windowMs: number, index: number): void {
    const limit = this.#baseline?.limits[index];
    if (limit === undefined) return;
    const counts = this.#advance(nowMs);
    const last = Math.min(Math.floor((nowMs - limit.thresholdMs) / slotMs) - 1, this.#newest);
    const started = Math.floor((this.#startedMs as number) / slotMs);
    const first = Math.max(last - Math.ceil(windowMs / slotMs) + 1, this.#newest - slots + 1, started);
    let calls = 0;
    let within = 0;
    for (let slot = first; slot <= last; slot++) {
      const at = (slot % slots) * fields;
      calls += counts[at + field.began] as number;
      within += counts[at + field.within + index] as number;
    }
    sums.calls += calls;
    sums.bad += Math.max(0, calls - within);
    sums.expected += calls * limit.share;
  }

  #add(atMs: number, name: number, times: number): void {
    const slot = Math.floor(atMs / slotMs);
    const counts = this.#advance(atMs);
    if (slot <= this.#newest - slots) return;
    const at = (slot % slots) * fields + name;
    counts[at] = Math.max(0, (counts[at] as number) + times);
  }

  /** Empties the slots between the newest and that of `atMs`. */
  #advance(atMs: number): Uint32Array {
    const counts = this.#counts as Uint32Array;
    const slot = Math.floor(atMs / slotMs);
    if (slot <= this.#newest) return counts;
    for (let next = Math.max(this.#newest + 1, slot - slots + 1); next <= slot; next++) {
      const at = (next % slots) * fields;
      counts.fill(0, at, at + fields);
      counts[at + field.underWay] = this.underWay;
    }
    this.#newest = slot;
    return counts;
  }
}
