import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";
import { readGolden } from "../golden.ts";
import { type FrameKind, frameKind } from "../rpc.ts";
import { boltCodec } from "./codec.ts";
import type { BoltFrame } from "./frame.ts";

const { request, oneway, response, heartbeat, heartbeatReply } = frameKind;

/** Every frame of the file, decoded and proven to encode as it was. */
function frames(file: string): BoltFrame[] {
  return readGolden(new URL(`golden/${file}`, import.meta.url)).map(({ bytes }) => {
    const frame = boltCodec.view();
    assert.equal(boltCodec.decode(bytes, 0, bytes.length, frame), bytes.length);
    assert.deepEqual(boltCodec.encode(frame), bytes);
    return frame;
  });
}

const summary = (frame: BoltFrame): readonly [FrameKind, number, number, number] => [
  frame.kind,
  frame.id,
  frame.status,
  frame.timeoutMs,
];

describe("recorded Bolt frames", () => {
  it("of SOFA-RPC 5.13.2 are read", () => {
    const all = frames("sofa-rpc-5.13.2.hex");
    assert.deepEqual(all.map(summary), [
      ...[1, 2, 3, 4, 5].flatMap((id) => [
        [request, id, 0, 3_000],
        [response, id, 0, 0],
      ]),
      [heartbeat, 6, 0, 0],
      [heartbeatReply, 6, 0, 0],
    ]);
    const requests = all.filter((frame) => frame.kind === request);
    assert.deepEqual(requests.map(boltCodec.method), ["sayHello", "getUser", "echoMap", "boom", "slow"]);
    for (const frame of requests) {
      assert.equal(boltCodec.service(frame), "fx.Greeter:1.0");
      assert.equal(boltCodec.header(frame, boltCodec.applicationHeader), "fx-sofa-consumer");
      assert.equal(boltCodec.header(frame, "rpc_req_baggage.x-trace"), "t0");
      assert.equal(boltCodec.header(frame, "rpc_trace_context.sysPenAttrs"), "");
      assert.equal(frame.version, 1);
      assert.equal(frame.serialization, 1);
    }
    const failed = all.filter((frame) => boltCodec.failed(frame)).map((frame) => [frame.kind, frame.id]);
    assert.deepEqual(failed, [[response, 4]]);
  });

  it("of SOFA-RPC with a uniqueId name it in the service", () => {
    assert.equal(boltCodec.service(frames("sofa-rpc-5.13.2-unique-id.hex")[0] as BoltFrame), "fx.Greeter:1.0:blue");
  });

  it("of npm's sofa-rpc-node are read", () => {
    const all = frames("sofa-rpc-node-2.10.0.hex");
    assert.deepEqual(all.map(summary), [
      [request, 1, 0, 3_000],
      [response, 1, 0, 0],
      [request, 2, 0, 3_000],
      [response, 2, 2, 0],
    ]);
    assert.equal(boltCodec.service(all[0] as BoltFrame), "fx.Greeter:1.0");
    assert.equal(boltCodec.method(all[0] as BoltFrame), undefined, "this client puts the method into the body only");
    assert.ok(boltCodec.failed(all[3] as BoltFrame));
  });

  it("of Bolt 1.6.10 in v2 have a CRC where their own switch says so, and keep it right under a new id", () => {
    const all = frames("bolt-1.6.10-v2-crc.hex");
    assert.deepEqual(all.map(summary), [
      [request, 1, 0, 3_000],
      [response, 1, 0, 0],
      [request, 2, 0, 3_000],
      [response, 2, 2, 0],
      [oneway, 3, 0, 0],
      [request, 4, 0, 3_000],
      [response, 4, 2, 0],
      [heartbeat, 5, 0, 0],
      [heartbeatReply, 5, 0, 0],
    ]);
    assert.deepEqual(
      all.map((frame) => frame.crcAt >= 0),
      [true, true, true, false, true, true, false, false, false],
    );
    for (const frame of all) {
      assert.equal(frame.version, 2);
      const sums = (): boolean => frame.bytes.readUInt32BE(frame.crcAt) === crc32(frame.bytes.subarray(0, frame.crcAt));
      if (frame.crcAt >= 0) assert.ok(sums());
      boltCodec.rewriteId(frame.bytes, 0, frame.size, 0, 0xdead_beef);
      if (frame.crcAt >= 0) assert.ok(sums());
    }
    assert.ok(frames("bolt-1.6.10-v2-no-crc.hex").every((frame) => frame.crcAt < 0));
  });

  it("tell the libraries apart that wrote them, whatever they ask for", () => {
    const writers = (file: string): ReadonlySet<number> =>
      new Set(
        frames(file)
          .filter(({ kind }) => kind === request)
          .map((frame) => boltCodec.writer(frame)),
      );
    const [java, node] = [writers("sofa-rpc-5.13.2.hex"), writers("sofa-rpc-node-2.10.0.hex")];
    assert.equal(java.size, 1);
    assert.equal(node.size, 1);
    assert.notDeepEqual(java, node);
    assert.deepEqual(writers("sofa-rpc-5.13.2-unique-id.hex"), java);
  });
});
