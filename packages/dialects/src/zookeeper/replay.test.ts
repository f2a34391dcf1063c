import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readGolden } from "@dualmesh/wire/golden";
import { juteCodec, juteRecord } from "@dualmesh/wire/jute/frame";
import { decodeReplyBody, decodeReplyHead, type ReplyBody } from "@dualmesh/wire/jute/reply";
import { decodeRequest, type Request } from "@dualmesh/wire/jute/request";
import { DoorFixture } from "../testing/door-fixture.ts";

interface Recorded {
  readonly request: Request;
  error: number;
  children: readonly string[] | undefined;
}

/** What the real server said to each request of each connection of a recording. */
function conversations(recording: string): Recorded[][] {
  const all: Recorded[][] = [];
  let isNew = false;
  for (const { from, bytes } of readGolden(
    new URL(`../../../wire/src/jute/golden/${recording}.hex`, import.meta.url),
  )) {
    const view = juteCodec.view();
    juteCodec.decode(bytes, 0, bytes.length, view);
    const record = juteRecord(view);
    if (from === "client") {
      if (juteCodec.sniff(bytes) === "yes") {
        all.push([]);
        isNew = true;
      } else all.at(-1)?.push({ request: decodeRequest(record), error: 0, children: undefined });
    } else if (isNew) isNew = false;
    else {
      const { head, body } = decodeReplyHead(record);
      const asked = all.at(-1)?.find((recorded) => recorded.request.xid === head.xid);
      if (asked === undefined) continue;
      asked.error = head.error;
      if (asked.request.op !== "getChildren" || head.error !== 0) continue;
      const read = decodeReplyBody(asked.request.code === 12 ? "children2" : "children", body);
      if ("children" in read) asked.children = read.children;
    }
  }
  return all;
}

function kindOf(request: Request): ReplyBody["kind"] {
  if (request.op === "create") return request.code === 1 ? "path" : "created";
  if (request.op === "getChildren") return request.code === 12 ? "children2" : "children";
  if (request.op === "getData") return "data";
  if (request.op === "getAcl") return "acl";
  if (request.op === "addWatch") return "error";
  return request.op === "exists" || request.op === "setData" ? "stat" : "none";
}

/**
 * Where the door differs from a real server on purpose: folders exist by themselves, what was written at application level is
 * another session's own, sequential nodes and transactions are refused.
 */
const differences = [
  /^exists \/(dubbo|services|sofa-rpc)(\/[^/]+(\/[a-z]+)?)? -101>0$/,
  /^create \/(dubbo|services|sofa-rpc)(\/[^/]+(\/[a-z]+)?)? 0>-110$/,
  /^create \/(services\/|sofa-rpc\/[^/]+\/(providers|consumers)\/|dubbo\/metadata\/).* (-101>0|0>-110)$/,
  /^(exists|getData|getChildren|checkWatches) \/(services|dubbo\/(mapping|metadata|config))(\/.*)? 0>(-101|-121)$/,
  /^create \/dubbo\/(mapping|metadata|config|services)(\/.*)? 0>-110$/,
  /^create \/services\/.* 0>-110$/,
  /^exists \/services\/.* -101>0$/,
  /^create \/sofa-rpc\/fx\.N\/providers\/seq 0>-6$/,
  /^unknown {2}0>-6$/,
];

describe("recorded applications at the ZooKeeper door", () => {
  for (const recording of ["dubbo-2.7", "dubbo-3.3", "sofa-rpc", "node-zookeeper-client"]) {
    it(`hear from the door what ${recording} heard from a real server`, async () => {
      const fixture = await DoorFixture.open();
      const strange: string[] = [];
      let lists = 0;
      for (const conversation of conversations(recording)) {
        const client = await fixture.client();
        for (const { request, error, children } of conversation) {
          // Recorded one after the other, the first ones must stay for the later ones.
          if (request.op === "closeSession" || request.op === "delete") continue;
          const { xid: _, ...body } = request;
          const xid = client.send(body, kindOf(request));
          await fixture.settle();
          const said = client.error(xid);
          const path = "path" in request ? request.path : "";
          const difference = `${request.op} ${path} ${error}>${said}`;
          if (said !== error && !differences.some((known) => known.test(difference))) strange.push(difference);
          if (
            children === undefined ||
            children.length === 0 ||
            !path.endsWith("/providers") ||
            recording.startsWith("node")
          )
            continue;
          lists += 1;
          assert.deepEqual(client.children(xid), [...children].sort());
        }
      }
      assert.deepEqual(strange, []);
      assert.ok(lists > 0 || recording.startsWith("node"), "a consumer saw the provider");
      assert.equal(fixture.directory.instances().length, 1);
    });
  }
});
