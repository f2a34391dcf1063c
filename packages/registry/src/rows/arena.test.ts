import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, maxSlotBytes, type Place } from "./arena.ts";

test("law: slots do not overlap, keep what was written, and all memory that is used is accounted for", () => {
  const step = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        size: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: maxSlotBytes })),
      }),
    },
    { weight: 2, arbitrary: fc.record({ free: fc.nat() }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const arena = new Arena();
      const live: { readonly place: Place; readonly size: number; readonly mark: number }[] = [];
      let mark = 0;
      for (const one of steps) {
        if ("size" in one) {
          const place = arena.allocate(one.size);
          assert.ok(arena.sizeOf(place) >= one.size);
          assert.ok(!live.some((other) => other.place === place));
          mark = (mark + 1) % 251;
          arena.bufferOf(place).fill(mark, arena.offsetOf(place), arena.offsetOf(place) + arena.sizeOf(place));
          live.push({ place, size: one.size, mark });
        } else if (live.length > 0) {
          const [gone] = live.splice(one.free % live.length, 1);
          arena.free((gone as (typeof live)[number]).place);
        }
      }
      for (const { place, mark: expected } of live) {
        const from = arena.offsetOf(place);
        const bytes = arena.bufferOf(place).subarray(from, from + arena.sizeOf(place));
        assert.ok(bytes.every((byte) => byte === expected));
      }
      assert.equal(
        arena.usedBytes,
        live.reduce((sum, { place }) => sum + arena.sizeOf(place), 0),
      );
      for (const { place } of live) arena.free(place);
      assert.equal(arena.usedBytes, 0);
      assert.ok(arena.heldBytes <= 4 * 1024 * 1024);
    }),
  );
});

test("a place is never 0, and words stand where bytes do", () => {
  const arena = new Arena();
  const place = arena.allocate(16);
  assert.notEqual(place, 0);
  arena.setWord(place, 1, 0xdead_beef);
  assert.equal(arena.word(place, 1), 0xdead_beef);
  assert.equal(arena.bufferOf(place).readUInt32LE(arena.offsetOf(place) + 4), 0xdead_beef);
});

test("memory that was needed once serves other sizes, and is given back but for a little", () => {
  const arena = new Arena();
  const fill = (size: number): Place[] => Array.from({ length: (32 * 1024 * 1024) / size }, () => arena.allocate(size));
  const small = fill(64);
  const held = arena.heldBytes;
  for (const place of small) arena.free(place);
  assert.ok(arena.heldBytes <= 4 * 1024 * 1024, `${arena.heldBytes} held`);
  const large = fill(1024);
  assert.ok(arena.heldBytes <= held * 1.1);
  for (const place of large) arena.free(place);
});

test("half of the slots that are freed at random and filled again take no more room", () => {
  const arena = new Arena();
  let seed = 1;
  const next = (): number => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0);
  const places = Array.from({ length: 100_000 }, () => arena.allocate(64));
  const held = arena.heldBytes;
  for (let round = 0; round < 10; round++) {
    for (let index = 0; index < places.length; index++)
      if (next() & 0x10000) {
        arena.free(places[index] as Place);
        places[index] = 0;
      }
    for (let index = 0; index < places.length; index++) if (places[index] === 0) places[index] = arena.allocate(64);
    assert.ok(arena.heldBytes <= held + 1024 * 1024, `${arena.heldBytes} of ${held}`);
  }
});

test("more than a slot holds is refused", () => {
  assert.throws(() => new Arena().allocate(maxSlotBytes + 1), RangeError);
});
