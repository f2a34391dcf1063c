import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readGolden } from "../golden.ts";
import { type FrameKind, frameKind } from "../rpc.ts";
import { dubboCodec } from "./codec.ts";
import type { DubboFrame } from "./frame.ts";

const { request, response, heartbeat, heartbeatReply, readOnly } = frameKind;

/** Every frame of the file, decoded and proven to encode as it was. */
function frames(file: string): DubboFrame[] {
  return readGolden(new URL(`golden/${file}`, import.meta.url)).map(({ bytes }) => {
    const frame = dubboCodec.view();
    assert.equal(dubboCodec.decode(bytes, 0, bytes.length, frame), bytes.length);
    assert.deepEqual(dubboCodec.encode(frame), bytes);
    return frame;
  });
}

const summary = (frame: DubboFrame, _: number, [first]: DubboFrame[]): readonly [FrameKind, number, number] => [
  frame.kind,
  frame.id - (first as DubboFrame).id,
  frame.status,
];

/** Four calls and their answers, a slow call, a heartbeat that overtakes its late answer, one more heartbeat. */
const story = [
  ...[0, 1, 2, 3].flatMap((id) => [
    [request, id, 0],
    [response, id, 20],
  ]),
  [request, 4, 0],
  [heartbeat, 5, 0],
  [heartbeatReply, 5, 20],
  [response, 4, 20],
];

describe("recorded Dubbo frames", () => {
  for (const [file, serialization] of [
    ["dubbo-3.3.6.hex", 2],
    ["dubbo-3.3.6-fastjson2.hex", 23],
  ] as const) {
    it(`of ${file} are read`, () => {
      const all = frames(file);
      assert.deepEqual(all.map(summary), story);
      assert.ok(all.every((frame) => frame.serialization === serialization && frame.idHigh !== 0));
      const requests = all.filter((frame) => frame.kind === request);
      assert.deepEqual(requests.map(dubboCodec.method), ["sayHello", "getUser", "echoMap", "boom", "slow"]);
      for (const frame of requests) {
        assert.equal(dubboCodec.service(frame), "fx.Greeter:1.2");
        assert.equal(dubboCodec.group(frame), "blue");
        assert.equal(dubboCodec.header(frame, dubboCodec.applicationHeader), "fx-consumer");
        assert.equal(dubboCodec.header(frame, "timeout"), "3000");
        assert.equal(dubboCodec.header(frame, "nothing"), undefined);
      }
      assert.equal(dubboCodec.header(requests[0] as DubboFrame, "x-trace"), "t0");
      assert.deepEqual(
        all.map((frame) => dubboCodec.failed(frame)),
        story.map(([kind, id]) => kind === response && id === 3),
      );
    });
  }

  it("of Dubbo 2.7.23 without version and group are read", () => {
    const all = frames("dubbo-2.7.23.hex");
    assert.deepEqual(all.map(summary), story);
    for (const frame of all.filter((frame) => frame.kind === request)) {
      assert.equal(dubboCodec.service(frame), "fx.Greeter:");
      assert.equal(dubboCodec.group(frame), undefined);
      assert.equal(dubboCodec.header(frame, "x-trace"), "t0");
      assert.equal(dubboCodec.header(frame, "path"), "fx.Greeter");
    }
  });

  it("of providers that stop say so, in the serialisation of their connection", () => {
    for (const file of [
      "dubbo-3.3.6-stopping.hex",
      "dubbo-3.3.6-fastjson2-stopping.hex",
      "dubbo-2.7.23-stopping.hex",
    ]) {
      const all = frames(file);
      assert.ok(all.length > 0);
      assert.ok(
        all.every((frame) => frame.kind === readOnly),
        file,
      );
    }
  });
});
