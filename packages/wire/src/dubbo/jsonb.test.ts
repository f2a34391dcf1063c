import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { jsonbMap, jsonbText } from "./arbitrary.ts";
import { findInObject, readText, valueEnd, writeText } from "./jsonb.ts";

function find(bytes: Buffer, key: string): string | undefined {
  return findInObject(bytes, 0, bytes.length, Buffer.from(key));
}

const object = (...parts: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat([
    Buffer.from([0xa6]),
    ...parts.map((part) => (typeof part === "string" ? Buffer.from(part, "hex") : part)),
    Buffer.from([0xa5]),
  ]);

describe("JSONB", () => {
  it("texts are read as they were written, by us and by fastjson2", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), (text) => {
        for (const bytes of [writeText(text), jsonbText(text)]) {
          assert.equal(valueEnd(bytes, 0, bytes.length), bytes.length);
          assert.equal(readText(bytes, 0, bytes.length), text);
          for (let cut = 0; cut < bytes.length; cut++) assert.equal(readText(bytes, 0, cut), undefined);
        }
      }),
    );
    const bigEndian = Buffer.from("7d044e2d6587", "hex");
    assert.equal(readText(bigEndian, 0, bigEndian.length), "中文");
    assert.equal(readText(Buffer.from([0xaf]), 0, 1), undefined);
  });

  it("objects give a value by its key", () => {
    const map = jsonbMap([
      ["a", "b"],
      ["__proto__", "evil"],
      ["group", "blue"],
      ["group", "red"],
    ]);
    assert.equal(find(map, "group"), "red", "of two the last, as in Java");
    assert.equal(find(map, "__proto__"), "evil");
    assert.equal(find(map, "b"), undefined);
  });

  it("objects give a value behind values and keys of other kinds, and one whose key is a symbol", () => {
    const group = [jsonbText("group"), jsonbText("blue")];
    // Ints of four sizes, longs, doubles, decimals, constants, binary, arrays, an object, a typed object, a reference.
    const values = [
      "2f",
      "3800",
      "440001",
      "4800000001",
      "d8",
      "c801",
      "c00102",
      "be0102030405060708",
      "bf01020304",
      "b2",
      "b50102030405060708",
    ];
    values.push(
      "b9020103",
      "af",
      "b0",
      "b1",
      "9103010203",
      "95af",
      "a41002",
      "a64a4101a5",
      "924a5401a64a4101a5",
      "934a24",
      "bd05",
      "bc0001",
    );
    for (const value of values) {
      const bytes = value === "a41002" ? `a410${"02".repeat(16)}` : value;
      assert.equal(find(object(jsonbText("x"), bytes, ...group), "group"), "blue", value);
    }
    assert.equal(find(object("05", "06", ...group), "group"), "blue", "a key that is a number");
    assert.equal(find(object("7f", jsonbText("group"), "01", jsonbText("blue")), "group"), "blue", "a new symbol");
    assert.equal(find(object("7f05", jsonbText("x"), ...group), "group"), "blue", "a symbol from before");
    assert.equal(find(object(jsonbText("timeout"), "440bb8"), "timeout"), "3000");
  });

  it("that is hostile is given up", () => {
    for (const hex of [
      "a6",
      "a64a41",
      "a64a417a487fffffff",
      "a64a417a48ffffffff",
      "a64a4179ff",
      "4a41",
      "a64a41a4487fffffff",
      "92",
      "a6a64141",
    ]) {
      assert.equal(find(Buffer.from(hex, "hex"), "group"), undefined, hex);
    }
    for (const tag of [0xa6, 0x95, 0x93, 0x92, 0x7f, 0x79]) {
      const bytes = Buffer.alloc(100_000, tag);
      assert.equal(valueEnd(bytes, 0, bytes.length), -1, `${tag}`);
    }
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), (garbage) => {
        const bytes = Buffer.from([0xa6, ...garbage]);
        const end = valueEnd(bytes, 0, bytes.length);
        assert.ok(end === -1 || (end > 0 && end <= bytes.length));
        find(bytes, "group");
      }),
      { numRuns: 3_000 },
    );
  });
});
