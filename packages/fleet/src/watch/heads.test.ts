import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { arbitraryBolt, boltBytes } from "@dualmesh/wire/bolt/arbitrary";
import { boltCodec } from "@dualmesh/wire/bolt/codec";
import { arbitraryDubbo } from "@dualmesh/wire/dubbo/arbitrary";
import { dubboCodec } from "@dualmesh/wire/dubbo/codec";
import { readGolden } from "@dualmesh/wire/golden";
import { frameKind, type ReplyReason, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import fc from "fast-check";
import { Head, maxHeadBytes, readHead } from "./heads.ts";

const { request, response } = frameKind;

interface Told {
  readonly kind: number;
  readonly id: number;
  readonly service: string | undefined;
  readonly method: string | undefined;
  readonly outcome: string | undefined;
}

/** What is told of a frame when no more of it is there than is asked for. */
function readSparingly(frame: Buffer): { readonly told: Told; readonly looked: number } {
  const head = new Head();
  let there = 1;
  for (let round = 0; round < 8; round++) {
    const size = readHead(frame, 0, there, head);
    if (size > 0) {
      assert.equal(size, frame.length);
      const isRequest = head.kind === request;
      return {
        told: {
          kind: head.kind,
          id: head.id,
          service: isRequest ? head.service : undefined,
          method: isRequest ? head.method : undefined,
          outcome: head.kind === response ? head.outcome : undefined,
        },
        looked: there,
      };
    }
    assert.ok(-size > there && -size <= frame.length, `asks for ${-size} of ${frame.length} bytes with ${there} there`);
    there = -size;
  }
  throw new Error("asks for ever");
}

function golden(file: string): Told[] {
  const folder = file.startsWith("dubbo") ? "dubbo" : "bolt";
  const url = new URL(`../../../wire/src/${folder}/golden/${file}.hex`, import.meta.url);
  return readGolden(url)
    .map(({ bytes }) => readSparingly(bytes).told)
    .filter(({ kind }) => kind === request || kind === response);
}

const outcomes = (told: readonly Told[]): unknown[] =>
  told.filter(({ kind }) => kind === response).map(({ outcome }) => outcome);
const methods = (told: readonly Told[]): unknown[] =>
  told.filter(({ kind }) => kind === request).map(({ service, method }) => `${service}.${method}`);

describe("the head of a frame", () => {
  it("of Dubbo names service and method, and an exception of the application is no failure", () => {
    for (const [file, service] of [
      ["dubbo-3.3.6", "fx.Greeter:1.2"],
      ["dubbo-3.3.6-fastjson2", "fx.Greeter:1.2"],
      ["dubbo-2.7.23", "fx.Greeter:"],
    ] as const) {
      const told = golden(file);
      const names = ["sayHello", "getUser", "echoMap", "boom", "slow"];
      assert.deepEqual(
        methods(told),
        names.map((name) => `${service}.${name}`),
      );
      assert.deepEqual(outcomes(told), ["ok", "ok", "ok", "raised", "ok"]);
    }
  });

  it("of Bolt does so too", () => {
    const sofa = golden("sofa-rpc-5.13.2");
    const names = ["sayHello", "getUser", "echoMap", "boom", "slow"];
    assert.deepEqual(
      methods(sofa),
      names.map((name) => `fx.Greeter:1.0.${name}`),
    );
    assert.deepEqual(outcomes(sofa), ["ok", "ok", "ok", "raised", "ok"]);
    assert.deepEqual(methods(golden("sofa-rpc-5.13.2-unique-id")), ["fx.Greeter:1.0:blue.sayHello"]);
    // npm's server and plain Bolt have a status for what was thrown.
    assert.deepEqual(outcomes(golden("sofa-rpc-node-2.10.0")), ["ok", "failed"]);
    assert.deepEqual(outcomes(golden("bolt-1.6.10-v2-crc")), ["ok", "failed", "failed"]);
  });

  it("of what a sidecar answers in a provider's place says that it failed, whatever the reason", () => {
    const reasons: readonly ReplyReason[] = [
      "no-provider",
      "unreadable",
      "timeout",
      "unreached",
      "unavailable",
      "overload",
      "denied",
    ];
    const requests: readonly (readonly [RpcCodec, string])[] = [
      [dubboCodec, "dubbo/golden/dubbo-3.3.6.hex"],
      [dubboCodec, "dubbo/golden/dubbo-3.3.6-fastjson2.hex"],
      [boltCodec, "bolt/golden/sofa-rpc-5.13.2.hex"],
      [boltCodec, "bolt/golden/bolt-1.6.10-v2-crc.hex"],
    ];
    for (const [codec, file] of requests) {
      const [first] = readGolden(new URL(`../../../wire/src/${file}`, import.meta.url));
      const frame: RpcFrame = codec.view();
      codec.decode(first?.bytes as Buffer, 0, first?.bytes.length ?? 0, frame);
      for (const reason of reasons)
        assert.equal(readSparingly(codec.errorReply(frame, reason, "why")).told.outcome, "failed", `${file} ${reason}`);
    }
  });

  for (const [name, codec, frames] of [
    ["Bolt", boltCodec as RpcCodec, arbitraryBolt],
    ["Dubbo", dubboCodec as RpcCodec, arbitraryDubbo.filter((frame) => ((frame[2] as number) & 0x1f) !== 0)],
  ] as const)
    it(`of ${name} says what the codec says that reads all of the frame, from no more than its beginning`, () => {
      fc.assert(
        fc.property(frames, (frame) => {
          const view = codec.view();
          codec.decode(frame, 0, frame.length, view);
          const { told, looked } = readSparingly(frame);
          assert.ok(looked <= maxHeadBytes);
          if (view.kind !== request && view.kind !== response) return assert.notEqual(told.kind, request);
          assert.equal(told.kind, view.kind);
          assert.equal(told.id, view.id);
          if (view.kind === request) assert.equal(told.service, codec.service(view));
          else assert.equal(told.outcome === "ok", !codec.failed(view));
        }),
        { numRuns: 1_000 },
      );
    });

  it("is not asked for beyond its limit, and a name that stands there is not read", () => {
    const shape = {
      version: 1,
      revision: 1,
      type: 1,
      command: 1,
      id: 7,
      serialization: 1,
      switches: 0,
      timeout: 0,
    } as const;
    const frame = boltBytes({ ...shape, className: "a", header: Buffer.alloc(30_000), content: Buffer.alloc(9) });
    const { told, looked } = readSparingly(frame);
    assert.deepEqual([told.id, told.service, looked], [7, undefined, maxHeadBytes]);
  });

  it("of garbage is none, or asks for no more than its limit", () => {
    const head = new Head();
    const garbage = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc
        .tuple(fc.constantFrom([0xda, 0xbb], [1, 1], [2, 2, 1]), fc.uint8Array({ maxLength: 300 }))
        .map(([start, rest]) => Uint8Array.from([...start, ...rest])),
    );
    fc.assert(
      fc.property(garbage, (bytes) => {
        const size = readHead(Buffer.from(bytes), 0, bytes.length, head);
        assert.ok(size >= 0 || (-size > bytes.length && -size <= maxHeadBytes), `${size} with ${bytes.length}`);
      }),
      { numRuns: 5_000 },
    );
  });
});
