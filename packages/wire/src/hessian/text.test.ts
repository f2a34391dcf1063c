import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { hessianText } from "./arbitrary.ts";
import { maxWrittenUnits, readText, textEnd, writeText } from "./text.ts";

describe("Hessian texts", () => {
  it("are read as they were written, in every form and in chunks, unpaired surrogates included", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary", maxLength: 1_200 }),
        fc.nat({ max: 300 }),
        fc.nat({ max: 3 }),
        (text, chunk, before) => {
          const value = hessianText(text, chunk);
          const bytes = Buffer.concat([Buffer.alloc(before, 0x11), value, Buffer.from([0x11])]);
          assert.equal(textEnd(bytes, before, bytes.length), before + value.length);
          assert.equal(readText(bytes, before, bytes.length), text);
        },
      ),
      { numRuns: 500 },
    );
    assert.equal(readText(writeText("a\ud800b"), 0, 9), "a\ud800b");
  });

  it("of clients that store a pair of surrogates as one character of four bytes are read too", () => {
    const bytes = Buffer.concat([Buffer.from([4]), Buffer.from("a😀b")]);
    assert.equal(textEnd(bytes, 0, bytes.length), bytes.length);
    assert.equal(readText(bytes, 0, bytes.length), "a😀b");
  });

  it("that are cut off, too long for the bytes, or no texts have no end", () => {
    for (const hex of [
      "",
      "05",
      "0561626364",
      "53ffff61",
      "3361",
      "52000161",
      "5200016190",
      "90",
      "4e",
      "01f0",
      "01e4b8",
    ]) {
      const bytes = Buffer.from(hex, "hex");
      assert.equal(textEnd(bytes, 0, bytes.length), -1, hex);
      assert.equal(readText(bytes, 0, bytes.length), undefined, hex);
    }
  });

  it("that we write are cut at a length that one chunk holds", () => {
    assert.equal(readText(writeText("中".repeat(9_999)), 0, 99_999), "中".repeat(maxWrittenUnits));
  });
});
