import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteBudget } from "@dualmesh/base/byte-budget";
import { type FrameCodec, FrameError } from "@dualmesh/wire/codec";
import fc from "fast-check";
import { FrameReader } from "./frame-reader.ts";

interface Line {
  text: string;
}

/** Two bytes of length, then as many bytes; 0xffff is malformed. */
const lineCodec: FrameCodec<Line> = {
  protocol: "line",
  sniff: () => "yes",
  view: () => ({ text: "" }),
  decode(bytes, offset, end, into) {
    if (end - offset < 2) return -2;
    const size = bytes.readUInt16BE(offset);
    if (size === 0xffff) throw new FrameError("line", 0, "a length of 65,535");
    if (end - offset < 2 + size) return -(2 + size);
    into.text = bytes.toString("latin1", offset + 2, offset + 2 + size);
    return 2 + size;
  },
  encode: (line) =>
    Buffer.concat([Buffer.from([line.text.length >> 8, line.text.length & 0xff]), Buffer.from(line.text, "latin1")]),
};

function feed(reader: FrameReader<Line>, bytes: Buffer, cuts: readonly number[]): boolean {
  const shared = Buffer.alloc(bytes.length);
  let from = 0;
  for (const cut of [...cuts.map((at) => Math.min(at, bytes.length)), bytes.length].sort((a, b) => a - b)) {
    if (cut <= from) continue;
    // What was read before is overwritten, as in the shared buffer of all connections.
    shared.fill(0xee);
    bytes.copy(shared, 0, from, cut);
    if (!reader.read(shared, cut - from)) return false;
    from = cut;
  }
  return true;
}

test("however the bytes are split, the same frames come out and no memory is kept", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ maxLength: 3_000, unit: "binary-ascii" }), { maxLength: 8 }),
      fc.array(fc.nat(20_000), { maxLength: 12 }),
      (texts, cuts) => {
        const budget = new ByteBudget(1 << 20);
        const seen: string[] = [];
        const reader = new FrameReader(lineCodec, budget, (line) => seen.push(line.text) > 0);
        const bytes = Buffer.concat(texts.map((text) => lineCodec.encode({ text })));
        assert.ok(feed(reader, bytes, cuts));
        assert.deepEqual(seen, texts);
        assert.equal(reader.heldBytes, 0);
        assert.equal(budget.usedBytes, 0);
      },
    ),
  );
});

test("memory grows with what arrived, not with what was promised", () => {
  const budget = new ByteBudget(1 << 20);
  const reader = new FrameReader(lineCodec, budget, () => true);
  assert.ok(reader.read(Buffer.from([0xff, 0xfe, 1, 2, 3]), 5));
  assert.ok(budget.usedBytes <= 1_024, `${budget.usedBytes}`);
  assert.deepEqual([...reader.residual()], [0xff, 0xfe, 1, 2, 3]);
  reader.close();
  assert.equal(budget.usedBytes, 0);
});

test("a connection is refused, and says why, when all partial frames together use what they may", () => {
  const budget = new ByteBudget(2_048);
  const first = new FrameReader(lineCodec, budget, () => true);
  const second = new FrameReader(lineCodec, budget, () => true);
  const big = Buffer.alloc(1_500, 7);
  assert.ok(first.read(Buffer.concat([Buffer.from([0xff, 0xfe]), big]), 1_502));
  assert.equal(second.read(Buffer.concat([Buffer.from([0xff, 0xfe]), big]), 1_502), false);
  assert.equal(second.fault, "frame-budget");
  first.close();
  second.close();
  assert.equal(budget.usedBytes, 0);
});

test("malformed bytes end the connection with the codec's own words", () => {
  const reader = new FrameReader(lineCodec, new ByteBudget(1 << 20), () => true);
  assert.equal(reader.read(Buffer.from([0xff, 0xff]), 2), false);
  assert.equal(reader.fault, "malformed");
  assert.match(reader.faultText, /65,535/);
});

test("nothing more is read once the owner wants no more", () => {
  const seen: string[] = [];
  const reader = new FrameReader(lineCodec, new ByteBudget(1 << 20), (line) => seen.push(line.text) < 2);
  const bytes = Buffer.concat(["a", "b", "c"].map((text) => lineCodec.encode({ text })));
  assert.equal(reader.read(bytes, bytes.length), false);
  assert.deepEqual(seen, ["a", "b"]);
  assert.equal(reader.fault, undefined);
});
