/**
 * When calls have become worse. Every figure is held against chance, so that few calls are enough where they are clear and many are needed
 * where they are not.
 *
 * - **Failures**: more of the calls failed than the ratio before and `addedErrorRatio`, so many that chance would bring it about less
 *   often than once in a thousand (in ten thousand within the last seconds, which are looked at again and again). Where calls failed
 *   before, the ratio before is taken at its worst; where none did it counts as 0, or a short look before would hide a real fault. 30 calls
 *   (`minCalls`) are needed, or 5 failures.
 * - **Duration**: of the calls that were begun in the last seconds more are beyond a quantile of before and `addedMs` than may be: half
 *   of them beyond the median, or three quarters beyond the first quartile, which tells where the median lies in a gap between fast
 *   and slow calls. Less often than once in a million by chance.
 * - **Silence**: what was called before is not called by anybody any more, wherever it is called, where `leastMissing` calls were to be
 *   expected. Whoever cannot reach a new address makes no call that could fail.
 */
import { binomialTail } from "./chance.ts";
import { judgedQuantiles, type Strand, type Sums } from "./strand.ts";
import type { Target } from "./targets.ts";
import type { WatchBounds } from "./watching.ts";

/** The last seconds that are looked at, beside all since the start. Short ones see a change soon, long ones where few call. */
const windowsMs: readonly number[] = [1_500, 5_000, 15_000, 45_000];
/** How long nobody may call what was called all the time. */
const silentMs: readonly number[] = [6_000, 15_000, 45_000];

export const leastFailures = 5;
/** Calls that were to be expected, and did not come: by chance less often than once in a million million. */
const leastMissing = 30;
const chanceSinceStart = 1e-3;
const chanceInWindow = 1e-4;
const chanceOfSlow = 1e-6;

/** Why the calls of this service are worse than before, for people; undefined when they are not known to be. */
export function judge(target: Target, nowMs: number, bounds: WatchBounds): string | undefined {
  for (const strands of [target.mesh, target.direct]) {
    const why = judgeFailures(target, strands, nowMs, bounds) ?? judgeDurations(target, strands, nowMs, bounds);
    if (why !== undefined) return `${target.service}, ${target.side}: ${why}`;
  }
  const silence = judgeSilence(target, nowMs);
  return silence === undefined ? undefined : `${target.service}, ${target.side}: ${silence}`;
}

/** What an application itself calls may be over by itself; those who call it are many, or call all the time. */
function judgeSilence(target: Target, nowMs: number): string | undefined {
  if (target.side !== "provided") return undefined;
  const rate = target.rateBefore;
  const windowMs = silentMs.find((ms) => (rate * ms) / 1_000 >= leastMissing);
  if (windowMs === undefined) return undefined;
  const began = [...target.direct, ...target.mesh].map((strand) => strand.beganWithin(nowMs, windowMs));
  // A strand that is younger than that has been called since.
  if (began.length === 0 || began.some((count) => count !== 0)) return undefined;
  return (
    `nobody has called it for ${windowMs / 1_000} s, where ${Math.round((rate * windowMs) / 1_000)} calls were to be expected: ` +
    "can others reach the port at which it is published (a firewall, a security group)?"
  );
}

/** Whether so many failures are beyond what may be. */
export function areTooMany({ calls, bad, expected }: Sums, { minCalls }: WatchBounds, chance: number): boolean {
  if (calls < minCalls && bad < leastFailures) return false;
  const total = Math.max(calls, bad);
  return binomialTail(bad, total, expected / Math.max(1, calls)) < chance;
}

function judgeFailures(
  target: Target,
  strands: readonly Strand[],
  nowMs: number,
  bounds: WatchBounds,
): string | undefined {
  for (const windowMs of [undefined, ...windowsMs]) {
    const sums: Sums = { calls: 0, bad: 0, expected: 0 };
    for (const strand of strands) strand.addFailures(sums, nowMs, windowMs);
    if (!areTooMany(sums, bounds, windowMs === undefined ? chanceSinceStart : chanceInWindow)) continue;
    return failureText(sums, windowMs, target);
  }
  return undefined;
}

/** What is said of failures. */
export function failureText(sums: Sums, windowMs: number | undefined, { before }: Target): string {
  const when = windowMs === undefined ? "since the move began" : `in the last ${windowMs / 1_000} s`;
  return `${sums.bad} of ${sums.calls} calls failed ${when}; before, ${before.failed} of ${before.calls}`;
}

function judgeDurations(
  target: Target,
  strands: readonly Strand[],
  nowMs: number,
  bounds: WatchBounds,
): string | undefined {
  for (const [index, quantile] of judgedQuantiles.entries())
    for (const windowMs of windowsMs) {
      const sums: Sums = { calls: 0, bad: 0, expected: 0 };
      for (const strand of strands) strand.addSlow(sums, nowMs, windowMs, index);
      const { calls, bad, expected } = sums;
      if (calls < bounds.minCalls || binomialTail(bad, calls, expected / calls) >= chanceOfSlow) continue;
      const usual = quantile === 0.5 ? "the median" : "the first quartile";
      const { before, since } = target;
      return (
        `of ${calls} calls in ${windowMs / 1_000} s, ${bad} took ${bounds.addedMs} ms longer than ${usual} of their kind before, or wait for ` +
        `their answers; the median of all was ${msText(before.durations.quantile(0.5))} before and is ${msText(since.durations.quantile(0.5))}`
      );
    }
  return undefined;
}

function msText(ms: number | undefined): string {
  return ms === undefined ? "unknown" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
