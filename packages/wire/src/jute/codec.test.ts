import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { FrameError } from "../codec.ts";
import { frameLaws } from "../laws.ts";
import { arbitraryConnectRequest, arbitraryJuteFrame, arbitraryReplyBody, arbitraryRequest } from "./arbitrary.ts";
import { juteCodec, juteRecord, maxJuteBytes } from "./frame.ts";
import { decodeReplyBody, decodeReplyHead, encodeReply } from "./reply.ts";
import { decodeConnectRequest, decodeRequest, encodeConnectRequest, encodeRequest } from "./request.ts";

frameLaws("jute", juteCodec, arbitraryJuteFrame, { everyFrameSniffs: false });

function recordOf(frame: Buffer): Buffer {
  const view = juteCodec.view();
  assert.equal(juteCodec.decode(frame, 0, frame.length, view), frame.length);
  return juteRecord(view);
}

/** Runs `read` and accepts nothing but its success or the codec's own error. */
function survive(read: () => void): void {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof FrameError, `a codec's own error, not ${error}`);
  }
}

describe("jute records", () => {
  it("knows a connect request with and without the read-only byte by its first bytes", () => {
    fc.assert(
      fc.property(arbitraryConnectRequest, (request) => {
        const frame = encodeConnectRequest(request);
        assert.equal(frame.length, request.readOnly === undefined ? 48 : 49);
        assert.equal(juteCodec.sniff(frame), "yes");
        for (let size = 0; size < 8; size += 1) assert.equal(juteCodec.sniff(frame.subarray(0, size)), "more");
        assert.deepEqual(decodeConnectRequest(recordOf(frame)), request);
      }),
    );
    assert.equal(juteCodec.sniff(Buffer.from("GET / HTTP/1.1")), "no");
    assert.equal(juteCodec.sniff(Buffer.from([0, 0, 0, 46, 0, 0, 0, 0])), "no");
    assert.equal(juteCodec.sniff(Buffer.from([0, 0, 0, 44, 0, 0, 0, 1])), "no");
  });

  it("reads what it wrote", () => {
    fc.assert(
      fc.property(arbitraryRequest, (request) =>
        assert.deepEqual(decodeRequest(recordOf(encodeRequest(request))), request),
      ),
    );
    fc.assert(
      fc.property(arbitraryReplyBody, fc.integer(), (written, xid) => {
        const { head, body } = decodeReplyHead(recordOf(encodeReply({ xid, zxid: 5n, error: 0 }, written)));
        assert.deepEqual(head, { xid, zxid: 5n, error: 0 });
        assert.deepEqual(decodeReplyBody(written.kind, body), written);
        assert.equal(body.left, 0);
      }),
    );
  });

  it("leaves the body out of a reply that carries an error", () => {
    const record = recordOf(encodeReply({ xid: 1, zxid: 2n, error: -101 }, { kind: "path", path: "/a" }));
    assert.equal(record.length, 16);
  });

  it("answers truncated, changed and random records with its own error", () => {
    fc.assert(
      fc.property(arbitraryRequest, fc.nat(), fc.nat(), fc.nat({ max: 255 }), (request, cut, at, value) => {
        const record = recordOf(encodeRequest(request));
        survive(() => decodeRequest(record.subarray(0, cut % record.length)));
        const changed = Buffer.from(record);
        changed[at % changed.length] = value;
        survive(() => decodeRequest(changed));
      }),
      { numRuns: 1_000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
        survive(() => decodeRequest(Buffer.from(garbage)));
        survive(() => decodeConnectRequest(Buffer.from(garbage)));
      }),
      { numRuns: 1_000 },
    );
  });

  it("believes no list, text or buffer that the record cannot hold", () => {
    for (const count of [-2, -(2 ** 31), 1_000, 2 ** 31 - 1]) {
      const frame = Buffer.alloc(28);
      frame.writeInt32BE(24, 0);
      frame.writeInt32BE(101, 8);
      frame.writeInt32BE(count, 20);
      assert.throws(() => decodeRequest(recordOf(frame)), FrameError);
    }
  });

  it("refuses frames above the limit and of a negative length, before their bytes have come", () => {
    for (const length of [maxJuteBytes + 1, 2 ** 31 - 1, -1, -(2 ** 31)]) {
      const head = Buffer.alloc(4);
      head.writeInt32BE(length);
      assert.throws(() => juteCodec.decode(head, 0, 4, juteCodec.view()), FrameError);
    }
  });
});
