import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Replayable, ReplayRing } from "./replay.ts";

test("a request is found as it was, or not at all", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 60 }), (sizes) => {
      const ring = new ReplayRing(1_024);
      const kept = sizes.map((size, index) => {
        const item: Replayable = { replayAt: -1, replaySize: 0 };
        const bytes = Buffer.alloc(size + 2, index);
        ring.keep(item, bytes, 1, size);
        return { item, size, index };
      });
      for (const { item, size, index } of kept) {
        const found = ring.find(item);
        if (found !== undefined) assert.deepEqual(found, Buffer.alloc(size, index));
        else assert.ok(size > 256 || index < kept.length - 1, "the last one is always there");
      }
    }),
  );
});
