import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { streamCodec } from "@dualmesh/wire/stream/codec";
import { decodeMessage } from "@dualmesh/wire/stream/decode";
import { addDigests, type Digest, emptyDigest, equalDigests, recordHash } from "@dualmesh/wire/stream/digest";
import { chunkBytes, maxStreamFrameBytes } from "@dualmesh/wire/stream/limits";
import type { Delta, Snapshot } from "@dualmesh/wire/stream/messages";
import { Feed } from "./feed.ts";
import type { FeedPosition } from "./store.ts";

function read(frame: Buffer): Delta | Snapshot {
  const view = streamCodec.view();
  assert.equal(streamCodec.decode(frame, 0, frame.length, view), frame.length);
  const message = decodeMessage(view);
  assert.ok(message?.type === "delta" || message?.type === "snapshot");
  return message;
}

function digestOf(records: Iterable<Buffer>): Digest {
  let digest = emptyDigest;
  for (const record of records) digest = addDigests(digest, recordHash(record));
  return digest;
}

/** A feed with someone who holds it, and a clock of revisions. */
function heldFeed(): { feed: Feed; set: (key: string, value: string) => void; drop: (key: string) => void } {
  const feed = new Feed("service", "bolt/a::", { epoch: 1, counter: 0 });
  feed.holders = 1;
  let counter = 0;
  const next = (): { epoch: number; counter: number } => ({ epoch: 1, counter: ++counter });
  return {
    feed,
    set: (key, value) => feed.set(key, Buffer.from(value), next()),
    drop: (key) => feed.delete(key, next(), "withdrawn"),
  };
}

describe("a feed", () => {
  it("encodes a delta once for all, with a key that changed twice in it once", () => {
    const { feed, set, drop } = heldFeed();
    const start = feed.update(undefined);
    set("a", "1");
    set("b", "1");
    set("a", "2");
    set("c", "1");
    drop("c");
    const one = feed.update(start);
    const other = feed.update(start);
    assert.equal(one.frames[0], other.frames[0], "the same bytes, not equal ones");
    const delta = read(one.frames[0] as Buffer) as Delta;
    assert.deepEqual(delta.added.map(String), ["1", "2"]);
    assert.deepEqual([delta.changed, delta.removed], [[], []]);
    assert.ok(equalDigests(delta.digest, digestOf([Buffer.from("1"), Buffer.from("2")])));
  });

  it("answers an equal digest with an empty delta, whatever the revision", () => {
    const { feed, set } = heldFeed();
    set("a", "1");
    const { digest, revision } = feed.update(undefined);
    const answer = feed.update({ revision: { epoch: 0, counter: 7 }, digest });
    const delta = read(answer.frames[0] as Buffer) as Delta;
    assert.deepEqual([delta.from, delta.to], [{ epoch: 0, counter: 7 }, revision]);
    assert.deepEqual([delta.added, delta.changed, delta.removed], [[], [], []]);
  });

  it("gives deltas for a short gap and a snapshot for one that is too long or unknown", () => {
    const { feed, set } = heldFeed();
    for (let key = 0; key < 1_000; key++) set(`k${key}`, `value ${key}`);
    const start: FeedPosition = feed.update(undefined);
    for (let round = 0; round < 3; round++) {
      set("k1", `round ${round}`);
      feed.seal();
    }
    const short = feed.update(start);
    assert.deepEqual(
      short.frames.map((frame) => read(frame).type),
      ["delta", "delta", "delta"],
    );
    for (let round = 0; round < 300; round++) {
      set("k1", `again ${round}`);
      feed.seal();
    }
    assert.equal(read(feed.update(start).frames[0] as Buffer).type, "snapshot");
    const unknown = { revision: { epoch: 1, counter: 3 }, digest: { high: 1, low: 1 } };
    assert.equal(read(feed.update(unknown).frames[0] as Buffer).type, "snapshot");
  });

  it("cuts large snapshots and large deltas into frames, each delta with a digest of its own", () => {
    const { feed, set } = heldFeed();
    const start = feed.update(undefined);
    const value = "x".repeat(20_000);
    for (let key = 0; key < 100; key++) set(`k${key}`, `${key} ${value}`);
    const deltas = feed.update(start).frames;
    assert.ok(deltas.length > 5);
    let held: Buffer[] = [];
    let at = start.revision;
    for (const frame of deltas) {
      assert.ok(frame.length < chunkBytes * 2 && frame.length < maxStreamFrameBytes);
      const delta = read(frame) as Delta;
      assert.deepEqual(delta.from, at);
      at = delta.to;
      held = [...held, ...delta.added];
      assert.ok(equalDigests(delta.digest, digestOf(held)));
    }
    const chunks = feed.update(undefined).frames.map((frame) => read(frame) as Snapshot);
    assert.deepEqual(
      chunks.map(({ first, last }) => [first, last]),
      chunks.map((_, index) => [index === 0, index === chunks.length - 1]),
    );
    assert.equal(
      chunks.reduce((sum, { records }) => sum + records.length, 0),
      100,
    );
    assert.ok(chunks.every(({ total }) => total === 100));
  });

  it("that nobody holds keeps its digest right and no deltas", () => {
    const { feed, set, drop } = heldFeed();
    const start = feed.update(undefined);
    feed.holders = 0;
    set("a", "1");
    set("b", "2");
    drop("a");
    feed.holders = 1;
    feed.holders = 0;
    feed.seal();
    feed.holders = 1;
    const update = feed.update({ ...start, digest: { high: 9, low: 9 } });
    assert.ok(equalDigests(update.digest, digestOf([Buffer.from("2")])));
    assert.equal(read(update.frames[0] as Buffer).type, "snapshot");
  });
});
