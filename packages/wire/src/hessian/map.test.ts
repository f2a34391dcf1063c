import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { arbitraryHessian, hessianInt, hessianMap, hessianText } from "./arbitrary.ts";
import { findInMap } from "./map.ts";
import { HessianSkipper } from "./skip.ts";

function find(bytes: Buffer, key: string): string | undefined {
  return findInMap(new HessianSkipper(), bytes, 0, bytes.length, Buffer.from(key));
}

describe("a value in a Hessian map", () => {
  it("is what a Map of the same entries has, of a repeated key the last", () => {
    const keys = fc.constantFrom("group", "path", "", "__proto__", "grou", "constructor", "toString");
    fc.assert(
      fc.property(fc.array(fc.tuple(keys, fc.string({ maxLength: 50 })), { maxLength: 8 }), keys, (entries, key) => {
        assert.equal(find(hessianMap(entries), key), new Map(entries).get(key));
      }),
    );
  });

  it("is found behind keys and values of any kind, and in a typed map", () => {
    fc.assert(
      fc.property(arbitraryHessian, arbitraryHessian, (key, value) => {
        const rest = [key, value, hessianText("group"), hessianText("blue"), Buffer.from("Z")];
        fc.pre(!key.equals(hessianText("group")));
        assert.equal(find(Buffer.concat([Buffer.from("H"), ...rest]), "group"), "blue");
        assert.equal(
          find(Buffer.concat([Buffer.from("M"), hessianText("java.util.HashMap"), ...rest]), "group"),
          "blue",
        );
      }),
    );
  });

  it("may be an int; null and other kinds are nothing", () => {
    const map = (value: Buffer): Buffer =>
      Buffer.concat([Buffer.from("H"), hessianText("timeout"), value, Buffer.from("Z")]);
    for (const timeout of [3_000, -1, 70_000, 0x7fff_ffff])
      assert.equal(find(map(hessianInt(timeout)), "timeout"), String(timeout));
    assert.equal(find(map(Buffer.from("N")), "timeout"), undefined);
    assert.equal(find(map(Buffer.from("T")), "timeout"), undefined);
  });

  it("is not found in what is no map or is malformed before it", () => {
    assert.equal(find(Buffer.from("N"), "a"), undefined);
    assert.equal(find(Buffer.from([0x48, 0x01]), "a"), undefined);
    assert.equal(
      find(Buffer.concat([Buffer.from("H"), Buffer.from([0x45, 0x45]), hessianText("a"), hessianText("b")]), "a"),
      undefined,
    );
  });

  it("costs one pass in a map of colliding keys", () => {
    const keys = ["AaAa", "BBBB", "AaBB", "BBAa"]; // one hash code in Java
    const many = hessianMap(Array.from({ length: 100_000 }, (_, index) => [keys[index % 4] as string, "v"] as const));
    const started = process.cpuUsage();
    assert.equal(find(many, "group"), undefined);
    assert.ok(process.cpuUsage(started).user < 1_000_000);
  });
});
