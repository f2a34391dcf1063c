import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import fc from "fast-check";
import { linkType, PcapReader } from "./pcap.ts";
import { readSegment, Segment } from "./segments.ts";
import { type PcapShape, pcapFile, pcapHead, pcapRecord, type TestPacket } from "./testing.ts";

interface Seen {
  readonly sequence: number;
  readonly ports: readonly [number, number];
  readonly payload: string;
  readonly size: number;
  readonly atMs: number;
}

/** What is read of a file that comes in these pieces. */
function readPieces(pieces: readonly Buffer[]): Seen[] {
  const seen: Seen[] = [];
  const segment = new Segment();
  const reader = new PcapReader((packet) => {
    if (!readSegment(packet, segment)) return;
    const { sequence, sourcePort, destinationPort, bytes, payloadAt, payloadEnd, size, atMs } = segment;
    const payload = bytes.toString("hex", payloadAt, payloadEnd);
    seen.push({
      sequence,
      ports: [sourcePort, destinationPort],
      payload,
      size,
      atMs: Math.round(atMs * 1_000) / 1_000,
    });
  });
  for (const piece of pieces) reader.read(piece);
  return seen;
}

const hosts = fc.constantFrom(["10.0.0.1", "10.0.0.2"], ["::1", "fe80::2:3"], ["127.0.0.1", "127.0.0.1"]);
const packets: fc.Arbitrary<readonly TestPacket[]> = fc.array(
  fc
    .record({
      hosts,
      ports: fc.tuple(fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 1, max: 65_535 })),
      sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
      payload: fc.uint8Array({ maxLength: 200 }),
      atMs: fc.integer({ min: 0, max: 4_000_000_000 }),
    })
    .map(({ hosts: [source = "", target = ""], ports: [from, to], sequence, payload, atMs }) => ({
      from: { host: source, port: from },
      to: { host: target, port: to },
      sequence,
      payload: Buffer.from(payload),
      atMs: atMs + 0.25,
    })),
  { minLength: 1, maxLength: 6 },
);
const shapes: fc.Arbitrary<PcapShape> = fc.record({
  link: fc.constantFrom(linkType.sll2, linkType.sll, linkType.ethernet),
  isLittle: fc.boolean(),
  isNano: fc.boolean(),
});

describe("a capture", () => {
  it("gives the same packets in both byte orders, both resolutions and each kind of link, wherever its bytes are split", () => {
    fc.assert(
      fc.property(packets, shapes, fc.array(fc.nat(), { maxLength: 8 }), (all, shape, cuts) => {
        const file = pcapFile(all, shape);
        const places = [...new Set(cuts.map((cut) => cut % file.length))].sort((one, other) => one - other);
        const pieces = [0, ...places].map((from, index) => file.subarray(from, places[index] ?? file.length));
        const expected = all.map(({ sequence, from, to, payload, atMs }) => ({
          sequence: sequence | 0,
          ports: [from.port, to.port],
          payload: payload?.toString("hex"),
          size: payload?.length,
          atMs,
        }));
        assert.deepEqual(readPieces(pieces), expected);
        assert.deepEqual(readPieces([...file].map((byte) => Buffer.from([byte]))), expected);
      }),
      { numRuns: 150 },
    );
  });

  it("that is none is answered with its own error, and holds no memory for what it promises", () => {
    const bytes = fc.uint8Array({ maxLength: 400 });
    fc.assert(
      fc.property(bytes, fc.boolean(), fc.boolean(), (garbage, hasHead, isLittle) => {
        const segment = new Segment();
        const reader = new PcapReader((packet) => void readSegment(packet, segment));
        try {
          if (hasHead) reader.read(pcapHead({ isLittle }));
          for (let at = 0; at < garbage.length; at += 7) reader.read(Buffer.from(garbage.subarray(at, at + 7)));
        } catch (error) {
          assert.ok(isMeshError(error, "capture.malformed"), String(error));
        }
        assert.ok(reader.heldBytes <= 8_192, `${reader.heldBytes} bytes`);
      }),
      { numRuns: 3_000 },
    );
  });

  it("with packets of nonsense gives no segment beyond them, and never throws", () => {
    fc.assert(
      fc.property(
        packets,
        shapes,
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 8 }),
        (all, shape, changes) => {
          const segment = new Segment();
          const reader = new PcapReader((packet) => {
            if (!readSegment(packet, segment)) return;
            assert.ok(segment.payloadAt >= packet.start && segment.payloadEnd <= packet.end);
            assert.ok(
              segment.payloadAt <= segment.payloadEnd && segment.size >= segment.payloadEnd - segment.payloadAt,
            );
          });
          reader.read(pcapHead(shape));
          for (const packet of all) {
            const record = pcapRecord(packet, shape);
            for (const [at, value] of changes) record[16 + (at % (record.length - 16))] = value;
            reader.read(record);
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });

  const from = { host: "10.0.0.1", port: 1 };
  const to = { host: "10.0.0.2", port: 2 };

  it("knows how long a packet was that it has only the beginning of", () => {
    const [seen] = readPieces([
      pcapFile([{ from, to, sequence: 1, payload: Buffer.alloc(1_000, 7), atMs: 5, captured: 172 }]),
    ]);
    assert.equal(seen?.size, 1_000);
    assert.equal(seen?.payload.length, 2 * 100);
  });

  it("reads trains of segments that are longer than IP can say", () => {
    for (const [source, target] of [
      [from, to] as const,
      [
        { ...from, host: "::1" },
        { ...to, host: "::2" },
      ] as const,
    ]) {
      const packet = { from: source, to: target, sequence: 1, payload: Buffer.alloc(180_000, 1), atMs: 5 };
      assert.equal(readPieces([pcapFile([packet])])[0]?.size, 180_000);
    }
  });

  it("passes over fragments, and over what is padded behind a packet", () => {
    const record = pcapRecord({ from, to, sequence: 1, payload: Buffer.from("abc"), atMs: 5 });
    const ip = 16 + 20;
    const fragment = Buffer.from(record);
    fragment.writeUInt16BE(0x2000, ip + 6);
    assert.deepEqual(readPieces([pcapHead(), fragment]), []);
    const padded = Buffer.concat([record, Buffer.alloc(6)]);
    padded.writeUInt32LE(record.readUInt32LE(8) + 6, 8);
    padded.writeUInt32LE(record.readUInt32LE(12) + 6, 12);
    assert.equal(readPieces([pcapHead(), padded])[0]?.size, 3);
  });
});
