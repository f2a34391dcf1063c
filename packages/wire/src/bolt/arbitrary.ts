/** Why this exists: well-formed Bolt frames of every kind for the laws. Test support: no part of the product imports it. */
import { crc32 } from "node:zlib";
import fc from "fast-check";

/** The header map of SOFA-RPC: `{length, key, length, value}…`; null has the length -1. */
export function headerMap(entries: readonly (readonly [string, string | null])[]): Buffer {
  const text = (value: string | null): Buffer => {
    const bytes = Buffer.from(value ?? "");
    const length = Buffer.alloc(4);
    length.writeInt32BE(value === null ? -1 : bytes.length);
    return Buffer.concat([length, bytes]);
  };
  return Buffer.concat(entries.flatMap(([key, value]) => [text(key), text(value)]));
}

interface Shape {
  readonly version: 1 | 2;
  readonly revision: 1 | 2;
  readonly type: number;
  readonly command: number;
  readonly id: number;
  readonly serialization: number;
  readonly switches: number;
  readonly timeout: number;
  readonly className: string;
  readonly header: Uint8Array;
  readonly content: Uint8Array;
}

export function boltBytes(shape: Shape): Buffer {
  const { version, type } = shape;
  const name = Buffer.from(shape.className);
  const head = Buffer.alloc((type === 0 ? 20 : 22) + (version === 2 ? 2 : 0));
  let at = head.writeUInt8(version, 0);
  if (version === 2) at = head.writeUInt8(shape.revision, at);
  at = head.writeUInt8(type, at);
  at = head.writeUInt16BE(shape.command, at);
  at = head.writeUInt8(1, at);
  at = head.writeUInt32BE(shape.id, at);
  at = head.writeUInt8(shape.serialization, at);
  if (version === 2) at = head.writeUInt8(shape.switches, at);
  at = type === 0 ? head.writeUInt16BE(shape.timeout & 0xffff, at) : head.writeInt32BE(shape.timeout, at);
  at = head.writeUInt16BE(name.length, at);
  at = head.writeUInt16BE(shape.header.length, at);
  head.writeInt32BE(shape.content.length, at);
  const frame = Buffer.concat([head, name, shape.header, shape.content]);
  if (version !== 2 || shape.revision !== 2 || (shape.switches & 1) === 0) return frame;
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(frame));
  return Buffer.concat([frame, sum]);
}

const keys = fc.oneof(
  fc.constantFrom("sofa_head_target_service", "service", "sofa_head_method_name", "app", "__proto__"),
  fc.string({ maxLength: 8 }),
);
const headers = fc
  .array(fc.tuple(keys, fc.option(fc.string({ unit: "grapheme", maxLength: 12 }))), { maxLength: 5 })
  .map(headerMap);

/** Type and command that go together: heartbeats, requests, oneways, responses, and a command of the future. */
const kinds = fc.constantFrom([0, 0], [1, 0], [1, 1], [2, 1], [0, 2], [1, 100]);

export const arbitraryBolt: fc.Arbitrary<Buffer> = fc
  .record({
    version: fc.constantFrom<1 | 2>(1, 2),
    revision: fc.constantFrom<1 | 2>(1, 2),
    kind: kinds,
    id: fc.integer({ min: 0, max: 0xffff_ffff }),
    serialization: fc.constantFrom(1, 11, 12, 200),
    switches: fc.constantFrom(0, 1, 3),
    timeout: fc.oneof(fc.constantFrom(-1, 0, 3_000), fc.integer()),
    className: fc.constantFrom("", "fx.User", "com.alipay.sofa.rpc.core.request.SofaRequest"),
    header: headers,
    content: fc.uint8Array({ maxLength: 60 }),
  })
  .map(({ kind, ...shape }) => boltBytes({ ...shape, type: kind[0] as number, command: kind[1] as number }));
