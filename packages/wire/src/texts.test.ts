import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { TextTable } from "./texts.ts";

describe("a table of texts", () => {
  it("gives what decoding gives, for any bytes in any order", () => {
    const table = new TextTable((bytes, start, end) => bytes.toString("latin1", start, end));
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 4 }), { maxLength: 50 }), (slices) => {
        for (const slice of slices) {
          const bytes = Buffer.concat([Buffer.from("<"), slice, Buffer.from(">")]);
          assert.equal(table.textOf(bytes, 1, bytes.length - 1), Buffer.from(slice).toString("latin1"));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("decodes bytes it knows once, and ones that are too long each time", () => {
    let decoded = 0;
    const table = new TextTable((bytes, start, end) => {
      decoded++;
      return bytes.toString("latin1", start, end);
    });
    const [one, two, long] = [Buffer.from("one"), Buffer.from("two"), Buffer.alloc(5_000, 0x61)];
    for (let round = 0; round < 5; round++) {
      assert.equal(table.textOf(one, 0, 3), "one");
      assert.equal(table.textOf(Buffer.from(two), 0, 3), "two");
    }
    assert.equal(decoded, 2);
    for (let round = 0; round < 3; round++) table.textOf(long, 0, long.length);
    assert.equal(decoded, 5);
  });

  it("does not hold on to the buffer it read from", () => {
    const table = new TextTable((bytes, start, end) => bytes.toString("latin1", start, end));
    const bytes = Buffer.from("a name");
    table.textOf(bytes, 0, bytes.length);
    bytes.fill(0x78);
    assert.equal(table.textOf(bytes, 0, bytes.length), "xxxxxx");
    assert.equal(table.textOf(Buffer.from("a name"), 0, 6), "a name");
  });
});
