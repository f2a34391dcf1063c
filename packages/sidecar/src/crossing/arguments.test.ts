import assert from "node:assert/strict";
import { test } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import fc from "fast-check";
import { readName, readOpen, readServer, readStep } from "./arguments.ts";

const open = {
  name: "p4711-38127",
  servers: ["192.0.2.1:2181", "[2001:db8::1]:2182"],
  chroots: ["/company/team"],
  host: "192.0.2.9",
};

const malformed =
  (field: string) =>
  (error: unknown): boolean =>
    isMeshError(error, "crossing.malformed") && error.message.startsWith(`${field} `);

test("what is right is read as it was written", () => {
  assert.deepEqual(readOpen({ ...open, more: "is passed over" }), open);
  assert.deepEqual(readServer("[2001:db8::1]:2182"), { host: "2001:db8::1", port: 2_182 });
  assert.deepEqual(readStep({ name: "a", to: "mesh" }), { name: "a", to: "mesh" });
  const step = { name: "a", to: "direct", sessions: ["1000a4f"], overlapMs: 0 } as const;
  assert.deepEqual(readStep(step), step);
  assert.deepEqual(readName({ name: "x".repeat(64) }), { name: "x".repeat(64) });
});

test("what is wrong names its field", () => {
  const wrong: readonly (readonly [string, object])[] = [
    ["name", { name: "" }],
    ["name", { name: "a/b" }],
    ["name", { name: "x".repeat(65) }],
    ["name", { name: 7 }],
    ["servers", { servers: [] }],
    ["servers", { servers: "192.0.2.1:2181" }],
    ["servers", { servers: ["zoo:2181"] }],
    ["servers", { servers: ["192.0.2.1:0"] }],
    ["servers", { servers: ["192.0.2.1:65536"] }],
    ["servers", { servers: ["2001:db8::1:2181"] }],
    ["servers", { servers: ["192.0.2.1:2181", "192.0.2.1:2181"] }],
    ["servers", { servers: Array(33).fill("192.0.2.1:2181") }],
    ["chroots", { chroots: undefined }],
    ["chroots", { chroots: ["/"] }],
    ["chroots", { chroots: ["team"] }],
    ["host", { host: "shop.example" }],
    ["host", { host: "0.0.0.0" }],
    ["host", { host: undefined }],
  ];
  for (const [field, change] of wrong)
    assert.throws(() => readOpen({ ...open, ...change }), malformed(field), JSON.stringify(change));
  assert.throws(() => readStep({ name: "a", to: "both" }), malformed("to"));
  for (const overlapMs of [-1, 60_001, Number.NaN, "6000"])
    assert.throws(() => readStep({ name: "a", to: "mesh", overlapMs }), malformed("overlapMs"));
  for (const sessions of [["0x1"], [""], "1", [1]])
    assert.throws(() => readStep({ name: "a", to: "mesh", sessions }), malformed("sessions"));
});

test("anything else gives that error and no other", () => {
  const record = fc.record(
    {
      name: fc.oneof(fc.string(), fc.jsonValue()),
      servers: fc.oneof(fc.array(fc.oneof(fc.ipV4(), fc.string())), fc.jsonValue()),
      chroots: fc.oneof(fc.array(fc.string()), fc.jsonValue()),
      host: fc.oneof(fc.ipV6(), fc.jsonValue()),
      to: fc.oneof(fc.constantFrom("mesh", "direct"), fc.jsonValue()),
      sessions: fc.jsonValue(),
      overlapMs: fc.oneof(fc.double(), fc.jsonValue()),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(record, (given) => {
      for (const read of [readOpen, readStep, readName]) {
        try {
          read(given);
        } catch (error) {
          if (!isMeshError(error, "crossing.malformed")) throw error;
        }
      }
    }),
  );
});
