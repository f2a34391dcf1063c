import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena } from "./arena.ts";
import { Interned } from "./interned.ts";
import { Members } from "./members.ts";

const words = { count: 0, slot: 1, table: 2 };

function open() {
  const arena = new Arena();
  const services = new Interned(arena, 3);
  const members = new Members(arena, services, words);
  const service = services.intern(Buffer.from("s"));
  return { arena, services, members, service };
}

test("law: members are found by hash and key while they are there, however many share a hash, and all room is given back", () => {
  const step = fc.record({
    key: fc.integer({ min: 1, max: 400 }),
    to: fc.constantFrom("add", "add", "remove", "replace"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 900 }), fc.constantFrom(1, 3, 1_000), (steps, hashes) => {
      const { arena, members, service, services } = open();
      // Stands beside, and must not notice.
      const other = services.intern(Buffer.from("other"));
      members.add(other, 0, 7);
      const before = arena.usedBytes;
      const model = new Map<number, number>();
      let next = 1_000;
      for (const { key, to } of steps) {
        const hash = (key * 2_654_435_761) % hashes;
        const known = model.get(key);
        if (known === undefined && to === "add") {
          members.add(service, hash, ++next);
          model.set(key, next);
        } else if (known !== undefined && to === "remove") {
          members.remove(service, hash, known);
          model.delete(key);
        } else if (known !== undefined && to === "replace") {
          members.replace(service, hash, known, ++next);
          model.set(key, next);
        }
      }
      for (let key = 1; key <= 400; key++) {
        const place = model.get(key) ?? 0;
        assert.equal(
          members.find(service, (key * 2_654_435_761) % hashes, (one) => one === place),
          place,
        );
      }
      assert.equal(members.count(service), model.size);
      assert.deepEqual([...members.places(service)].sort(), [...model.values()].sort());
      for (const [key, place] of model) members.remove(service, (key * 2_654_435_761) % hashes, place);
      assert.deepEqual([arena.usedBytes, members.tableBytes, [...members.places(service)]], [before, 0, []]);
      assert.deepEqual([...members.places(other)], [7]);
      services.release(service);
    }),
    { numRuns: 60 },
  );
});

test("a hundred thousand members of one service are found in a table, which shrinks with them", () => {
  const { members, service } = open();
  const hashOf = (index: number): number => Math.imul(index, 2_654_435_761) >>> 0;
  for (let index = 1; index <= 100_000; index++) members.add(service, hashOf(index), index);
  assert.ok(members.tableBytes <= 262_144 * 8);
  for (let index = 1; index <= 100_000; index++)
    assert.equal(
      members.find(service, hashOf(index), (one) => one === index),
      index,
    );
  for (let index = 1_001; index <= 100_000; index++) members.remove(service, hashOf(index), index);
  assert.equal(members.count(service), 1_000);
  assert.ok(members.tableBytes <= 16_384 * 8);
  for (let index = 1; index <= 1_000; index++)
    assert.equal(
      members.find(service, hashOf(index), (one) => one === index),
      index,
    );
});
