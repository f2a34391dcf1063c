import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { median, rounded, slope } from "./statistics.ts";

test("the median is the middle value, or the mean of the middle two", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(median([]), undefined);
});

test("the slope of points on a line is the line's", () => {
  const small = fc.integer({ min: -1_000, max: 1_000 });
  fc.assert(
    fc.property(small, small, fc.uniqueArray(small, { minLength: 2, maxLength: 20 }), (rise, start, xs) => {
      const found = slope(xs.map((x) => ({ x, y: start + rise * x })));
      assert.ok(found !== undefined && Math.abs(found - rise) < 1e-6);
    }),
  );
  assert.equal(slope([{ x: 1, y: 1 }]), undefined);
});

test("what cannot be had is null", () => {
  assert.equal(rounded(undefined, 1), null);
  assert.equal(rounded(Number.NaN, 1), null);
  assert.equal(rounded(1.26, 1), 1.3);
});
