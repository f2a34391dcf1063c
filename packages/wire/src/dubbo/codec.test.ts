import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { FrameError } from "../codec.ts";
import { arbitraryHessian, hessianInt, hessianText } from "../hessian/arbitrary.ts";
import { frameLaws } from "../laws.ts";
import { frameKind } from "../rpc.ts";
import {
  arbitraryCall,
  arbitraryDubbo,
  type Call,
  dubboBytes,
  hessianCall,
  item,
  jsonbCall,
  jsonbText,
} from "./arbitrary.ts";
import { dubboCodec } from "./codec.ts";
import type { DubboFrame } from "./frame.ts";

frameLaws("Dubbo", dubboCodec, arbitraryDubbo, { look });

function look(frame: DubboFrame): void {
  dubboCodec.service(frame);
  dubboCodec.method(frame);
  dubboCodec.group(frame);
  dubboCodec.header(frame, "timeout");
  dubboCodec.failed(frame);
}

function decoded(bytes: Buffer): DubboFrame {
  const frame = dubboCodec.view();
  assert.equal(dubboCodec.decode(bytes, 0, bytes.length, frame), bytes.length);
  return frame;
}

const call: Call = {
  path: "fx.Greeter",
  version: "0.0.0",
  method: "sayHello",
  attachments: [
    ["path", "fx.Greeter"],
    ["group", "blue"],
    ["timeout", "3000"],
  ],
};

const hessian = (body: Buffer, flags = 0xc2): DubboFrame => decoded(dubboBytes(flags, 0, 0, 1, body));
const fastjson2 = (body: Buffer, flags = 0xd7): DubboFrame => decoded(dubboBytes(flags, 0, 0, 1, body));

describe("the head of a Dubbo request", () => {
  it("gives service, method, group and attachments in both serialisations, behind any arguments", () => {
    fc.assert(
      fc.property(arbitraryCall, fc.array(arbitraryHessian, { maxLength: 4 }), fc.string(), (asked, args, key) => {
        const expected = new Map(asked.attachments);
        const json = args.map((arg) => Buffer.from(arg)); // what is inside an argument does not matter: its item has a length
        for (const frame of [hessian(hessianCall(asked, args)), fastjson2(jsonbCall(asked, json))]) {
          const { path, version, method } = asked;
          assert.equal(dubboCodec.service(frame), `${path}:${version === null || version === "0.0.0" ? "" : version}`);
          assert.equal(dubboCodec.method(frame), method);
          assert.equal(dubboCodec.group(frame), expected.get("group"));
          assert.equal(dubboCodec.header(frame, key), expected.get(key));
          for (const name of expected.keys()) assert.equal(dubboCodec.header(frame, name), expected.get(name));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("is read for oneways too, and not for responses and events", () => {
    const body = hessianCall(call);
    assert.equal(dubboCodec.service(hessian(body, 0x82)), "fx.Greeter:");
    for (const flags of [0x02, 0xe2, 0x22]) {
      const frame = hessian(body, flags);
      assert.equal(dubboCodec.service(frame), undefined);
      assert.equal(dubboCodec.method(frame), undefined);
      assert.equal(dubboCodec.group(frame), undefined);
    }
  });

  it("is unknown in a serialisation that cannot be read", () => {
    const frame = hessian(Buffer.from('"2.0.2"\n"fx.Greeter"\n"0.0.0"\n'), 0xc6);
    assert.equal(dubboCodec.service(frame), undefined);
    assert.equal(dubboCodec.group(frame), undefined);
  });

  it("is read by each frame's own bits, with views in turn", () => {
    const first = hessian(hessianCall(call));
    const second = fastjson2(jsonbCall({ ...call, version: "1.2", attachments: [["group", "green"]] }));
    const third = hessian(hessianCall({ ...call, attachments: [["group", "red"]] }));
    for (let round = 0; round < 3; round++) {
      assert.equal(dubboCodec.group(first), "blue");
      assert.equal(dubboCodec.group(second), "green");
      assert.equal(dubboCodec.group(third), "red");
      assert.equal(dubboCodec.service(second), "fx.Greeter:1.2");
      assert.equal(dubboCodec.service(first), "fx.Greeter:");
    }
  });

  it("finds attachments behind one whose class was defined among the arguments", () => {
    const definition = Buffer.concat([Buffer.from("C"), hessianText("fx.A"), hessianInt(1), hessianText("x")]);
    const object = Buffer.concat([Buffer.from([0x60]), hessianText("value")]);
    const head = [
      hessianText("2.0.2"),
      hessianText("p"),
      hessianText("0.0.0"),
      hessianText("m"),
      hessianText("Lfx/A;"),
    ];
    const other = Buffer.concat([Buffer.from("C"), hessianText("fx.B"), hessianInt(0), Buffer.from([0x61])]);
    const map = [
      Buffer.from("H"),
      hessianText("a"),
      object,
      hessianText("b"),
      other,
      hessianText("group"),
      hessianText("blue"),
      Buffer.from("Z"),
    ];
    const frame = hessian(Buffer.concat([...head, definition, object, ...map]));
    const between = hessian(hessianCall(call));
    for (let round = 0; round < 3; round++) {
      assert.equal(dubboCodec.group(frame), "blue");
      assert.equal(dubboCodec.group(between), "blue");
    }
  });

  it("is unknown when the arguments cannot be stepped over, and service and method are still read", () => {
    const broken = Buffer.concat([hessianCall(call, [Buffer.alloc(100_000, 0x79)])]);
    const frame = hessian(broken);
    assert.equal(dubboCodec.group(frame), undefined);
    assert.equal(dubboCodec.service(frame), "fx.Greeter:");
    assert.equal(dubboCodec.method(frame), "sayHello");
  });

  it("is unknown when lengths of fastjson2 items are hostile", () => {
    for (const length of [-1, 0x7fff_ffff, 10_000]) {
      for (let nth = 0; nth < 6; nth++) {
        const body = jsonbCall(call);
        let at = 0;
        for (let skipped = 0; skipped < nth; skipped++) at += 4 + body.readInt32BE(at);
        body.writeInt32BE(length, at);
        const frame = fastjson2(body);
        assert.equal(dubboCodec.group(frame), undefined);
        if (nth < 3) assert.equal(dubboCodec.service(frame), undefined);
      }
    }
  });
});

describe("the kinds of Dubbo frames", () => {
  const kind = (flags: number, body: Buffer): number => decoded(dubboBytes(flags, 20, 0, 1, body)).kind;
  it("are told by flags, and events by their data in the frame's own serialisation", () => {
    assert.equal(kind(0xc2, hessianCall(call)), frameKind.request);
    assert.equal(kind(0x82, hessianCall(call)), frameKind.oneway);
    assert.equal(kind(0x02, Buffer.from("\x92")), frameKind.response);
    assert.equal(kind(0xe2, Buffer.from("N")), frameKind.heartbeat);
    assert.equal(kind(0x22, Buffer.from("N")), frameKind.heartbeatReply);
    assert.equal(kind(0xf7, item(Buffer.from([0xaf]))), frameKind.heartbeat);
    assert.equal(kind(0x37, item(Buffer.from([0xaf]))), frameKind.heartbeatReply);
    assert.equal(kind(0xa2, Buffer.from("\x01R")), frameKind.readOnly);
    assert.equal(kind(0xb7, item(jsonbText("R"))), frameKind.readOnly);
    assert.equal(kind(0xa2, Buffer.from("\x01W")), frameKind.event);
    assert.equal(kind(0xb7, item(jsonbText("W"))), frameKind.event);
    assert.equal(kind(0xe6, Buffer.from("null\n")), frameKind.heartbeat);
    assert.equal(kind(0xa6, Buffer.from('"R"\n')), frameKind.event);
  });

  it("have a status only as responses, and one of failure or an exception counts as failed", () => {
    const failed = (flags: number, status: number, body: Buffer): boolean =>
      dubboCodec.failed(decoded(dubboBytes(flags, status, 0, 1, body)));
    assert.equal(decoded(dubboBytes(0xc2, 77, 0, 1, hessianCall(call))).status, 0);
    for (const status of [30, 31, 40, 50, 60, 70, 80, 90, 100]) assert.ok(failed(0x02, status, hessianText("no")));
    for (const [value, expected] of [
      [0x90, true],
      [0x91, false],
      [0x92, false],
      [0x93, true],
      [0x94, false],
      [0x95, false],
    ] as const) {
      assert.equal(failed(0x02, 20, Buffer.from([value, 0x4e])), expected);
      assert.equal(failed(0x17, 20, item(Buffer.from([0xbd, value - 0x90]))), expected);
    }
    assert.equal(failed(0x02, 20, Buffer.alloc(0)), false);
    assert.equal(failed(0xc2, 60, hessianCall(call)), false);
  });
});

describe("a Dubbo frame", () => {
  it("is refused for a wrong magic number, a negative length or one beyond the limit, before its body is there", () => {
    const negative = dubboBytes(0xc2, 0, 0, 1, Buffer.alloc(0));
    negative.writeInt32BE(-1, 12);
    const large = dubboBytes(0xc2, 0, 0, 1, Buffer.alloc(0));
    large.writeInt32BE(8 * 1_024 * 1_024 - 15, 12);
    for (const bytes of [negative, large, Buffer.from([0xdb]), Buffer.from([0xda, 0xbc])]) {
      assert.throws(() => dubboCodec.decode(bytes, 0, bytes.length, dubboCodec.view()), FrameError);
    }
  });

  it("gets a new id of 64 bits and nothing else changes", () => {
    const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
    fc.assert(
      fc.property(arbitraryDubbo, uint32, uint32, (bytes, idHigh, id) => {
        const changed = Buffer.from(bytes);
        dubboCodec.rewriteId(changed, 0, changed.length, idHigh, id);
        const frame = decoded(changed);
        assert.deepEqual([frame.idHigh, frame.id], [idHigh, id]);
        const old = decoded(bytes);
        dubboCodec.rewriteId(changed, 0, changed.length, old.idHigh, old.id);
        assert.deepEqual(changed, bytes);
      }),
    );
  });
});
