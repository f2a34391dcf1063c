/**
 * Why this exists: the second witness, the sidecar itself. It counts every call that it carries, also where nothing can be captured; what it
 * could not carry is a failure whatever the packets say. Its counters grow for as long as it runs, so only differences count, and a counter
 * that has shrunk is that of a sidecar that was started anew.
 */
import type { CrossingFigures } from "@dualmesh/model/crossing";
import { areTooMany, failureText } from "./judge.ts";
import type { Sums } from "./strand.ts";
import type { Target } from "./targets.ts";
import type { WatchBounds, WatchFigures } from "./watching.ts";

/** Results that mean that the mesh did not do what it is for. */
const failures: readonly string[] = ["unavailable", "no-provider", "timeout", "overload", "unreadable", "denied"];
/** The application's own errors: exceptions too, so that they count only above what was seen before. */
const applicationError = "error";
/** The caller was gone. */
const cancelled = "cancelled";

/** What sidecars count where the name of the service says nothing to them. */
const unknownService = "unknown";

const chance = 1e-3;
const windowMs = 5_000;
/** Two a second, and then some. */
const maxPoints = 32;

interface Count {
  readonly calls: number;
  readonly failed: number;
  readonly errors: number;
  readonly boundsMs: readonly number[];
  readonly counts: readonly number[];
}

const nothing: Count = { calls: 0, failed: 0, errors: 0, boundsMs: [], counts: [] };

interface Point {
  readonly atMs: number;
  readonly counts: ReadonlyMap<string, Count>;
}

export class Witness {
  readonly #bounds: WatchBounds;
  #points: readonly Point[] = [];
  #first: Point | undefined;
  #start: Point | undefined;
  #hasStarted = false;

  constructor(bounds: WatchBounds) {
    this.#bounds = bounds;
  }

  /** Differences count from here on; from the next figures when there are none yet. */
  start(): void {
    this.#hasStarted = true;
    this.#start = this.#points.at(-1);
  }

  take(figures: readonly CrossingFigures[], atMs: number): void {
    const counts = new Map<string, Count>();
    for (const { direction, service, results, boundsMs, counts: byBound } of figures) {
      const key = `${direction}|${service}`;
      const sum = counts.get(key) ?? nothing;
      const of = (result: string): number => results[result] ?? 0;
      const all = Object.values(results).reduce((total, count) => total + count, 0);
      counts.set(key, {
        calls: sum.calls + all - of(cancelled),
        failed: sum.failed + failures.reduce((total, result) => total + of(result), 0),
        errors: sum.errors + of(applicationError),
        boundsMs,
        counts: byBound.map((count, index) => count + (sum.counts[index] ?? 0)),
      });
    }
    const point = { atMs, counts };
    this.#points = [...this.#points, point].slice(-maxPoints);
    this.#first ??= point;
    if (this.#hasStarted) this.#start ??= point;
  }

  /** Why what the sidecar counted must not go on; undefined when it may. */
  judge(target: Target): string | undefined {
    const start = this.#start;
    const last = this.#points.at(-1);
    if (start === undefined || last === undefined) return undefined;
    const recent = this.#points.findLast(({ atMs }) => atMs <= last.atMs - windowMs);
    for (const [since, span] of [[start, undefined] as const, [recent, windowMs] as const]) {
      if (since === undefined || since.atMs < start.atMs) continue;
      const why = this.#judgeSpan(target, since, last, span);
      if (why !== undefined) return `${target.service}, ${target.side}, as its sidecar counts: ${why}`;
    }
    return undefined;
  }

  #judgeSpan(target: Target, since: Point, last: Point, span: number | undefined): string | undefined {
    const { before } = target;
    const { calls, failed, errors } = difference(since, last, keyOf(target));
    const ratio = before.calls === 0 ? 0 : before.failed / before.calls;
    const sums: Sums = { calls, bad: failed, expected: calls * (ratio + this.#bounds.addedErrorRatio) };
    if (areTooMany(sums, this.#bounds, chance)) return failureText(sums, span, target);
    if (before.calls >= this.#bounds.minCalls) {
      const usual = (before.failed + before.raised) / before.calls;
      const spread = 3 * Math.sqrt((usual * (1 - usual)) / before.calls);
      const bad = failed + errors;
      const all: Sums = { calls, bad, expected: calls * (usual + spread + this.#bounds.addedErrorRatio) };
      if (areTooMany(all, this.#bounds, chance))
        return `${bad} of ${calls} calls failed or were answered with an error; before, ${before.failed + before.raised} of ${before.calls}`;
    }
    return this.#judgeUnknown(target, since, last);
  }

  /** Calls whose service the sidecar does not know: those that it should know are among them. */
  #judgeUnknown(target: Target, since: Point, last: Point): string | undefined {
    const key = `${directionOf(target)}|${unknownService}`;
    const ours = keyOf(target);
    const { failed } = difference(since, last, key);
    if (failed === 0 || this.#first === undefined || this.#start === undefined) return undefined;
    const calls = failed + difference(since, last, ours).calls;
    // What other applications of this host did wrong before is theirs.
    const usual = difference(this.#first, this.#start, key).failed;
    const usualCalls = usual + difference(this.#first, this.#start, ours).calls;
    const ratio = usualCalls === 0 ? 0 : usual / usualCalls;
    const sums: Sums = { calls, bad: failed, expected: calls * Math.min(1, ratio + this.#bounds.addedErrorRatio) };
    if (!areTooMany(sums, this.#bounds, chance)) return undefined;
    return `${failed} calls named a service that it does not know`;
  }

  /** What it counted of a service since the start, with the upper bounds of its own classes for the durations. */
  figures(target: Target): WatchFigures {
    const last = this.#points.at(-1);
    const { calls, failed, boundsMs, counts } =
      this.#start === undefined || last === undefined ? nothing : difference(this.#start, last, keyOf(target));
    const quantile = (q: number): number | undefined => {
      const rank = Math.max(1, Math.ceil(q * counts.reduce((sum, count) => sum + count, 0)));
      let seen = 0;
      for (const [index, count] of counts.entries()) {
        seen += count;
        if (seen >= rank) return boundsMs[index] ?? Number.POSITIVE_INFINITY;
      }
      return undefined;
    };
    return { service: target.service, side: target.side, calls, failed, p50Ms: quantile(0.5), p99Ms: quantile(0.99) };
  }
}

function directionOf({ side }: Target): CrossingFigures["direction"] {
  return side === "provided" ? "inbound" : "outbound";
}

function keyOf(target: Target): string {
  return `${directionOf(target)}|${target.service}`;
}

function difference(since: Point, last: Point, key: string): Count {
  const to = last.counts.get(key) ?? nothing;
  const known = since.counts.get(key) ?? nothing;
  const from = known.calls > to.calls ? nothing : known;
  return {
    calls: to.calls - from.calls,
    failed: to.failed - from.failed,
    errors: to.errors - from.errors,
    boundsMs: to.boundsMs,
    counts: to.counts.map((count, index) => count - (from.counts[index] ?? 0)),
  };
}
