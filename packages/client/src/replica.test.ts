import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { addDigests, type Digest, emptyDigest, recordHash } from "@dualmesh/wire/stream/digest";
import type { Delta, Snapshot } from "@dualmesh/wire/stream/messages";
import { type RecordReader, Replica } from "./replica.ts";

/** Records of two characters: key and value. */
const reader: RecordReader<string> = {
  key: (record) => record.subarray(0, 1),
  value: (record) => record.toString(),
};

function digestOf(...records: string[]): Digest {
  return records.map((record) => recordHash(Buffer.from(record))).reduce(addDigests, emptyDigest);
}

function at(counter: number): { epoch: number; counter: number } {
  return { epoch: 1, counter };
}

function snapshot(counter: number, records: readonly string[], changes: Partial<Snapshot> = {}): Snapshot {
  return {
    type: "snapshot",
    feed: "service",
    name: "x",
    revision: at(counter),
    digest: digestOf(...records),
    first: true,
    last: true,
    total: records.length,
    records: records.map((record) => Buffer.from(record)),
    ...changes,
  };
}

function delta(from: number, to: number, result: readonly string[], changes: Partial<Delta>): Delta {
  const empty = { added: [], changed: [], removed: [] };
  const digest = digestOf(...result);
  return { type: "delta", feed: "service", name: "x", from: at(from), to: at(to), digest, ...empty, ...changes };
}

const buffers = (...records: string[]): Buffer[] => records.map((record) => Buffer.from(record));
const valuesOf = (replica: Replica<string>): string[] => [...replica.entries.values()].map(({ value }) => value).sort();

describe("a replica", () => {
  it("takes a snapshot in chunks and shows nothing of it before the last", () => {
    const replica = new Replica(reader);
    const whole = { digest: digestOf("a1", "b1"), total: 2 };
    assert.equal(replica.applySnapshot(snapshot(5, ["a1"], { ...whole, last: false })), "more");
    assert.deepEqual(valuesOf(replica), []);
    assert.equal(replica.applySnapshot(snapshot(5, ["b1"], { ...whole, first: false })), "applied");
    assert.deepEqual(valuesOf(replica), ["a1", "b1"]);
  });

  it("refuses chunks of another snapshot, too many records and a wrong digest", () => {
    const replica = new Replica(reader);
    assert.equal(replica.applySnapshot(snapshot(5, ["a1"], { first: false })), "gap");
    replica.applySnapshot(snapshot(5, ["a1"], { last: false, total: 2 }));
    assert.equal(replica.applySnapshot(snapshot(6, ["b1"], { first: false, total: 2 })), "gap");
    assert.equal(replica.applySnapshot(snapshot(5, ["a1", "b1"], { total: 1 })), "mismatch");
    assert.equal(replica.applySnapshot(snapshot(5, ["a1"], { digest: digestOf("a2") })), "mismatch");
    assert.deepEqual(valuesOf(replica), []);
  });

  it("applies deltas that fit and keeps unchanged values as they are", () => {
    const replica = new Replica(reader);
    replica.applySnapshot(snapshot(1, ["a1", "b1"]));
    const before = replica.entries.get("a");
    const removed = [{ key: Buffer.from("b"), reason: "withdrawn" as const }];
    assert.equal(replica.applyDelta(delta(1, 4, ["a1", "c1"], { added: buffers("c1"), removed })), "applied");
    assert.deepEqual(valuesOf(replica), ["a1", "c1"]);
    assert.equal(replica.entries.get("a"), before);
    replica.applySnapshot(snapshot(9, ["a1"]));
    assert.equal(replica.entries.get("a"), before);
  });

  it("leaves everything as it was when a delta does not fit or leads elsewhere", () => {
    const replica = new Replica(reader);
    replica.applySnapshot(snapshot(3, ["a1"]));
    assert.equal(replica.applyDelta(delta(4, 5, ["a1", "b1"], { added: buffers("b1") })), "gap");
    assert.equal(replica.applyDelta(delta(3, 5, ["a9"], { changed: buffers("a2") })), "mismatch");
    assert.equal(replica.applyDelta(delta(1, 3, ["a1"], { changed: buffers("a1") })), "nothing-new");
    assert.equal(replica.applyDelta(delta(3, 3, ["a1"], {})), "nothing-new");
    assert.deepEqual([valuesOf(replica), replica.revision], [["a1"], at(3)]);
  });
});
