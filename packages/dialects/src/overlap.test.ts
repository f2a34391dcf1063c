import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import fc from "fast-check";
import { Overlap, overlapMs } from "./overlap.ts";

function setUp() {
  const clock = new FakeClock();
  let changes = 0;
  const overlap = new Overlap<string>({ clock, addressOf: (value) => value, onChange: () => (changes += 1) });
  const set = (entries: Record<string, string>): void => overlap.set(new Map(Object.entries(entries)));
  return { clock, overlap, set, shown: () => [...overlap.shown()].sort(), changes: () => changes };
}

describe("overlap of addresses", () => {
  it("shows an old address beside the new one for six seconds", async () => {
    const { clock, set, shown, changes } = setUp();
    set({ one: "a" });
    set({ one: "b" });
    assert.deepEqual(shown(), ["a", "b"]);
    await clock.advance(overlapMs - 1);
    assert.deepEqual(shown(), ["a", "b"]);
    assert.equal(changes(), 0);
    await clock.advance(1);
    assert.deepEqual(shown(), ["b"]);
    assert.equal(changes(), 1);
  });

  it("takes a key out at once, with its former addresses", () => {
    const { set, shown } = setUp();
    set({ one: "a", two: "x" });
    set({ one: "b", two: "x" });
    set({ two: "x" });
    assert.deepEqual(shown(), ["x"]);
  });

  it("lets an address come back", async () => {
    const { clock, set, shown } = setUp();
    set({ one: "a" });
    set({ one: "b" });
    await clock.advance(1_000);
    set({ one: "a" });
    assert.deepEqual(shown(), ["a", "b"]);
    await clock.advance(overlapMs);
    assert.deepEqual(shown(), ["a"]);
  });

  it("shows no overlap for a key that left and came again elsewhere", () => {
    const { set, shown } = setUp();
    set({ one: "a" });
    set({});
    set({ one: "b" });
    assert.deepEqual(shown(), ["b"]);
  });

  it("shows every present value, and a former one never longer than its time and never of a key that is gone", async () => {
    const step = fc.record({
      wait: fc.integer({ min: 0, max: 4_000 }),
      set: fc.dictionary(fc.constantFrom("k1", "k2", "k3"), fc.constantFrom("a", "b", "c"), { noNullPrototype: true }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const clock = new FakeClock();
        const overlap = new Overlap<[string, string]>({
          clock,
          addressOf: ([, address]) => address,
          onChange: () => {},
        });
        let present: Record<string, string> = {};
        const leftAt = new Map<string, number>();
        for (const { wait, set } of steps) {
          await clock.advance(wait);
          for (const [key, address] of Object.entries(present)) {
            if (set[key] === undefined) for (const old of ["a", "b", "c"]) leftAt.delete(`${key} ${old}`);
            else if (set[key] !== address) leftAt.set(`${key} ${address}`, clock.now());
          }
          present = set;
          overlap.set(new Map(Object.entries(set).map(([key, address]) => [key, [key, address] as [string, string]])));
          const expected = new Set(Object.entries(present).map(([key, address]) => `${key} ${address}`));
          for (const [former, at] of leftAt) if (clock.now() - at < overlapMs) expected.add(former);
          assert.deepEqual(new Set(overlap.shown().map(([key, address]) => `${key} ${address}`)), expected);
        }
        overlap.close();
      }),
      { numRuns: 100 },
    );
  });
});
