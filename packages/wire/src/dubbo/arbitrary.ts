/** Why this exists: well-formed Dubbo frames of every kind for the laws. Test support: no part of the product imports it. */
import fc from "fast-check";
import { arbitraryHessian, hessianMap, hessianText } from "../hessian/arbitrary.ts";

export interface Call {
  readonly path: string;
  readonly version: string | null;
  readonly method: string;
  readonly attachments: readonly (readonly [string, string])[];
}

export function dubboBytes(flags: number, status: number, idHigh: number, id: number, body: Uint8Array): Buffer {
  const head = Buffer.from([0xda, 0xbb, flags, status, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(idHigh, 4);
  head.writeUInt32BE(id, 8);
  head.writeInt32BE(body.length, 12);
  return Buffer.concat([head, body]);
}

export function hessianCall(call: Call, args: readonly Uint8Array[] = []): Buffer {
  const version = call.version === null ? Buffer.from("N") : hessianText(call.version);
  const head = [hessianText("2.0.2"), hessianText(call.path), version, hessianText(call.method), hessianText("")];
  return Buffer.concat([...head, ...args, hessianMap(call.attachments)]);
}

/** JSONB as fastjson2 writes texts: ASCII short or long, else UTF-16. */
export function jsonbText(text: string): Buffer {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is what is asked
  if (!/^[\u0000-\u007f]*$/.test(text)) return sized(0x7c, Buffer.from(text, "utf16le"));
  if (text.length <= 47) return Buffer.concat([Buffer.from([0x49 + text.length]), Buffer.from(text)]);
  return sized(0x79, Buffer.from(text));
}

function sized(tag: number, bytes: Buffer): Buffer {
  const length = Buffer.from([tag, 0x48, 0, 0, 0, 0]);
  length.writeInt32BE(bytes.length, 2);
  return Buffer.concat([length, bytes]);
}

/** An item of a fastjson2 body. */
export function item(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

export function jsonbMap(entries: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat([Buffer.from([0xa6]), ...entries.flat().map(jsonbText), Buffer.from([0xa5])]);
}

export function jsonbCall(call: Call, args: readonly Uint8Array[] = []): Buffer {
  const version = call.version === null ? Buffer.from([0xaf]) : jsonbText(call.version);
  const head = [jsonbText("2.0.2"), jsonbText(call.path), version, jsonbText(call.method), jsonbText("")];
  return Buffer.concat([...head, ...args, jsonbMap(call.attachments)].map(item));
}

const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 });
export const arbitraryCall: fc.Arbitrary<Call> = fc.record({
  path: text,
  version: fc.option(fc.oneof(text, fc.constantFrom("", "0.0.0", "1.0"))),
  method: text,
  attachments: fc.array(fc.tuple(fc.oneof(text, fc.constantFrom("group", "timeout", "__proto__")), text), {
    maxLength: 5,
  }),
});

const bodies: fc.Arbitrary<readonly [number, Buffer]> = fc.oneof(
  fc
    .tuple(arbitraryCall, fc.array(arbitraryHessian, { maxLength: 3 }))
    .map(([call, args]) => [2, hessianCall(call, args)] as const),
  arbitraryCall.map((call) => [23, jsonbCall(call, [jsonbText("an argument")])] as const),
  fc
    .tuple(fc.constantFrom(2, 3, 6, 21, 23), fc.uint8Array({ maxLength: 40 }))
    .map(([kind, bytes]) => [kind, Buffer.from(bytes)] as const),
  fc.constantFrom(
    [2, Buffer.from("N")] as const,
    [2, Buffer.from("\x01R")] as const,
    [23, item(Buffer.from([0xaf]))] as const,
  ),
);

const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
export const arbitraryDubbo: fc.Arbitrary<Buffer> = fc
  .tuple(
    fc.constantFrom(0xc0, 0x80, 0x00, 0xe0, 0xa0, 0x20),
    fc.constantFrom(0, 20, 31, 60, 255),
    uint32,
    uint32,
    bodies,
  )
  .map(([flags, status, idHigh, id, [serialization, body]]) =>
    dubboBytes(flags | serialization, status, idHigh, id, body),
  );
