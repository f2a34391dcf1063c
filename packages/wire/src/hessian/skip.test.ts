import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import fc from "fast-check";
import { arbitraryHessian, hessianInt, hessianText } from "./arbitrary.ts";
import { HessianSkipper, maxClasses, maxDepth, maxValues, skipValue } from "./skip.ts";

describe("the Hessian skipper", () => {
  it("finds the ends of values that Dubbo's own library wrote", () => {
    const skipper = new HessianSkipper();
    const file = readFileSync(new URL("golden/hessian-lite-4.0.4.txt", import.meta.url), "latin1");
    for (const line of file.split("\n").filter((line) => line !== "" && !line.startsWith("#"))) {
      const [kind, ends, hex] = line.split(" ") as [string, string, string];
      const bytes = Buffer.from(hex, "hex");
      skipper.begin();
      let at = 0;
      for (const end of ends.split(",")) {
        at = skipper.skip(bytes, at, bytes.length);
        assert.equal(at, Number(end), kind);
      }
      assert.equal(at, bytes.length, kind);
    }
  });

  it("ends where a value ends, whatever stands behind it, and says so when it is cut off anywhere", () => {
    fc.assert(
      fc.property(arbitraryHessian, fc.uint8Array({ maxLength: 5 }), fc.nat({ max: 5 }), (value, after, before) => {
        const bytes = Buffer.concat([Buffer.alloc(before, 0x5a), value, after]);
        const end = before + value.length;
        assert.equal(skipValue(bytes, before, bytes.length), end);
        for (let cut = before; cut < end; cut++) assert.equal(skipValue(bytes, before, cut), -1);
      }),
      { numRuns: 500 },
    );
  });

  it("answers garbage with an end within the bytes or -1", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (garbage) => {
        const end = skipValue(Buffer.from(garbage), 0, garbage.length);
        assert.ok(end === -1 || (end > 0 && end <= garbage.length));
      }),
      { numRuns: 3_000 },
    );
  });

  it("shares class definitions between the values of one body and forgets them at the next", () => {
    const definition = Buffer.concat([
      Buffer.from("C"),
      hessianText("fx.A"),
      hessianInt(2),
      hessianText("x"),
      hessianText("y"),
    ]);
    const body = Buffer.concat([
      definition,
      Buffer.from([0x60, 0x91, 0x92]),
      Buffer.from([0x4f, 0x90, 0x4e, 0x60, 0x4e, 0x4e]),
    ]);
    const skipper = new HessianSkipper();
    const first = definition.length + 3;
    assert.equal(skipper.skip(body, 0, body.length), first);
    assert.equal(skipper.skip(body, first, body.length), body.length);
    skipper.begin();
    assert.equal(skipper.skip(body, first, body.length), -1, "an object of a class that nobody defined");
  });
});

describe("hostile Hessian", () => {
  it("nested 100,000 deep is not followed", () => {
    for (const tag of [0x57, 0x79, 0x48]) assert.equal(skipValue(Buffer.alloc(100_000, tag), 0, 100_000), -1);
    const deep = Buffer.concat([Buffer.alloc(maxDepth - 1, 0x79), Buffer.from("N")]);
    assert.equal(skipValue(deep, 0, deep.length), deep.length, "as deep as is allowed");
    const deeper = Buffer.concat([Buffer.alloc(maxDepth, 0x79), Buffer.from("N")]);
    assert.equal(skipValue(deeper, 0, deeper.length), -1);
  });

  it("with more elements than bytes is not believed", () => {
    for (const count of [0x7fff_ffff, -1, -0x8000_0000, 5]) {
      const list = Buffer.concat([Buffer.from("X"), hessianInt(count), Buffer.from("NNNN")]);
      assert.equal(skipValue(list, 0, list.length), -1);
      const typed = Buffer.concat([Buffer.from("V"), hessianText("t"), hessianInt(count), Buffer.from("NNNN")]);
      assert.equal(skipValue(typed, 0, typed.length), -1);
      const definition = Buffer.concat([
        Buffer.from("C"),
        hessianText("t"),
        hessianInt(count),
        Buffer.from("\0\0\0\0"),
      ]);
      assert.equal(skipValue(definition, 0, definition.length), -1);
    }
  });

  it("with cycles is read once: a reference is never followed", () => {
    const cycle = Buffer.from("7a51905190", "hex");
    assert.equal(skipValue(cycle, 0, cycle.length), cycle.length);
  });

  it("with classes or values without end is given up", () => {
    const definition = Buffer.concat([Buffer.from("C"), hessianText("t"), hessianInt(0)]);
    const classes = Buffer.concat([...Array<Buffer>(maxClasses + 1).fill(definition), Buffer.from("N")]);
    assert.equal(skipValue(classes, 0, classes.length), -1);
    const values = Buffer.concat([Buffer.from("W"), Buffer.alloc(maxValues + 1, 0x4e), Buffer.from("Z")]);
    assert.equal(skipValue(values, 0, values.length), -1);
  });

  it("of eight megabytes costs one pass", () => {
    const size = 8 * 1_024 * 1_024;
    const started = process.cpuUsage();
    for (const tag of [0x57, 0x4e, 0x5a, 0x43, 0x52, 0x41, 0x00, 0x78, 0x70]) {
      const bytes = Buffer.alloc(size, tag);
      bytes[0] = 0x57;
      skipValue(bytes, 0, size);
    }
    const used = process.cpuUsage(started);
    assert.ok(used.user + used.system < 3_000_000, `${used.user + used.system} us for nine of them`);
  });
});
