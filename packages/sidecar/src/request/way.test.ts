/** The seam of docs/adr/0003: a protocol of another shape is a way of its own, beside those of whole frames, on the same port. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteBudget } from "@dualmesh/base/byte-budget";
import { systemClock } from "@dualmesh/base/clock";
import { seededRandom } from "@dualmesh/base/random";
import { sniffHttp1 } from "@dualmesh/wire/http1/sniff";
import { rpcCodecs } from "@dualmesh/wire/protocols";
import { DataMetrics } from "../metrics.ts";
import type { Transport } from "../transport/transport.ts";
import { Pools } from "../upstream/pools.ts";
import { Downstream, type DownstreamContext } from "./downstream.ts";
import { frameProtocol } from "./frame-way.ts";
import { isObstacle } from "./moving.ts";
import { Routing } from "./routes.ts";
import { boltRequest, codecOf, testLimits } from "./testing.ts";
import { type CarriedProtocol, recognise, type Way } from "./way.ts";

/** Lines of text: read as they come, never whole, told from Bolt by their first letter. */
function linesProtocol(told: string[]): CarriedProtocol {
  const way: Way = {
    protocol: "lines",
    heldBytes: 0,
    onBytes: (bytes, size) => void told.push(bytes.toString("latin1", 0, size)),
    onDrain: () => void told.push("drain"),
    onEnd: () => told.push("end") === 0,
    onClose: () => void told.push("close"),
    farewell: () => void told.push("farewell"),
    freeze: () => "exchange",
    thaw: () => {},
    surrender: () => {},
    inherit: () => {},
  };
  const sniff = (head: Uint8Array) => (head.length < 2 ? "more" : head[0] === 0x47 ? "yes" : "no");
  return { protocol: "lines", sniff, open: () => way };
}

class World {
  readonly metrics: DataMetrics = new DataMetrics();
  readonly taken: number[] = [];
  readonly told: string[] = [];
  readonly downstream: Downstream;
  gone = 0;

  constructor() {
    const { metrics } = this;
    const partialFrames = new ByteBudget(1 << 20);
    const frames = frameProtocol(codecOf("bolt"), {
      ...{ metrics, limits: testLimits, partialFrames },
      take: (_caller, frame) => void this.taken.push(frame.id),
    });
    const context: DownstreamContext = {
      ...{ metrics, limits: testLimits, now: () => 0 },
      protocols: [frames, linesProtocol(this.told)],
      gone: () => void this.gone++,
    };
    const transport = {
      destroy: (reason: string) => this.downstream.onClose(reason),
      ...{ descriptor: 42, freeze: () => true, letGo: () => {} },
    } as unknown as Transport;
    this.downstream = new Downstream(transport, "outbound", emptyTable(metrics, partialFrames), context);
  }

  get protocol(): string {
    return this.downstream.way?.protocol ?? "none";
  }

  hears(bytes: Buffer): void {
    this.downstream.onBytes(Buffer.from(bytes), bytes.length);
  }
}

function emptyTable(metrics: DataMetrics, partialFrames: ByteBudget) {
  const clock = systemClock;
  const nobody = { answered() {}, sent() {}, lost() {}, notSent() {}, refused() {} };
  const events = { goingAway() {}, connectionLost() {} };
  const pools = new Pools({
    ...{ clock, metrics, limits: testLimits, partialFrames, held: partialFrames, owner: nobody, events },
    ...{ codecOf, firstId: () => 1 },
  });
  return new Routing({ clock, random: seededRandom(1), metrics, pools }).outbound;
}

test("the first bytes choose the way, and it is told everything from them on", () => {
  const world = new World();
  world.hears(Buffer.from("G"));
  assert.equal(world.protocol, "none", "one letter does not tell yet");
  world.hears(Buffer.from("ET /"));
  world.hears(Buffer.from("path"));
  world.downstream.onDrain();
  world.downstream.onPeerEnd();
  world.downstream.way?.farewell();
  world.downstream.onClose("");
  assert.deepEqual(world.told, ["GET /", "path", "drain", "end", "farewell", "close"]);
  assert.equal(world.gone, 1);
});

test("frames on the same port go their own way", () => {
  const world = new World();
  world.hears(boltRequest({ id: 7 }));
  world.hears(Buffer.concat([boltRequest({ id: 8 }), boltRequest({ id: 9 })]));
  assert.deepEqual(world.taken, [7, 8, 9]);
  assert.equal(world.protocol, "bolt");
});

test("first bytes of no protocol that is carried close the connection", () => {
  const world = new World();
  world.hears(Buffer.from("SSH-2.0"));
  assert.ok(world.downstream.closed);
  assert.equal(world.metrics.eventCount("unknown_protocol"), 1);
});

test("a connection that is given away takes the bytes of its partial frame along, or those that did not tell its protocol yet", () => {
  const frame = boltRequest({ id: 1 });
  const world = new World();
  world.hears(Buffer.concat([frame, frame.subarray(0, 30)]));
  const frozen = world.downstream.freeze();
  assert.ok(!isObstacle(frozen));
  assert.deepEqual(frozen.descriptors, [42]);
  assert.deepEqual(frozen.state.residual, frame.subarray(0, 30));
  world.downstream.surrender(() => {});
  assert.deepEqual([world.downstream.closed, world.gone], [true, 1]);

  const young = new World();
  young.hears(frame.subarray(0, 1));
  const undecided = young.downstream.freeze();
  assert.ok(!isObstacle(undecided));
  assert.deepEqual(undecided.state.residual, frame.subarray(0, 1));
});

test("however the first bytes are split, the protocol is the same once it is told, and little is asked for", () => {
  const open = (): never => assert.fail("only asked");
  const carried = [...rpcCodecs, { protocol: "http", sniff: sniffHttp1 }].map((one) => ({ ...one, open }));
  const beginnings = [
    ["bolt", Buffer.from("0101000101", "hex")],
    ["bolt", Buffer.from("0202010001", "hex")],
    ["dubbo", Buffer.from("dabbc200", "hex")],
    ["http", Buffer.from("GET / HTTP/1.1\r\n")],
    ["http", Buffer.from("PROPFIND /echo HTTP/1.1\r\n")],
  ] as const;
  for (const [protocol, bytes] of beginnings) {
    const told = Array.from(bytes, (_, size) => recognise(carried, bytes.subarray(0, size + 1)));
    const known = told.findIndex((one) => one !== "more");
    for (const one of told.slice(known)) assert.equal((one as CarriedProtocol).protocol, protocol);
  }
  for (const text of ["\x16\x03\x01\x02\0", "\0\0\0\0", "(HELO)"])
    assert.equal(recognise(carried, Buffer.from(text, "latin1")), undefined);
  for (let first = 0; first < 256; first++)
    assert.notEqual(recognise(carried, Buffer.alloc(32, first)), "more", `32 bytes of ${first} are enough`);
});
