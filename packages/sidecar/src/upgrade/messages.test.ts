import assert from "node:assert/strict";
import test from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import fc from "fast-check";
import { decodeStates, encodeStates, type MovedLine } from "./messages.ts";

const text = fc.string({ maxLength: 40 });
const number = fc.nat(0xffff_ffff);
const plain = { noNullPrototype: true };
const owed = fc.record(
  {
    ...{ id: number, idHigh: number, version: fc.nat(255), serialization: fc.nat(255), flags: fc.nat(255) },
    ...{ service: text, leftMs: fc.nat(600_000) },
  },
  plain,
);
const lines: fc.Arbitrary<readonly MovedLine[]> = fc.array(
  fc.record(
    {
      key: number,
      owed: fc.array(owed, { maxLength: 4 }),
      state: fc.record(
        {
          ...{ protocol: text, source: text, writer: fc.nat(255), isLoop: fc.boolean(), leaving: fc.boolean() },
          residual: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
        },
        plain,
      ),
    },
    plain,
  ),
  { maxLength: 20 },
);

test("what is told of connections that stand still is read as it was told, with the bytes of each", () => {
  fc.assert(fc.property(lines, (told) => assert.deepEqual(decodeStates(encodeStates(told)), told)));
});

test("what breaks off, and garbage, is no message and nothing else", () => {
  fc.assert(
    fc.property(lines, fc.double({ min: 0, max: 0.999, noNaN: true }), (told, part) => {
      const whole = encodeStates(told);
      assert.throws(
        () => decodeStates(whole.subarray(0, Math.floor(whole.length * part))),
        (error) => isMeshError(error, "upgrade.message"),
      );
    }),
  );
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    fc
      .constantFrom("1", "null", "{}")
      .map((json) => Buffer.concat([Buffer.from([json.length, 0, 0, 0]), Buffer.from(json)])),
  );
  fc.assert(
    fc.property(garbage, (bytes) =>
      assert.throws(
        () => decodeStates(bytes),
        (error) => isMeshError(error, "upgrade.message"),
      ),
    ),
  );
});
