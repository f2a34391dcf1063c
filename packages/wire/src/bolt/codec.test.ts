import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { FrameError } from "../codec.ts";
import { frameLaws } from "../laws.ts";
import { frameKind } from "../rpc.ts";
import { arbitraryBolt, boltBytes, headerMap } from "./arbitrary.ts";
import { boltCodec } from "./codec.ts";
import type { BoltFrame } from "./frame.ts";

frameLaws("Bolt", boltCodec, arbitraryBolt, { look });

function look(frame: BoltFrame): void {
  boltCodec.service(frame);
  boltCodec.method(frame);
  boltCodec.group(frame);
  boltCodec.header(frame, "app");
  boltCodec.failed(frame);
  boltCodec.replyFlags(frame);
}

const plain = {
  version: 1,
  revision: 2,
  type: 1,
  command: 1,
  id: 7,
  serialization: 1,
  switches: 0,
  timeout: 3_000,
  className: "c",
  header: Buffer.alloc(0),
  content: Buffer.from("content"),
} as const;

function decoded(bytes: Buffer): BoltFrame {
  const frame = boltCodec.view();
  assert.equal(boltCodec.decode(bytes, 0, bytes.length, frame), bytes.length);
  return frame;
}

function withHeader(entries: readonly (readonly [string, string | null])[]): BoltFrame {
  return decoded(boltBytes({ ...plain, header: headerMap(entries) }));
}

describe("the service of a Bolt frame", () => {
  it("is sofa_head_target_service, wherever it stands, before service", () => {
    const frame = withHeader([
      ["service", "b:1.0"],
      ["app", "x"],
      ["sofa_head_target_service", "a:1.0"],
    ]);
    assert.equal(boltCodec.service(frame), "a:1.0");
  });

  it("is service where the other is absent, null or empty", () => {
    assert.equal(boltCodec.service(withHeader([["service", "b:1.0"]])), "b:1.0");
    for (const nothing of [null, ""]) {
      const frame = withHeader([
        ["sofa_head_target_service", nothing],
        ["service", "b:1.0"],
      ]);
      assert.equal(boltCodec.service(frame), "b:1.0");
    }
  });

  it("is unknown in responses, heartbeats and frames without a header", () => {
    const header = headerMap([["service", "b:1.0"]]);
    assert.equal(boltCodec.service(decoded(boltBytes({ ...plain, type: 0, command: 2, header }))), undefined);
    assert.equal(boltCodec.service(decoded(boltBytes({ ...plain, command: 0, header }))), undefined);
    assert.equal(boltCodec.service(decoded(boltBytes(plain))), undefined);
  });

  it("is right for every name when more names pass than the table of texts holds", () => {
    for (let round = 0; round < 2; round++) {
      for (let index = 0; index < 3_000; index++) {
        const name = `fx.Service${index}:1.0`;
        assert.equal(boltCodec.service(withHeader([["service", name]])), name);
      }
    }
  });

  it("is unknown when lengths in the header go beyond it, and headers before the fault are still read", () => {
    for (const length of [0x7fff_ffff, 1_000, 18, -0x8000_0000]) {
      const header = headerMap([
        ["app", "x"],
        ["service", "b:1.0"],
      ]);
      header.writeInt32BE(length, 12);
      const frame = decoded(boltBytes({ ...plain, header }));
      assert.equal(boltCodec.service(frame), undefined);
      assert.equal(boltCodec.header(frame, "app"), "x");
    }
  });

  it("is found by name only: magic names are plain text", () => {
    const frame = withHeader([["__proto__", "evil"]]);
    assert.equal(boltCodec.header(frame, "__proto__"), "evil");
    assert.equal(boltCodec.header(frame, "constructor"), undefined);
  });
});

describe("the head of a Bolt frame", () => {
  it("refuses what is not Bolt as soon as its byte is there", () => {
    for (const [bytes, at] of [
      [[0], 0],
      [[3], 0],
      [[0xda, 0xbb], 0],
      [[1, 3], 1],
      [[2, 0, 1], 1],
      [[2, 3, 1], 1],
      [[2, 2, 3], 2],
    ] as const) {
      assert.throws(
        () => boltCodec.decode(Buffer.from(bytes), 0, bytes.length, boltCodec.view()),
        (error) => error instanceof FrameError && error.protocol === "bolt" && error.at === at,
      );
    }
  });

  it("refuses a type that contradicts its command, a negative length and a frame beyond the limit before the body is there", () => {
    const flipped = boltBytes({ ...plain, type: 0, command: 1 });
    const negative = boltBytes(plain);
    negative.writeInt32BE(-1, 18);
    const large = boltBytes(plain);
    large.writeInt32BE(8 * 1_024 * 1_024, 18);
    const answer = { ...plain, type: 0, command: 2 };
    const longClass = boltBytes(answer);
    longClass.writeUInt16BE(0x8000, 12);
    const longHeader = boltBytes(answer);
    longHeader.writeUInt16BE(0xffff, 14);
    for (const bytes of [flipped, negative, large, longClass, longHeader]) {
      assert.throws(() => boltCodec.decode(bytes, 0, 22, boltCodec.view()), FrameError);
    }
  });

  it("cuts a request out whole whose class name or header is longer than Java reads, and says why it has no service", () => {
    const header = headerMap([["service", "x".repeat(60_000)]]);
    for (const [shape, why] of [
      [{ ...plain, header }, /^a header of 60015 bytes is not accepted, the limit is 32767$/],
      [{ ...plain, className: "x".repeat(0x8000) }, /^a class name of 32768 bytes/],
      [{ ...plain, header: headerMap([["app", "x"]]) }, /^its header does not name the service$/],
    ] as const) {
      const bytes = boltBytes(shape);
      const frame = boltCodec.view();
      assert.equal(boltCodec.decode(bytes, 0, bytes.length, frame), bytes.length);
      assert.equal(boltCodec.service(frame), undefined);
      assert.match(boltCodec.unreadable(frame), why);
    }
  });

  it("tells kinds apart, and how long the caller waits", () => {
    const kind = (type: number, command: number) => decoded(boltBytes({ ...plain, type, command })).kind;
    assert.equal(kind(1, 1), frameKind.request);
    assert.equal(kind(2, 1), frameKind.oneway);
    assert.equal(kind(0, 2), frameKind.response);
    assert.equal(kind(1, 0), frameKind.heartbeat);
    assert.equal(kind(0, 0), frameKind.heartbeatReply);
    assert.equal(kind(1, 101), frameKind.event);
    assert.equal(decoded(boltBytes(plain)).timeoutMs, 3_000);
    assert.equal(decoded(boltBytes({ ...plain, timeout: -1 })).timeoutMs, 0);
  });

  it("has a CRC only by its own switch and only in revision 2 of v2", () => {
    assert.ok(decoded(boltBytes({ ...plain, version: 2, switches: 1 })).crcAt > 0);
    assert.equal(decoded(boltBytes({ ...plain, version: 2, switches: 0 })).crcAt, -1);
    assert.equal(decoded(boltBytes({ ...plain, version: 2, revision: 1, switches: 1 })).crcAt, -1);
  });
});

describe("rewriting the id of a Bolt frame", () => {
  it("changes the id and the CRC and nothing else", () => {
    fc.assert(
      fc.property(arbitraryBolt, fc.integer({ min: 0, max: 0xffff_ffff }), fc.nat({ max: 9 }), (bytes, id, before) => {
        const buffer = Buffer.concat([Buffer.alloc(before, 1), bytes, Buffer.alloc(3, 2)]);
        boltCodec.rewriteId(buffer, before, bytes.length, 0, id);
        const old = decoded(bytes);
        const frame = decoded(Buffer.from(buffer.subarray(before, before + bytes.length)));
        assert.equal(frame.id, id);
        if (frame.crcAt >= 0)
          assert.equal(frame.bytes.readUInt32BE(frame.crcAt), crc32(frame.bytes.subarray(0, frame.crcAt)));
        boltCodec.rewriteId(buffer, before, bytes.length, 0, old.id);
        assert.deepEqual(buffer, Buffer.concat([Buffer.alloc(before, 1), bytes, Buffer.alloc(3, 2)]));
      }),
      { numRuns: 500 },
    );
  });

  it("leaves a frame corrupt that came corrupt", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 2_000 }),
        fc.nat(),
        fc.integer({ min: 0, max: 0xffff_ffff }),
        (content, where, id) => {
          const bytes = boltBytes({ ...plain, version: 2, switches: 1, content });
          const at = 25 + (where % content.length);
          bytes[at] = (bytes[at] as number) ^ 0x40;
          boltCodec.rewriteId(bytes, 0, bytes.length, 0, id);
          const end = bytes.length - 4;
          assert.notEqual(bytes.readUInt32BE(end), crc32(bytes.subarray(0, end)));
        },
      ),
    );
  });
});
