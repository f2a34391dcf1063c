/** Why this exists: values of final Hessian 2.0 for the laws of the skipper. Test support: no part of the product imports it. */
import fc from "fast-check";
import { writeText } from "./text.ts";

/** A text in one short form, or in chunks of `chunk` units. */
export function hessianText(text: string, chunk = 0): Buffer {
  if (chunk > 0 && text.length > chunk) {
    const first = writeText(text.slice(0, chunk));
    first[0] = 0x52;
    return Buffer.concat([first, hessianText(text.slice(chunk), chunk)]);
  }
  const long = writeText(text);
  const body = long.subarray(3);
  if (text.length <= 0x1f) return Buffer.concat([Buffer.from([text.length]), body]);
  if (text.length <= 0x3ff) return Buffer.concat([Buffer.from([0x30 | (text.length >> 8), text.length & 0xff]), body]);
  return long;
}

export function hessianInt(value: number): Buffer {
  if (value >= -0x10 && value <= 0x2f) return Buffer.from([0x90 + value]);
  if (value >= -0x800 && value <= 0x7ff) return Buffer.from([0xc8 + (value >> 8), value & 0xff]);
  if (value >= -0x40000 && value <= 0x3ffff)
    return Buffer.from([0xd4 + (value >> 16), (value >> 8) & 0xff, value & 0xff]);
  const bytes = Buffer.alloc(5, 0x49);
  bytes.writeInt32BE(value, 1);
  return bytes;
}

const text = fc.string({ unit: "binary", maxLength: 40 });
const texts = fc.tuple(text, fc.nat({ max: 7 })).map(([value, chunk]) => hessianText(value, chunk));
const ints = fc.integer().map(hessianInt);
const small = fc.integer({ min: -3_000, max: 3_000 }).map(hessianInt);
/** Constants, doubles, dates, longs, a reference, binaries short, medium, long and in chunks. */
const fixed = fc
  .constantFrom(
    "4e",
    "54",
    "46",
    "5b",
    "5c",
    "5d01",
    "5e0102",
    "5f01020304",
    "440102030405060708",
    "4a0102030405060708",
    "4b01020304",
    "4c0102030405060708",
    "5901020304",
    "e0",
    "f001",
    "3c0102",
    "5190",
    "20",
    "23010203",
    "340111",
    "4200024e4e",
    "410001524200015a",
  )
  .map((hex) => Buffer.from(hex, "hex"));

/** One value of any kind but objects, which need definitions. */
export const arbitraryHessian: fc.Arbitrary<Buffer> = fc.letrec<{ value: Buffer }>((tie) => {
  const many = fc.array(tie("value"), { maxLength: 5 });
  const pairs = fc.array(fc.tuple(tie("value"), tie("value")), { maxLength: 3 }).map((entries) => entries.flat());
  const end = Buffer.from("Z");
  const type = hessianText("fx.Type");
  return {
    value: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      texts,
      ints,
      small,
      fixed,
      many.map((values) => Buffer.concat([Buffer.from([0x78 + values.length]), ...values])),
      many.map((values) => Buffer.concat([Buffer.from([0x70 + values.length]), type, ...values])),
      many.map((values) => Buffer.concat([Buffer.from("X"), hessianInt(values.length), ...values])),
      many.map((values) => Buffer.concat([Buffer.from("V"), type, hessianInt(values.length), ...values])),
      many.map((values) => Buffer.concat([Buffer.from("W"), ...values, end])),
      many.map((values) => Buffer.concat([Buffer.from("U"), hessianInt(0), ...values, end])),
      pairs.map((values) => Buffer.concat([Buffer.from("H"), ...values, end])),
      pairs.map((values) => Buffer.concat([Buffer.from("M"), type, ...values, end])),
    ),
  };
}).value;

/** A map of texts, as attachments are. */
export function hessianMap(entries: readonly (readonly [string, string])[]): Buffer {
  const pairs = entries.flatMap(([key, value]) => [hessianText(key), hessianText(value)]);
  return Buffer.concat([Buffer.from("H"), ...pairs, Buffer.from("Z")]);
}
