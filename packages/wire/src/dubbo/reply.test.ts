import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readText } from "../hessian/text.ts";
import { frameKind, type ReplyReason } from "../rpc.ts";
import { dubboBytes } from "./arbitrary.ts";
import { dubboCodec } from "./codec.ts";
import type { DubboFrame } from "./frame.ts";
import { readText as readJsonbText } from "./jsonb.ts";

function decoded(bytes: Buffer): DubboFrame {
  const frame = dubboCodec.view();
  assert.equal(dubboCodec.decode(bytes, 0, bytes.length, frame), bytes.length);
  return frame;
}

const request = (serialization: number): DubboFrame =>
  decoded(dubboBytes(0xc0 | serialization, 0, 0xffff_fff0, 0xffff_fff1, Buffer.alloc(3)));

describe("errors in Dubbo", () => {
  it("have the status of their reason and their text in the serialisation of the request", () => {
    const statuses: Readonly<Record<ReplyReason, number>> = {
      "no-provider": 60,
      unreadable: 40,
      timeout: 31,
      unreached: 80,
      unavailable: 80,
      overload: 100,
      denied: 70,
    };
    for (const [reason, status] of Object.entries(statuses) as [ReplyReason, number][]) {
      for (const serialization of [2, 23, 6, 21]) {
        const reply = decoded(dubboCodec.errorReply(request(serialization), reason, "nobody offers é中😀"));
        assert.equal(reply.kind, frameKind.response);
        assert.equal(reply.status, status);
        assert.deepEqual([reply.idHigh, reply.id], [0xffff_fff0, 0xffff_fff1]);
        assert.equal(reply.serialization, serialization === 23 ? 23 : 2);
        const text =
          serialization === 23
            ? readJsonbText(reply.bytes, reply.bodyAt + 4, reply.size)
            : readText(reply.bytes, reply.bodyAt, reply.size);
        assert.equal(text, `${reason === "unreached" ? "[unreached] " : ""}nobody offers é中😀`);
        assert.equal(dubboCodec.unreached(reply), reason === "unreached");
        assert.ok(dubboCodec.failed(reply));
      }
    }
  });

  it("can be made from what a pending request remembers", () => {
    const frame = request(23);
    const { id, idHigh, version, serialization } = frame;
    const pending = { id, idHigh, version, serialization, flags: dubboCodec.replyFlags(frame) };
    assert.deepEqual(dubboCodec.errorReplyTo(pending, "denied", "why"), dubboCodec.errorReply(frame, "denied", "why"));
  });

  it("cut a text that is too long", () => {
    for (const serialization of [2, 23]) {
      assert.ok(dubboCodec.errorReply(request(serialization), "timeout", "中".repeat(100_000)).length < 16 * 1_024);
    }
  });
});

describe("heartbeats in Dubbo", () => {
  it("are the bytes that clients and servers were seen to send", () => {
    assert.equal(dubboCodec.heartbeat(5).toString("hex"), "dabbe2000000000000000005000000014e");
    const hessian = decoded(Buffer.from("dabbe2003e0d8bd510811c6d000000014e", "hex"));
    assert.equal(dubboCodec.heartbeatReply(hessian).toString("hex"), "dabb22143e0d8bd510811c6d000000014e");
    const fastjson2 = decoded(Buffer.from("dabbf7003f029bad3e3de2760000000500000001af", "hex"));
    assert.equal(dubboCodec.heartbeatReply(fastjson2).toString("hex"), "dabb37143f029bad3e3de2760000000500000001af");
  });
});
