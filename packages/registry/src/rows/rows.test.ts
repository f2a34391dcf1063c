import assert from "node:assert/strict";
import { test } from "node:test";
import { addDigests, emptyDigest, recordHash } from "@dualmesh/wire/stream/digest";
import { revisionText } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import { encodeInstance, instanceKeyOf } from "@dualmesh/wire/stream/record";
import fc from "fast-check";
import { Rows } from "./rows.ts";

interface Known {
  readonly service: string;
  readonly record: Buffer;
  readonly session: Revision;
  readonly stamp: Revision;
}

const services = ["dubbo/a::", "bolt/b:1.0:", "http/c::x"] as const;

function recordOf(index: number, pid: number): Buffer {
  return encodeInstance({
    service: "any",
    host: index % 7 === 0 ? `host-${index}` : `10.0.0.${index}`,
    application: `app${index % 3}`,
    appPort: 20_880,
    address: "10.9.9.9",
    port: 20_881,
    weight: 100,
    warmupMs: 0,
    startedAt: pid * 1_000,
    zone: "",
    labels: { pid: String(pid) },
    mode: "mesh",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation: pid,
    registration: { dialect: "dubbo", text: `dubbo://10.0.0.${index}:20880/x?pid=${pid}` },
  });
}

const step = fc.record({
  service: fc.constantFrom(...services),
  index: fc.integer({ min: 1, max: 60 }),
  pid: fc.integer({ min: 1, max: 1_000_000 }),
  session: fc.integer({ min: 1, max: 5 }),
  to: fc.constantFrom("put", "put", "put", "remove", "end"),
});

test("law: rows are those of a plain map, found by key, service and owner, and all of their room is given back", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const rows = new Rows();
      const model = new Map<string, Known>();
      let stamps = 2 ** 32 - 50;
      for (const { service, index, pid, session: counter, to } of steps) {
        const record = recordOf(index, pid);
        const key = instanceKeyOf(record);
        const text = `${service} ${key.toString("latin1")}`;
        const session = { epoch: counter % 2, counter };
        const place = rows.find(rows.services.find(service), key);
        assert.equal(place !== 0, model.has(text));
        if (to === "put") {
          const stamp = { epoch: 3 + (stamps % 3), counter: ++stamps };
          if (place === 0) rows.add({ service, record, session, stamp });
          else rows.replace(place, { record, session, stamp });
          model.set(text, { service, record, session, stamp });
        } else if (to === "remove") {
          if (place !== 0) rows.remove(place);
          model.delete(text);
        } else {
          for (const one of rows.owners.places(session)) rows.remove(one);
          for (const [name, known] of model)
            if (revisionText(known.session) === revisionText(session)) model.delete(name);
        }
      }
      assert.equal(rows.count, model.size);
      for (const { service, record, session, stamp } of model.values()) {
        const place = rows.find(rows.services.find(service), instanceKeyOf(record));
        assert.deepEqual(rows.rowOf(place).record, record);
        assert.deepEqual([rows.rowOf(place).session, rows.rowOf(place).stamp], [session, stamp]);
        assert.ok(rows.holds(place, record) && !rows.holds(place, recordOf(61, 1)));
      }
      for (const name of services) {
        const of = [...model.values()].filter(({ service }) => service === name);
        const service = rows.services.find(name);
        assert.equal(rows.countOf(service), of.length);
        assert.equal([...rows.places(service)].length, of.length);
        const digest = of.reduce((sum, { record }) => addDigests(sum, recordHash(record)), emptyDigest);
        if (service !== 0) assert.deepEqual(rows.services.digestOf(service), digest);
        assert.equal(service === 0, of.length === 0);
      }
      for (let counter = 1; counter <= 5; counter++) {
        const session = { epoch: counter % 2, counter };
        const owned = [...model.values()].filter((one) => revisionText(one.session) === revisionText(session));
        assert.equal(rows.owners.countOf(session), owned.length);
        for (const place of rows.owners.places(session)) rows.remove(place);
      }
      assert.deepEqual([rows.count, rows.services.count, [...rows.owners.texts()]], [0, 0, []]);
      assert.ok(rows.heldBytes <= 4 * 1024 * 1024);
    }),
    { numRuns: 100 },
  );
});

test("fifty thousand instances of an application take about a hundred bytes each, and their number alone grows the memory", () => {
  const rows = new Rows();
  const fill = (from: number, to: number): number => {
    const before = rows.heldBytes;
    for (let index = from; index < to; index++) {
      const record = recordOf(index % 250, 1_000 + index);
      const session = { epoch: 1, counter: 1 + (index % 50) };
      rows.add({ service: `dubbo/service${index % 1_000}::`, record, session, stamp: { epoch: 1, counter: index } });
    }
    return (rows.heldBytes - before) / (to - from);
  };
  fill(0, 10_000);
  const each = fill(10_000, 60_000);
  assert.ok(each < 130, `${each} bytes each`);
});
