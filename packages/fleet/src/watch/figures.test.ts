import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { binomialTail, upperRatio } from "./chance.ts";
import { Durations, Tally } from "./figures.ts";

describe("durations", () => {
  it("have quantiles that are never too small, and at most 5 % too large", () => {
    const durations = fc.array(fc.double({ min: 0, max: 500_000, noNaN: true }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(durations, fc.double({ min: 0.01, max: 1, noNaN: true }), (all, q) => {
        const histogram = new Durations();
        for (const ms of all) histogram.add(ms);
        const sorted = [...all].sort((one, other) => one - other);
        const exact = sorted[Math.max(1, Math.ceil(q * all.length)) - 1] as number;
        const read = histogram.quantile(q) as number;
        assert.ok(
          read >= exact * (1 - 1e-9) && read <= Math.max(0.01, exact * 1.05 * (1 + 1e-9)),
          `${read} for ${exact}`,
        );
      }),
      { numRuns: 1_000 },
    );
  });

  it("have none without calls, and an endless one when most have not ended", () => {
    const histogram = new Durations();
    assert.equal(histogram.quantile(0.5), undefined);
    histogram.add(1);
    histogram.add(Number.POSITIVE_INFINITY, 2);
    assert.equal(histogram.quantile(0.5), Number.POSITIVE_INFINITY);
    assert.equal(histogram.beyond(100), 2);
  });

  it("of calls that failed are not among them", () => {
    const tally = new Tally();
    tally.add(3, "ok");
    tally.add(30_000, "failed");
    tally.add(5, "raised");
    const { calls, failed, p50Ms, p99Ms } = tally.figures("dubbo/a::", "provided");
    assert.deepEqual([calls, failed], [3, 1]);
    assert.ok((p50Ms ?? 0) < 3.2 && (p99Ms ?? 0) < 5.3);
  });
});

describe("chance", () => {
  it("of a count is the sum of all that are as large", () => {
    for (const [total, ratio] of [
      [10, 0.3],
      [40, 0.01],
      [200, 0.5],
      [1_000, 0.002],
    ] as const) {
      // Each term from the one before; the sum of all is 1.
      const terms = [(1 - ratio) ** total];
      for (let count = 1; count <= total; count++)
        terms.push(((terms[count - 1] as number) * (total - count + 1) * ratio) / (count * (1 - ratio)));
      for (let count = Math.floor(total * ratio) + 1; count <= total; count++) {
        const exact = terms.slice(count).reduce((sum, term) => sum + term, 0);
        const tail = binomialTail(count, total, ratio);
        assert.ok(Math.abs(tail - exact) <= exact * 1e-6 + 1e-300, `${count} of ${total}: ${tail}, not ${exact}`);
      }
    }
  });

  it("is certain below what is expected, and 0 for what cannot be", () => {
    assert.equal(binomialTail(0, 10, 0.5), 1);
    assert.equal(binomialTail(4, 10, 0.5), 1);
    assert.equal(binomialTail(1, 10, 0), 0);
    assert.equal(binomialTail(10, 10, 1), 1);
    assert.ok(binomialTail(5_000, 1_000_000, 0.004) < 1e-50);
  });

  it("leaves a ratio open that few have shown", () => {
    assert.equal(upperRatio(0, 0, 4), 1);
    assert.ok(upperRatio(0, 10, 4) > 0.5);
    assert.ok(upperRatio(0, 10_000, 4) < 0.002);
    assert.ok(upperRatio(5_000, 10_000, 4) < 0.521);
  });
});
