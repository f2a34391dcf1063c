import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom, systemRandom } from "./random.ts";

test("the system's bytes are as many as asked for, and no two calls give the same", () => {
  for (const size of [0, 1, 32, 100_000]) assert.equal(systemRandom.bytes(size).length, size);
  const seen = new Set(Array.from({ length: 1_000 }, () => systemRandom.bytes(16).toString("hex")));
  assert.equal(seen.size, 1_000);
  const ones = systemRandom.bytes(10_000).reduce((sum, byte) => sum + (byte & 1), 0);
  assert.ok(ones > 4_000 && ones < 6_000, `${ones} of 10,000 bytes are odd`);
});

test("a seed repeats its numbers and bytes", () => {
  const [one, two] = [seededRandom(7), seededRandom(7)];
  assert.deepEqual([one.next(), one.bytes(8)], [two.next(), two.bytes(8)]);
});
