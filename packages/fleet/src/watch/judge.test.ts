import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Random, seededRandom } from "@dualmesh/base/random";
import { judge } from "./judge.ts";
import { slotMs } from "./strand.ts";
import { type Followed, type Target, Targets } from "./targets.ts";
import { defaultWatchBounds, type WatchBounds } from "./watching.ts";

const seed = Number(process.env["SEED"] ?? 1);
const direct = { host: "10.0.0.5", port: 20_880 };
const published = { host: "10.0.0.5", port: 20_881 };

/** One kind of calls: how often, and how long they take and whether they fail, which may depend on the time since the start. */
interface Traffic {
  readonly method?: string;
  readonly client?: string;
  readonly perSecond: (sinceMs: number) => number;
  readonly ms: (random: Random, sinceMs: number) => number;
  readonly failed?: (random: Random, sinceMs: number) => boolean;
  readonly isDirect?: (sinceMs: number) => boolean;
}

interface SpanOptions {
  readonly traffic: readonly Traffic[];
  readonly beforeMs?: number;
  readonly sinceMs?: number;
  readonly bounds?: WatchBounds;
}

/** Runs one span before and one since the start. How long it took until the calls were judged worse, and why; undefined when never. */
function runSpan(
  random: Random,
  { traffic, beforeMs = 10_000, sinceMs = 8_000, bounds = defaultWatchBounds }: SpanOptions,
): { readonly afterMs: number; readonly why: string } | undefined {
  const targets = new Targets({
    host: undefined,
    figures: async () => [],
    provided: [{ service: "dubbo/fx.Greeter::", protocol: "dubbo", direct, published }],
    consumed: [],
    bounds,
  });
  const [target] = targets.all as [Target];
  const startMs = 1_700_000_000_000;
  const ends = new Map<number, { of: readonly Followed[]; atMs: number; ms: number; failed: boolean }[]>();
  const places = traffic.map((): { direct?: readonly Followed[]; mesh?: readonly Followed[] } => ({}));
  for (let fromMs = -beforeMs; fromMs < sinceMs; fromMs += slotMs) {
    if (fromMs === 0) targets.start(startMs);
    for (const [index, { method = "go", client = "10.0.0.9", perSecond, ms, failed, isDirect }] of traffic.entries()) {
      const place = places[index] as (typeof places)[number];
      const begins = poisson(random, (perSecond(fromMs) * slotMs) / 1_000);
      for (let count = 0; count < begins; count++) {
        const atMs = startMs + fromMs + random.next() * slotMs;
        const sinceStart = atMs - startMs;
        const goesDirect = fromMs < 0 || (isDirect?.(sinceStart) ?? false);
        const known = goesDirect ? place.direct : place.mesh;
        const connection = { end: goesDirect ? direct : published, client, openedMs: undefined };
        const of = known ?? (targets.find(connection, "fx.Greeter:", method) as readonly Followed[]);
        if (goesDirect) place.direct = of;
        else place.mesh = of;
        targets.began(of, atMs);
        const call = { of, atMs, ms: ms(random, sinceStart), failed: failed?.(random, sinceStart) ?? false };
        const slot = Math.floor((sinceStart + call.ms) / slotMs);
        const at = ends.get(slot) ?? [];
        ends.set(slot, at);
        at.push(call);
      }
    }
    const slot = Math.floor(fromMs / slotMs);
    for (const { of, atMs, ms, failed } of ends.get(slot) ?? []) targets.ended(of, atMs, ms, failed ? "failed" : "ok");
    ends.delete(slot);
    if (fromMs < 0) continue;
    const why = judge(target, startMs + fromMs + slotMs, bounds);
    if (why !== undefined) return { afterMs: fromMs + slotMs, why };
  }
  return undefined;
}

function poisson(random: Random, mean: number): number {
  const least = Math.exp(-mean);
  let count = 0;
  for (let product = random.next(); product > least; product *= random.next()) count++;
  return count;
}

/** Noise as calls have it: a long tail to one side. */
function noisy(random: Random, ms: number, spread = 0.4): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
  return ms * Math.exp(spread * normal);
}

/** One of several durations, each with its share. */
function mixOf(...parts: readonly (readonly [number, number])[]): (random: Random) => number {
  return (random) => {
    let left = random.next();
    for (const [share, ms] of parts) {
      left -= share;
      if (left <= 0) return noisy(random, ms);
    }
    return noisy(random, (parts.at(-1) as readonly [number, number])[1]);
  };
}

const steady = (perSecond: number) => (): number => perSecond;

const mixes: Readonly<Record<string, (random: Random) => number>> = {
  "1 ms": mixOf([1, 1]),
  "40 % 1 ms, 60 % 400 ms": mixOf([0.4, 1], [0.6, 400]),
  "half 1 ms, half 400 ms": mixOf([0.5, 1], [0.5, 400]),
  "three quarters 1 ms, one quarter 1500 ms": mixOf([0.75, 1], [0.25, 1_500]),
  "a quarter 1 ms, three quarters 400 ms": mixOf([0.25, 1], [0.75, 400]),
  "1 ms, 400 ms and 1500 ms alike": mixOf([1 / 3, 1], [1 / 3, 400], [1 / 3, 1_500]),
  "1500 ms, within 5 %": (random) => noisy(random, 1_500, 0.05),
  "20 to 200 ms": (random) => 20 + 180 * random.next(),
};

function medianOf(values: readonly number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)] as number;
}

describe("calls that are judged", () => {
  it("are never found worse in 10,000 spans in which nothing changed", (context) => {
    const spans = 10_000;
    // Always the same spans: a service that fails one call in a hundred, by luck none of them before and many after, is found worse in about
    // one span in 100,000, which no judge of so few calls can tell from a fault.
    const random = seededRandom(1);
    const alarms: string[] = [];
    const names = Object.keys(mixes);
    for (let span = 0; span < spans; span++) {
      const name = names[span % names.length] as string;
      // Now and then some calls fail, before as after.
      const ratio = [0, 0, 0.002, 0.01, 0.05][span % 5] as number;
      const ms = mixes[name] as (random: Random) => number;
      const found = runSpan(random, {
        sinceMs: 6_000,
        traffic: [{ perSecond: steady(50), ms, failed: (chance) => chance.next() < ratio }],
      });
      if (found !== undefined) alarms.push(`${name}, ${ratio} fail: ${found.why}`);
    }
    context.diagnostic(`${spans} spans, ${alarms.length} alarms`);
    assert.deepEqual(alarms, []);
  });

  it("are not found worse when the rate rises or falls, or callers come over one after the other", () => {
    const random = seededRandom(seed + 1);
    for (let span = 0; span < 400; span++) {
      for (const ms of Object.values(mixes).slice(2, 6)) {
        const ramps: readonly ((sinceMs: number) => number)[] = [
          (sinceMs) => (sinceMs < 0 ? 50 : Math.max(2, 50 - sinceMs / 100)),
          (sinceMs) => (sinceMs < 0 ? 20 : 20 + sinceMs / 100),
          (sinceMs) => (sinceMs < 3_000 ? 50 : 5),
        ];
        const found = runSpan(random, { traffic: [{ perSecond: ramps[span % 3] as (at: number) => number, ms }] });
        assert.equal(found?.why, undefined);
      }
      // One calls what is fast and one what is slow, and the slow one comes over 4 s earlier.
      const found = runSpan(random, {
        traffic: [
          { client: "10.0.0.7", perSecond: steady(40), ms: mixOf([1, 1]), isDirect: (at) => at < 5_000 },
          { client: "10.0.0.8", perSecond: steady(20), ms: mixOf([1, 800]), isDirect: (at) => at < 1_000 },
        ],
      });
      assert.equal(found?.why, undefined);
    }
  });

  it("are found worse when nobody makes any where there were many, and not where there were few", () => {
    const random = seededRandom(seed + 5);
    const until = (perSecond: number, endMs: number) => (sinceMs: number) => (sinceMs < endMs ? perSecond : 0);
    const ms = mixOf([1, 1]);
    for (let span = 0; span < 50; span++) {
      const traffic = [{ perSecond: until(50, 2_000), ms }];
      const found = runSpan(random, { sinceMs: 20_000, traffic });
      assert.match(
        found?.why ?? "",
        /nobody has called it for 6 s, where \d+ calls were to be expected: can others reach/,
      );
      assert.ok((found?.afterMs ?? 0) >= 7_500 && (found?.afterMs ?? 0) <= 8_500, `${found?.afterMs}`);
      const seldom = runSpan(random, { sinceMs: 60_000, traffic: [{ perSecond: until(4, 2_000), ms }] });
      assert.match(seldom?.why ?? "", /for (6|15|45) s/);
      assert.equal(runSpan(random, { sinceMs: 20_000, traffic: [{ perSecond: until(0.1, 0), ms }] }), undefined);
      // Who is still called where it was before is not out of reach.
      const both = [
        { client: "10.0.0.7", perSecond: steady(5), ms, isDirect: () => true },
        { client: "10.0.0.8", perSecond: until(50, 0), ms },
      ];
      assert.equal(runSpan(random, { sinceMs: 20_000, traffic: both }), undefined);
    }
  });

  it("are found worse within 3 s when each takes 200 ms longer, whatever the mix", (context) => {
    const random = seededRandom(seed + 2);
    for (const [name, ms] of Object.entries(mixes)) {
      const found = Array.from({ length: 100 }, () =>
        runSpan(random, {
          traffic: [{ perSecond: steady(50), ms: (chance, sinceMs) => ms(chance) + (sinceMs >= 0 ? 200 : 0) }],
        }),
      );
      const times = found.map((one) => one?.afterMs ?? Number.POSITIVE_INFINITY);
      const worst = Math.max(...times);
      context.diagnostic(`+200 ms on ${name}: median ${medianOf(times)} ms, worst ${worst} ms`);
      assert.ok(medianOf(times) < 3_000, `${name}: ${medianOf(times)} ms`);
    }
  });

  it("are found worse when they get slow long after the start", (context) => {
    const random = seededRandom(seed + 3);
    for (const [name, ms] of Object.entries(mixes)) {
      const times = Array.from({ length: 60 }, () => {
        const found = runSpan(random, {
          sinceMs: 40_000,
          traffic: [{ perSecond: steady(50), ms: (chance, sinceMs) => ms(chance) + (sinceMs >= 25_000 ? 200 : 0) }],
        });
        return (found?.afterMs ?? Number.POSITIVE_INFINITY) - 25_000;
      });
      context.diagnostic(`+200 ms on ${name} after 25 s: median ${medianOf(times)} ms, worst ${Math.max(...times)} ms`);
      // What takes 1500 ms is not known to take longer before that.
      assert.ok(medianOf(times) <= 3_500, `${name}: ${medianOf(times)} ms`);
      assert.ok(Math.min(...times) > 0, "not before");
    }
  });

  it("are found worse within 3 s when one in twenty fails at once, and when it fails as late as it would have answered not much later", (context) => {
    const random = seededRandom(seed + 4);
    const fails = (chance: Random, sinceMs: number): boolean => sinceMs >= 0 && chance.next() < 0.05;
    for (const [name, ms] of Object.entries(mixes)) {
      const timesOf = (traffic: Traffic): readonly number[] =>
        Array.from({ length: 600 }, () => {
          const found = runSpan(random, { sinceMs: 30_000, traffic: [traffic] });
          return found?.afterMs ?? Number.POSITIVE_INFINITY;
        });
      // What is refused is refused in a millisecond: the draw that makes it short makes it fail.
      let isRefused = false;
      const atOnce = timesOf({
        perSecond: steady(50),
        ms: (chance, sinceMs) => {
          isRefused = fails(chance, sinceMs);
          return isRefused ? 1 : ms(chance);
        },
        failed: () => isRefused,
      });
      const late = timesOf({ perSecond: steady(50), ms, failed: fails });
      context.diagnostic(
        `5 % of ${name}: median ${medianOf(atOnce)} ms, worst ${Math.max(...atOnce)} ms; failing late, ${medianOf(late)} ms`,
      );
      assert.ok(medianOf(atOnce) <= 3_000, `${name}: ${medianOf(atOnce)} ms`);
      assert.ok(medianOf(late) < 6_000, `${name}: ${medianOf(late)} ms`);
    }
  });
});
