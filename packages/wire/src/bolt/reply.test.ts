import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";
import { frameKind, type ReplyReason } from "../rpc.ts";
import { boltBytes } from "./arbitrary.ts";
import { boltCodec } from "./codec.ts";
import { type BoltFrame, boltStatus } from "./frame.ts";

const sofaRequest = "com.alipay.sofa.rpc.core.request.SofaRequest";

function decoded(bytes: Buffer): BoltFrame {
  const frame = boltCodec.view();
  assert.equal(boltCodec.decode(bytes, 0, bytes.length, frame), bytes.length);
  return frame;
}

function request(version: 1 | 2, className: string, command = 1, switches = 1): BoltFrame {
  const nothing = Buffer.alloc(0);
  const shape = {
    version,
    revision: 2,
    type: 1,
    command,
    id: 0xfedc_ba98,
    serialization: 1,
    switches,
    timeout: 1_000,
  } as const;
  return decoded(boltBytes({ ...shape, className, header: nothing, content: nothing }));
}

describe("errors in Bolt", () => {
  it("are a SofaResponse with our text for a SofaRequest, in its version and with a CRC where it had one", () => {
    for (const version of [1, 2] as const) {
      const reply = decoded(
        boltCodec.errorReply(request(version, sofaRequest), "no-provider", "nobody offers fx.Greeter:1.0"),
      );
      assert.equal(reply.kind, frameKind.response);
      assert.equal(reply.id, 0xfedc_ba98);
      assert.equal(reply.version, version);
      assert.equal(reply.status, boltStatus.success);
      const name = reply.bytes.toString("latin1", reply.classAt, reply.headerAt);
      assert.equal(name, "com.alipay.sofa.rpc.core.response.SofaResponse");
      const content = reply.bytes.toString("latin1", reply.contentAt, reply.contentAt + reply.contentLength);
      // Definition with four fields, then an instance: isError true, errorMsg, appResponse null, responseProps null.
      assert.equal(
        content,
        `O\xbe${name}\x94\x07isError\x08errorMsg\x0bappResponse\rresponsePropso\x90TS\0\x1cnobody offers fx.Greeter:1.0NN`,
      );
      assert.equal(reply.crcAt >= 0, version === 2);
      if (version === 2)
        assert.equal(reply.bytes.readUInt32BE(reply.crcAt), crc32(reply.bytes.subarray(0, reply.crcAt)));
    }
  });

  it("say that they are errors, and to another sidecar that the application never saw the request", () => {
    for (const className of [sofaRequest, "fx.User"]) {
      for (const version of [1, 2] as const) {
        for (const reason of ["unreached", "unavailable"] as const) {
          const reply = decoded(boltCodec.errorReply(request(version, className), reason, "why"));
          assert.ok(boltCodec.failed(reply));
          assert.equal(boltCodec.unreached(reply), reason === "unreached");
        }
      }
    }
  });

  it("are a status for a plain Bolt client, with our text in an exception where it makes none of its own", () => {
    const status = (reason: ReplyReason): number =>
      decoded(boltCodec.errorReply(request(2, "fx.User"), reason, "why")).status;
    assert.equal(status("timeout"), boltStatus.timeout);
    assert.equal(status("overload"), boltStatus.threadPoolBusy);
    assert.equal(status("unreadable"), boltStatus.serverException);
    const reply = decoded(boltCodec.errorReply(request(1, "fx.User"), "denied", "why"));
    assert.match(
      reply.bytes.toString("latin1", reply.contentAt),
      /^O\xc84com\.alipay\.remoting\.rpc\.exception\.RpcServerException/,
    );
    assert.ok(boltCodec.failed(reply));
  });

  it("can be made from what a pending request remembers, equal to those from its frame", () => {
    for (const frame of [request(1, sofaRequest), request(2, sofaRequest), request(2, "fx.User", 1, 0)]) {
      const { id, idHigh, version, serialization } = frame;
      const pending = { id, idHigh, version, serialization, flags: boltCodec.replyFlags(frame) };
      assert.deepEqual(boltCodec.errorReplyTo(pending, "denied", "é中"), boltCodec.errorReply(frame, "denied", "é中"));
    }
  });

  it("cut a text that is too long", () => {
    const reply = decoded(boltCodec.errorReply(request(1, sofaRequest), "unavailable", "中".repeat(1_000_000)));
    assert.ok(reply.size < 16 * 1_024);
  });
});

describe("heartbeats in Bolt", () => {
  it("are the bytes that clients and servers were seen to send", () => {
    assert.equal(boltCodec.heartbeat(6).toString("hex"), "01010000010000000601ffffffff0000000000000000");
    const version1 = decoded(Buffer.from("01010000010000000601ffffffff0000000000000000", "hex"));
    assert.equal(boltCodec.heartbeatReply(version1).toString("hex"), "0100000001000000060100000000000000000000");
    const version2 = decoded(Buffer.from("020201000001000000050100ffffffff0000000000000000", "hex"));
    assert.equal(boltCodec.heartbeatReply(version2).toString("hex"), "02020000000100000005010000000000000000000000");
  });
});
