import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, type Place } from "./arena.ts";
import { Interned } from "./interned.ts";

test("law: equal strings have one place while somebody has a share, and nothing is left when all were released", () => {
  const text = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.constantFrom("a", "b", "ab", "").map((one) => Buffer.from(one)),
  );
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ take: text }) },
    { weight: 2, arbitrary: fc.record({ release: fc.nat() }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const arena = new Arena();
      const interned = new Interned(arena);
      const shares: { readonly place: Place; readonly text: string }[] = [];
      for (const one of steps) {
        if ("take" in one) {
          const place = interned.intern(one.take);
          const key = Buffer.from(one.take).toString("latin1");
          for (const other of shares) assert.equal(other.place === place, other.text === key);
          shares.push({ place, text: key });
        } else if (shares.length > 0) {
          const [gone] = shares.splice(one.release % shares.length, 1);
          interned.release((gone as (typeof shares)[number]).place);
        }
      }
      for (const { place, text: expected } of shares) {
        assert.equal(interned.bytesOf(place).toString("latin1"), expected);
        assert.equal(interned.placeOf(Buffer.from(expected, "latin1")), place);
      }
      assert.equal(interned.size, new Set(shares.map(({ text: one }) => one)).size);
      for (const { place } of shares) interned.release(place);
      assert.deepEqual([interned.size, arena.usedBytes, [...interned.places()]], [0, 0, []]);
    }),
  );
});

test("a hundred thousand strings are all found, half of them when the other half has gone", () => {
  const interned = new Interned(new Arena());
  const places = Array.from({ length: 100_000 }, (_, index) => interned.intern(Buffer.from(`text ${index}`)));
  for (let index = 0; index < places.length; index += 2) interned.release(places[index] as Place);
  for (let index = 0; index < places.length; index++)
    assert.equal(interned.placeOf(Buffer.from(`text ${index}`)), index % 2 === 0 ? 0 : places[index]);
});
