import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { boltBytes, headerMap } from "@dualmesh/wire/bolt/arbitrary";
import { dubboBytes, hessianCall } from "@dualmesh/wire/dubbo/arbitrary";
import { hessianText } from "@dualmesh/wire/hessian/arbitrary";
import fc from "fast-check";
import { type CallConnection, type CallListener, Calls, callLimits } from "./calls.ts";
import { maxPending, patienceMs } from "./conversation.ts";
import { maxEarlyMs } from "./head-stream.ts";
import type { Outcome } from "./heads.ts";
import { PcapReader } from "./pcap.ts";
import { readSegment, Segment, tcpFlag } from "./segments.ts";
import { pcapFile, TestConnection, type TestPacket } from "./testing.ts";

const server = { host: "10.0.0.5", port: 20_880 };
const client = { host: "10.0.0.9", port: 40_000 };

interface Ended {
  readonly name: string;
  readonly ms: number;
  readonly outcome: Outcome;
}

/** Keeps what it is told, and sees that nothing ends that has not begun. */
class Told implements CallListener<string> {
  readonly calls: Ended[] = [];
  readonly underWay = new Map<string, number>();
  forgot = 0;
  losses = 0;

  find(_: CallConnection, service: string | undefined, method: string | undefined): string {
    return `${service} ${method}`;
  }

  began(name: string): void {
    this.underWay.set(name, (this.underWay.get(name) ?? 0) + 1);
  }

  ended(name: string, _: number, ms: number, outcome: Outcome): void {
    this.#over(name);
    this.calls.push({ name, ms, outcome });
  }

  forgotten(name: string): void {
    this.#over(name);
    this.forgot++;
  }

  lost(): void {
    this.losses++;
  }

  get open(): number {
    return [...this.underWay.values()].reduce((sum, count) => sum + count, 0);
  }

  get sorted(): readonly Ended[] {
    return [...this.calls].sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  #over(name: string): void {
    const left = (this.underWay.get(name) ?? 0) - 1;
    assert.ok(left >= 0, `${name} ended without having begun`);
    this.underWay.set(name, left);
  }
}

function watching(): {
  readonly told: Told;
  readonly calls: Calls<string>;
  readonly show: (packets: readonly TestPacket[]) => void;
} {
  const told = new Told();
  const calls = new Calls(told, [server, { host: "127.0.0.1", port: 20_882 }]);
  const segment = new Segment();
  const show = (packets: readonly TestPacket[]): void => {
    const reader = new PcapReader((packet) => {
      if (readSegment(packet, segment)) calls.read(segment);
    });
    reader.read(pcapFile(packets));
  };
  return { told, calls, show };
}

type Protocol = "bolt" | "dubbo";

function requestFrame(protocol: Protocol, id: number, method: string, bodyBytes = 10): Buffer {
  if (protocol === "dubbo") {
    const call = { path: "fx.Greeter", version: "1.2", method, attachments: [["group", "blue"]] as const };
    return dubboBytes(0xc2, 0, 7, id, hessianCall(call, [hessianText("x".repeat(bodyBytes))]));
  }
  const header = headerMap([
    ["service", "fx.Greeter:1.0"],
    ["sofa_head_method_name", method],
  ]);
  return boltBytes({ ...boltShape, type: 1, command: 1, id, header, content: Buffer.alloc(bodyBytes, 1) });
}

function replyFrame(protocol: Protocol, id: number, isGood = true, bodyBytes = 10): Buffer {
  const body = Buffer.concat([Buffer.from([0x91]), Buffer.alloc(bodyBytes, 0x4e)]);
  if (protocol === "dubbo") return dubboBytes(0x02, isGood ? 20 : 80, 7, id, body);
  return boltBytes({
    ...boltShape,
    type: 0,
    command: 2,
    id,
    timeout: isGood ? 0 : 2,
    header: Buffer.alloc(0),
    content: body,
  });
}

const boltShape = {
  version: 2,
  revision: 2,
  serialization: 1,
  switches: 1,
  timeout: 3_000,
  className: "com.alipay.sofa.rpc.core.request.SofaRequest",
} as const;

function heartbeat(protocol: Protocol, id: number): Buffer {
  if (protocol === "dubbo") return dubboBytes(0xe2, 0, 7, id, Buffer.from("N"));
  return boltBytes({
    ...boltShape,
    type: 1,
    command: 0,
    id,
    className: "",
    header: Buffer.alloc(0),
    content: Buffer.alloc(0),
  });
}

function oneway(protocol: Protocol, id: number): Buffer {
  const frame = Buffer.from(requestFrame(protocol, id, "tell"));
  if (protocol === "dubbo") frame[2] = 0x82;
  else frame[2] = 2;
  return frame;
}

/** Bytes in pieces at these places. */
function cut(bytes: Buffer, places: readonly number[]): readonly Buffer[] {
  const sorted = [...new Set(places.map((place) => place % bytes.length))]
    .filter((place) => place > 0)
    .sort((a, b) => a - b);
  return [0, ...sorted].map((from, index) => bytes.subarray(from, sorted[index] ?? bytes.length));
}

/** In an order near their own: each moves by at most so many places. */
function shuffled<T>(items: readonly T[], keys: readonly number[], window: number): readonly T[] {
  return items
    .map((item, index) => ({ item, key: index + ((keys[index % keys.length] ?? 0) % window) }))
    .sort((one, other) => one.key - other.key)
    .map(({ item }) => item);
}

interface Round {
  readonly calls: readonly { readonly isGood: boolean; readonly bodyBytes: number; readonly replyBytes: number }[];
  readonly places: readonly number[];
  readonly keys: readonly number[];
  readonly doubled: readonly number[];
}

const rounds: fc.Arbitrary<readonly Round[]> = fc.array(
  fc.record({
    calls: fc.array(
      fc.record({
        isGood: fc.boolean(),
        bodyBytes: fc.integer({ min: 1, max: 900 }),
        replyBytes: fc.nat({ max: 3_000 }),
      }),
      { minLength: 1, maxLength: 6 },
    ),
    places: fc.array(fc.nat(), { maxLength: 12 }),
    keys: fc.array(fc.nat({ max: 100 }), { minLength: 1, maxLength: 12 }),
    doubled: fc.array(fc.nat({ max: 40 }), { maxLength: 6 }),
  }),
  { minLength: 1, maxLength: 4 },
);

describe("calls as they pass", () => {
  for (const protocol of ["bolt", "dubbo"] as const)
    it(`of ${protocol} are the same however their bytes are cut, doubled and overtake each other`, () => {
      const starts = fc.tuple(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(0xffff_ff80, 0x7fff_ff00, 3));
      fc.assert(
        fc.property(rounds, starts, fc.boolean(), (all, sequences, isSeenFromStart) => {
          const { told, calls, show } = watching();
          const connection = new TestConnection(client, server, sequences);
          const opening = connection.handshake(1_000);
          if (isSeenFromStart) show(opening);
          // In the middle of a connection the first packet must begin with a frame.
          else
            show([
              connection.request(heartbeat(protocol, 9_999), 1_000),
              connection.reply(replyFrame(protocol, 9_998), 1_000),
            ]);
          const expected: Ended[] = [];
          let atMs = 2_000;
          let id = 0;
          for (const { calls: made, places, keys, doubled } of all) {
            const first = id;
            const requests = made.map(({ bodyBytes }) =>
              requestFrame(protocol, id, `m${String(id++).padStart(3, "0")}`, bodyBytes),
            );
            const replies = made.map(({ isGood, replyBytes }, index) =>
              replyFrame(protocol, first + index, isGood, replyBytes),
            );
            const pass = (frames: readonly Buffer[], say: (bytes: Buffer, at: number) => TestPacket): void => {
              const bytes = Buffer.concat([...frames, heartbeat(protocol, 5_000), oneway(protocol, 6_000)]);
              const packets = cut(bytes, places).map((piece) => say(piece, atMs));
              const twice = packets.flatMap((packet, index) => (doubled.includes(index) ? [packet, packet] : [packet]));
              show(shuffled(twice, keys, 16));
            };
            pass(requests, (bytes, at) => connection.request(bytes, at));
            atMs += 10;
            pass(replies, (bytes, at) => connection.reply(bytes, at));
            atMs += 10;
            for (const [index, { isGood }] of made.entries()) {
              const service = protocol === "dubbo" ? "fx.Greeter:1.2" : "fx.Greeter:1.0";
              expected.push({
                name: `${service} m${String(first + index).padStart(3, "0")}`,
                ms: 10,
                outcome: isGood ? "ok" : "failed",
              });
            }
          }
          assert.deepEqual(told.sorted, expected);
          assert.deepEqual([told.open, told.losses, calls.pending, calls.earlyBytes], [0, 0, 0, 0]);
        }),
        { numRuns: 300 },
      );
    });

  it("are forgotten, not failed, when packets are missing, and are seen again after them", () => {
    for (const protocol of ["bolt", "dubbo"] as const) {
      const { told, calls, show } = watching();
      const connection = new TestConnection(client, server);
      show(connection.handshake(0));
      show([
        connection.request(requestFrame(protocol, 1, "a"), 10),
        connection.request(requestFrame(protocol, 2, "b"), 10),
      ]);
      const lost = connection.reply(replyFrame(protocol, 1), 20);
      assert.ok(lost.payload !== undefined);
      show([connection.reply(replyFrame(protocol, 2), 20)]);
      // The next one begins with a frame, and so late that the one before will not come any more.
      show([
        connection.request(requestFrame(protocol, 3, "c"), 30),
        connection.reply(replyFrame(protocol, 3), 40 + maxEarlyMs),
      ]);
      show([
        connection.request(requestFrame(protocol, 4, "d"), 3_000),
        connection.reply(replyFrame(protocol, 4), 3_005),
      ]);
      assert.deepEqual(
        told.calls.map(({ name, outcome }) => `${name.slice(-1)} ${outcome}`),
        ["d ok"],
      );
      assert.deepEqual([told.losses, told.open, told.forgot], [1, 0, 3]);
      calls.sweep(100_000);
      assert.equal(told.calls.length, 1);
    }
  });

  it("go on behind a body of which packets are missing", () => {
    const { told, show } = watching();
    const connection = new TestConnection(client, server);
    show(connection.handshake(0));
    const pieces = cut(requestFrame("dubbo", 1, "large", 50_000), [1_200, 20_000, 40_000]).map((piece) =>
      connection.request(piece, 5),
    );
    show([pieces[0], pieces[3]] as TestPacket[]);
    show([
      connection.request(requestFrame("dubbo", 2, "next"), 6),
      connection.reply(replyFrame("dubbo", 1), 7),
      connection.reply(replyFrame("dubbo", 2), 8),
    ]);
    assert.equal(told.calls.length, 2);
    assert.equal(told.losses, 0);
  });

  it("are lost when the next head was on the wire and not in the capture", () => {
    const { told, show } = watching();
    const connection = new TestConnection(client, server);
    show(connection.handshake(0));
    const two = connection.request(Buffer.concat([requestFrame("dubbo", 1, "a"), requestFrame("dubbo", 2, "b")]), 5);
    show([{ ...two, captured: 160 }]);
    show([connection.reply(replyFrame("dubbo", 1), 8), connection.reply(replyFrame("dubbo", 2), 8)]);
    assert.deepEqual(told.calls, []);
    show([connection.request(requestFrame("dubbo", 3, "c"), 9), connection.reply(replyFrame("dubbo", 3), 10)]);
    assert.equal(told.calls.length, 1);
  });

  it("without an answer have failed when their connection ends", () => {
    for (const [fromClient, flags] of [
      [false, tcpFlag.rst],
      [true, tcpFlag.rst],
      [false, tcpFlag.fin | tcpFlag.ack],
    ] as const) {
      const { told, calls, show } = watching();
      const connection = new TestConnection(client, server);
      show([
        ...connection.handshake(0),
        connection.request(requestFrame("dubbo", 1, "a"), 100),
        connection.request(requestFrame("dubbo", 2, "b"), 110),
      ]);
      const answer = connection.reply(replyFrame("dubbo", 1), 120);
      // The end overtakes the last answer.
      show([connection.end(fromClient, flags, 300), answer]);
      calls.sweep(400);
      assert.equal(told.calls.length, 1);
      calls.sweep(2_000);
      assert.deepEqual(
        told.calls.map(({ ms, outcome }) => [ms, outcome]),
        [
          [20, "ok"],
          [190, "failed"],
        ],
      );
      assert.equal(calls.conversations, 0);
    }
  });

  it("are answered also when the caller has closed its half of the connection", () => {
    const { told, calls, show } = watching();
    const connection = new TestConnection(client, server);
    show([
      ...connection.handshake(0),
      connection.request(requestFrame("dubbo", 1, "a"), 100),
      connection.end(true, tcpFlag.fin, 101),
    ]);
    calls.sweep(5_000);
    show([connection.reply(replyFrame("dubbo", 1), 6_000)]);
    assert.deepEqual(
      told.calls.map(({ outcome }) => outcome),
      ["ok"],
    );
  });

  it("without an answer have failed when another connection begins between the same ends", () => {
    const { told, show } = watching();
    const connection = new TestConnection(client, server);
    show([...connection.handshake(0), connection.request(requestFrame("bolt", 1, "a"), 100)]);
    const next = new TestConnection(client, server, [70_000, 90_000]);
    show([
      ...next.handshake(500),
      next.request(requestFrame("bolt", 1, "b"), 600),
      next.reply(replyFrame("bolt", 1), 604),
    ]);
    assert.deepEqual(
      told.calls.map(({ ms, outcome }) => [ms, outcome]),
      [
        [400, "failed"],
        [4, "ok"],
      ],
    );
  });

  it("without an answer have failed after 30 s, and their late answers are none", () => {
    const { told, calls, show } = watching();
    const connection = new TestConnection(client, server);
    show([...connection.handshake(0), connection.request(requestFrame("dubbo", 1, "a"), 100)]);
    calls.sweep(100 + patienceMs - 1);
    assert.equal(told.calls.length, 0);
    calls.sweep(100 + patienceMs);
    show([connection.reply(replyFrame("dubbo", 1), 101 + patienceMs)]);
    assert.deepEqual(
      told.calls.map(({ ms, outcome }) => [ms, outcome]),
      [[patienceMs, "failed"]],
    );
  });

  it("are those to the watched address only, over IPv6 as over IPv4", () => {
    const { told, calls, show } = watching();
    const elsewhere = new TestConnection(client, { host: "10.0.0.6", port: 20_880 });
    show([
      ...elsewhere.handshake(0),
      elsewhere.request(requestFrame("dubbo", 1, "a"), 1),
      elsewhere.reply(replyFrame("dubbo", 1), 2),
    ]);
    assert.deepEqual([told.calls.length, calls.conversations], [0, 0]);
    const sixth = new Calls(told, [{ host: "fe80:0:0:0:0:0:0:1", port: 20_880 }]);
    const segment = new Segment();
    const reader = new PcapReader((packet) => {
      if (readSegment(packet, segment)) sixth.read(segment);
    });
    const connection = new TestConnection({ host: "fe80::2", port: 5 }, { host: "fe80::1", port: 20_880 });
    reader.read(
      pcapFile([
        ...connection.handshake(0),
        connection.request(requestFrame("bolt", 1, "a"), 1),
        connection.reply(replyFrame("bolt", 1), 2),
      ]),
    );
    assert.equal(told.calls.length, 1);
  });

  it("of another protocol are told, and nothing is counted of them", () => {
    const { told, calls, show } = watching();
    const connection = new TestConnection(client, server);
    show([
      ...connection.handshake(0),
      connection.request(Buffer.from("GET / HTTP/1.1\r\n\r\n"), 1),
      connection.reply(Buffer.from("HTTP/1.1 200 OK\r\n\r\n"), 2),
    ]);
    assert.deepEqual(
      calls.foreign().map(({ host, port }) => `${host}:${port}`),
      ["10.0.0.5:20880"],
    );
    assert.equal(told.calls.length, 0);
  });

  it("survive whatever passes, within all limits", () => {
    const pieces = fc.array(
      fc.record({
        bytes: fc.oneof(
          fc.uint8Array({ maxLength: 120 }),
          fc.nat({ max: 9 }).map((id) => Uint8Array.from(requestFrame("bolt", id, "a"))),
          fc.nat({ max: 9 }).map((id) => Uint8Array.from(replyFrame("dubbo", id))),
        ),
        sequence: fc.oneof(fc.nat({ max: 2_000 }), fc.integer({ min: 0, max: 0xffff_ffff })),
        port: fc.integer({ min: 1, max: 4 }),
        flags: fc.nat({ max: 31 }),
        fromClient: fc.boolean(),
        atMs: fc.nat({ max: 60_000 }),
      }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(pieces, (all) => {
        const { told, calls, show } = watching();
        for (const { bytes, sequence, port, flags, fromClient, atMs } of all) {
          const other = { host: "10.0.0.9", port };
          const [from, to] = fromClient ? [other, server] : [server, other];
          show([{ from, to, sequence, flags, payload: Buffer.from(bytes), atMs }]);
          if (atMs % 7 === 0) calls.sweep(atMs);
        }
        assert.ok(calls.conversations <= 4);
        calls.lose();
        assert.deepEqual([calls.pending, calls.earlyBytes, told.open], [0, 0, 0]);
      }),
      { numRuns: 1_500 },
    );
  });

  it("are followed up to the limits of a connection and of all, and no further", () => {
    const { told, calls, show } = watching();
    const connection = new TestConnection(client, server);
    show(connection.handshake(0));
    for (let id = 0; id < maxPending + 10; id++) show([connection.request(requestFrame("dubbo", id, "a", 1), 1)]);
    assert.equal(calls.pending, maxPending);
    for (let port = 1; port <= callLimits.conversations + 5; port++)
      show(new TestConnection({ host: "10.0.0.8", port }, server).handshake(2));
    assert.equal(calls.conversations, callLimits.conversations);
    assert.ok(calls.unfollowed >= 5);
    assert.equal(told.open, maxPending);
    // What is idle makes room.
    calls.sweep(callLimits.idleMs + patienceMs);
    calls.sweep(callLimits.idleMs + patienceMs);
    assert.equal(calls.conversations, 0);
  });

  it("keep no more of packets that come too early than they may", () => {
    const { calls, show } = watching();
    for (let port = 1; port <= 200; port++) {
      const connection = new TestConnection({ host: "10.0.0.8", port }, server);
      show(connection.handshake(0));
      connection.request(Buffer.alloc(10), 1);
      for (let packet = 0; packet < 4; packet++) show([connection.request(Buffer.alloc(60_000, 9), 1)]);
    }
    assert.ok(calls.earlyBytes <= callLimits.earlyBytes, `${calls.earlyBytes}`);
  });

  it("are of ever fewer connections when more passes than may be looked at, and of no fewer than four at an address", () => {
    const { told, calls, show } = watching();
    const connections = Array.from(
      { length: 64 },
      (_, index) => new TestConnection({ host: "10.0.0.8", port: 1_000 + index }, server),
    );
    for (const connection of connections) show(connection.handshake(0));
    let id = 0;
    const second = (number: number): void => {
      for (const connection of connections) {
        const frame = requestFrame("dubbo", ++id, "a", 1_000);
        const large = dubboBytes(0x02, 20, 7, id, Buffer.alloc(400_000, 0x91));
        show([connection.request(frame, number * 1_000)]);
        for (const piece of cut(large, [200_000])) show([connection.reply(piece, number * 1_000 + 5)]);
      }
    };
    for (let number = 1; number <= 3; number++) second(number);
    assert.ok(calls.share > 1, `${calls.share}`);
    const followed = calls.conversations;
    assert.ok(followed < 64 && followed >= callLimits.leastConnections, `${followed} connections`);
    assert.equal(told.calls.filter(({ outcome }) => outcome === "failed").length, 0);
    assert.equal(told.open, calls.pending);
  });

  it("are not read for the rest of a second in which far too much passed, and are not failures for it", () => {
    const { told, calls, show } = watching();
    const connection = new TestConnection(client, server);
    show([...connection.handshake(0), connection.request(requestFrame("dubbo", 1, "a"), 1_000)]);
    for (let piece = 0; piece < 1_200; piece++)
      show([connection.reply(dubboBytes(0x02, 20, 7, 100 + piece, Buffer.alloc(62_000, 0x91)), 1_001)]);
    assert.equal(calls.deafSeconds, 1);
    show([connection.reply(replyFrame("dubbo", 1), 1_002)]);
    assert.deepEqual([told.calls.length, told.open], [0, 0]);
    show([connection.request(requestFrame("dubbo", 2, "b"), 2_001), connection.reply(replyFrame("dubbo", 2), 2_003)]);
    assert.deepEqual(
      told.calls.map(({ outcome }) => outcome),
      ["ok"],
    );
  });
});
