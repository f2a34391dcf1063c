import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { patchCrc } from "./crc.ts";

describe("patchCrc", () => {
  it("gives what zlib computes over the changed bytes", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 40 }),
        fc.uint8Array({ maxLength: 3_000 }),
        fc.integer(),
        fc.integer(),
        (head, tail, before, after) => {
          const bytes = Buffer.concat([head, Buffer.alloc(4), tail]);
          bytes.writeInt32BE(before, head.length);
          const old = crc32(bytes);
          bytes.writeInt32BE(after, head.length);
          assert.equal(patchCrc(old, before, after, tail.length), crc32(bytes));
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it("holds for every length up to the frame limit, by samples around the powers of two", () => {
    const bytes = Buffer.alloc(8 * 1_024 * 1_024, 0xa5);
    for (let bit = 0; bit <= 23; bit++) {
      for (const size of [2 ** bit - 1, 2 ** bit, 2 ** bit + 3]) {
        const frame = bytes.subarray(0, Math.min(Math.max(size, 4), bytes.length));
        frame.writeInt32BE(0x1234_5678);
        const old = crc32(frame);
        frame.writeInt32BE(-2);
        assert.equal(patchCrc(old, 0x1234_5678, -2, frame.length - 4), crc32(frame), `${frame.length} bytes`);
      }
    }
  });

  it("keeps the difference of a wrong checksum, so that what came corrupt stays corrupt by as much", () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1 }),
        fc.integer(),
        fc.integer(),
        fc.nat({ max: 8_000_000 }),
        (crc, wrong, before, after, tail) => {
          const right = patchCrc(crc, before, after, tail);
          assert.equal((patchCrc(crc ^ wrong, before, after, tail) ^ right) >>> 0, wrong);
        },
      ),
    );
  });
});
