import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readGolden } from "../golden.ts";
import { juteCodec, juteRecord } from "./frame.ts";
import {
  decodeConnectReply,
  decodeEvent,
  decodeReplyBody,
  decodeReplyHead,
  encodeConnectReply,
  encodeReply,
  type ReplyBody,
} from "./reply.ts";
import { decodeConnectRequest, decodeRequest, encodeConnectRequest, encodeRequest, type Request } from "./request.ts";

const recordings = [
  "dubbo-2.7",
  "dubbo-2.7-resumed",
  "dubbo-3.3",
  "dubbo-3.3-resumed",
  "sofa-rpc",
  "node-zookeeper-client",
];

/** The body that answers a request. */
function bodyKind(request: Request): ReplyBody["kind"] {
  switch (request.op) {
    case "create":
      return request.code === 1 ? "path" : "created";
    case "exists":
    case "setData":
      return "stat";
    case "getData":
      return "data";
    case "getChildren":
      return request.code === 8 ? "children" : "children2";
    case "getAcl":
      return "acl";
    case "addWatch":
      return "error";
    default:
      return "none";
  }
}

function recordOf(frame: Buffer): Buffer {
  const view = juteCodec.view();
  assert.equal(juteCodec.decode(frame, 0, frame.length, view), frame.length);
  return juteRecord(view);
}

describe("recorded ZooKeeper conversations", () => {
  for (const recording of recordings) {
    it(`reads and writes every frame of ${recording} as it was`, () => {
      const asked = new Map<number, Request>();
      let clientSpoke = false;
      let serverSpoke = false;
      for (const { from, bytes } of readGolden(new URL(`golden/${recording}.hex`, import.meta.url))) {
        const record = recordOf(bytes);
        if (from === "client" && juteCodec.sniff(bytes) === "yes") {
          clientSpoke = true;
          serverSpoke = false;
          asked.clear();
          assert.deepEqual(encodeConnectRequest(decodeConnectRequest(record)), bytes);
        } else if (from === "client") {
          const request = decodeRequest(record);
          asked.set(request.xid, request);
          assert.deepEqual(encodeRequest(request), bytes);
        } else if (!serverSpoke) {
          assert.ok(clientSpoke);
          serverSpoke = true;
          assert.deepEqual(encodeConnectReply(decodeConnectReply(record)), bytes);
        } else checkReply(record, bytes, asked);
      }
    });
  }
});

function checkReply(record: Buffer, bytes: Buffer, asked: ReadonlyMap<number, Request>): void {
  const { head, body } = decodeReplyHead(record);
  if (head.xid === -1) {
    const event = decodeEvent(body);
    assert.equal(body.left, 0);
    assert.ok(event.path.startsWith("/"));
    return;
  }
  const request = asked.get(head.xid);
  assert.ok(request !== undefined, `reply ${head.xid} answers a request`);
  if (request.op === "unknown") return; // a transaction, which is not understood
  const read = head.error === 0 ? decodeReplyBody(bodyKind(request), body) : undefined;
  assert.equal(body.left, 0);
  assert.deepEqual(encodeReply(head, read), bytes);
}
