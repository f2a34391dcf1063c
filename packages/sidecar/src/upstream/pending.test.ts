import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PendingTable } from "./pending.ts";

interface Item {
  upstreamId: number;
}

test("ids wrap past 2^32, are never 0 and never one that is in flight", () => {
  const table = new PendingTable<Item>(1_000, 0xfffffff0);
  const stays: Item = { upstreamId: 0 };
  table.add(stays);
  const seen = new Set<number>();
  for (let round = 0; round < 500; round++) {
    const item: Item = { upstreamId: 0 };
    const id = table.add(item);
    assert.notEqual(id, 0);
    assert.notEqual(id, stays.upstreamId);
    seen.add(id);
    assert.equal(table.take(id), item);
  }
  assert.ok(seen.has(1));
  assert.equal(table.take(stays.upstreamId), stays);
});

test("a late, doubled or invented id finds nobody", () => {
  const table = new PendingTable<Item>(10);
  const item: Item = { upstreamId: 0 };
  const id = table.add(item);
  assert.equal(table.take(id + 64), undefined);
  assert.equal(table.take(id), item);
  assert.equal(table.take(id), undefined);
  assert.equal(table.size, 0);
});

test("whatever the order of adds and takes, every item is found exactly once by its id", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { maxLength: 600 }), fc.nat(), (steps, seed) => {
      const table = new PendingTable<Item>(10_000, 0xffffffff - (seed % 100));
      const live: Item[] = [];
      for (const step of steps) {
        if (step > 0 || live.length === 0) {
          const item: Item = { upstreamId: 0 };
          table.add(item);
          live.push(item);
        } else {
          const [item] = live.splice((seed + live.length) % live.length, 1) as [Item];
          assert.equal(table.take(item.upstreamId), item);
        }
        assert.equal(table.size, live.length);
      }
      assert.equal(new Set(live.map((item) => item.upstreamId)).size, live.length);
      assert.deepEqual(new Set(table.drain()), new Set(live));
    }),
  );
});
