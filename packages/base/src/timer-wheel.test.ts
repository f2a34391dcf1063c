import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FakeClock } from "./clock.ts";
import { TimerWheel, type WheelEntry } from "./timer-wheel.ts";

class Entry implements WheelEntry {
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;
  wheelDue = 0;
  readonly atMs: number;
  constructor(atMs: number) {
    this.atMs = atMs;
  }
}

test("entries expire never early and at most one tick late, whatever their distance", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 60_000 }), { maxLength: 60 }), async (delays) => {
      const clock = new FakeClock();
      const seen = new Map<Entry, number>();
      const wheel = new TimerWheel<Entry>(clock, 16, (entry) => seen.set(entry, clock.now()));
      const entries = delays.map((delay) => new Entry(delay));
      for (const entry of entries) wheel.add(entry, entry.atMs);
      await clock.advance(61_000);
      wheel.close();
      assert.equal(wheel.size, 0);
      for (const entry of entries) {
        const at = seen.get(entry) as number;
        assert.ok(at >= entry.atMs && at <= entry.atMs + 32, `due ${entry.atMs}, expired ${at}`);
      }
    }),
    { numRuns: 10 },
  );
});

test("an entry that was taken out never expires, also when a neighbour's expiry takes it out", async () => {
  const clock = new FakeClock();
  const seen: number[] = [];
  const entries = [new Entry(100), new Entry(100), new Entry(100), new Entry(5_000)];
  const wheel = new TimerWheel<Entry>(clock, 10, (entry) => {
    seen.push(entries.indexOf(entry));
    if (entry === entries[0]) wheel.remove(entries[1] as Entry);
  });
  for (const entry of entries) wheel.add(entry, entry.atMs);
  wheel.remove(entries[3] as Entry);
  await clock.advance(10_000);
  assert.deepEqual(seen, [0, 2]);
  wheel.close();
});

test("after a long stop of the process everything due expires once", async () => {
  const clock = new FakeClock();
  let expired = 0;
  const wheel = new TimerWheel<Entry>(clock, 10, () => expired++);
  for (let index = 0; index < 3_000; index++) wheel.add(new Entry(index * 10), index * 10);
  await clock.advance(40_000);
  assert.equal(expired, 3_000);
  wheel.close();
});
