/**
 * Why this exists: the part of fastjson2's binary JSON that Dubbo's heads and attachments need. Dubbo writes each item of a body as an int32
 * length and JSONB, so that arguments are stepped over without being looked at. Within the attachments map values are stepped
 * over iteratively; nothing is built but the text that is asked for.
 */
import { int32 } from "../bytes.ts";
import { equalAt } from "../texts.ts";

/** Values nested deeper than this within the attachments are not followed. */
const maxDepth = 64;
const untilEnd = -1;
const open: Int32Array = new Int32Array(maxDepth);

const tags = {
  typed: 0x92,
  reference: 0x93,
  arrayFixed: 0x94,
  array: 0xa4,
  objectEnd: 0xa5,
  object: 0xa6,
  symbol: 0x7f,
} as const;

/** Where the item at `at` ends (behind its int32 length), or -1. */
export function itemEnd(bytes: Buffer, at: number, end: number): number {
  if (at < 0 || at + 4 > end) return -1;
  const length = int32(bytes, at);
  return length < 0 || length > end - at - 4 ? -1 : at + 4 + length;
}

/** The text at `at`: ASCII, UTF-8 or UTF-16; undefined for null and everything else. */
export function readText(bytes: Buffer, at: number, end: number): string | undefined {
  const start = textStart(bytes, at, end);
  if (start < 0) return undefined;
  const tag = bytes[at] as number;
  const last = valueEnd(bytes, at, end);
  if (last < 0) return undefined;
  if (tag <= 0x79) return bytes.toString("latin1", start, last);
  if (tag === 0x7a) return bytes.toString("utf8", start, last);
  if (tag === 0x7c) return bytes.toString("utf16le", start, last);
  if (tag !== 0x7d || (last - start) % 2 !== 0) return undefined;
  return Buffer.from(bytes.subarray(start, last)).swap16().toString("utf16le");
}

/** An UTF-8 text. */
export function writeText(text: string): Buffer {
  const body = Buffer.from(text);
  const out = Buffer.alloc(6 + body.length);
  out[0] = 0x7a;
  out[1] = 0x48;
  out.writeInt32BE(body.length, 2);
  body.copy(out, 6);
  return out;
}

/** The value of `key` in the object at `at` when it is a text or an int, else undefined; of keys that come twice the last. */
export function findInObject(bytes: Buffer, at: number, end: number, key: Buffer): string | undefined {
  let next = at;
  if (next < end && bytes[next] === tags.typed) {
    next = typeEnd(bytes, next + 1, end);
    if (next < 0) return undefined;
  }
  if (next >= end || bytes[next] !== tags.object) return undefined;
  next++;
  let found: string | undefined;
  while (next >= 0 && next < end) {
    if (bytes[next] === tags.objectEnd) return found;
    const isSymbol = bytes[next] === tags.symbol;
    const nameAt = isSymbol ? next + 1 : next;
    const valueAt = valueEnd(bytes, next, end);
    if (valueAt < 0 || valueAt >= end) return undefined;
    if (isText(bytes, nameAt, end, key)) {
      found = readText(bytes, valueAt, end) ?? intText(bytes, valueAt, end);
    }
    next = valueEnd(bytes, valueAt, end);
  }
  return undefined;
}

function intText(bytes: Buffer, at: number, end: number): string | undefined {
  return intEnd(bytes, at, end) >= 0 ? String(intAt(bytes, at)) : undefined;
}

/** True when the text at `at` is `key`: by bytes, but for UTF-16, in which fastjson2 writes texts that are not ASCII. */
function isText(bytes: Buffer, at: number, end: number, key: Buffer): boolean {
  const start = textStart(bytes, at, end);
  if (start < 0) return false;
  if ((bytes[at] as number) > 0x7a) return readText(bytes, at, end) === key.toString();
  return equalAt(key, bytes, start, sizedEnd(bytes, at, end));
}

/** Where the characters of the text at `at` begin, or -1 when there is no text. */
function textStart(bytes: Buffer, at: number, end: number): number {
  if (at >= end) return -1;
  const tag = bytes[at] as number;
  if (tag >= 0x49 && tag <= 0x78) return at + 1;
  return tag >= 0x79 && tag <= 0x7e ? intEnd(bytes, at + 1, end) : -1;
}

/** Where the value at `at` ends, or -1 when it is malformed, cut off, nested too deep, or of a kind that attachments never have. */
export function valueEnd(bytes: Buffer, at: number, end: number): number {
  let depth = 0;
  let next = at;
  open[0] = 1;
  while (depth >= 0) {
    const left = open[depth] as number;
    if (left === 0) {
      depth--;
      continue;
    }
    if (next >= end) return -1;
    const tag = bytes[next] as number;
    if (tag === tags.objectEnd) {
      if (left !== untilEnd) return -1;
      depth--;
      next++;
      continue;
    }
    if (tag === tags.typed) {
      next = typeEnd(bytes, next + 1, end); // stands before a value
      if (next < 0) return -1;
      continue;
    }
    if (left !== untilEnd) open[depth] = left - 1;
    if (tag === tags.object || (tag >= tags.arrayFixed && tag <= tags.array)) {
      let count = tag === tags.object ? untilEnd : tag - tags.arrayFixed;
      next++;
      if (tag === tags.array) {
        const after = intEnd(bytes, next, end);
        if (after < 0) return -1;
        count = intAt(bytes, next);
        next = after;
        if (count < 0) return -1;
      }
      if (count > end - next || ++depth >= maxDepth) return -1;
      open[depth] = count;
      continue;
    }
    next = scalarEnd(bytes, next, end, tag);
    if (next < 0) return -1;
  }
  return next;
}

/** A type's name (a text or symbol, then a hash of eight bytes when it is a long); only what is a text or symbol is followed. */
function typeEnd(bytes: Buffer, at: number, end: number): number {
  if (at >= end) return -1;
  const tag = bytes[at] as number;
  const nameEnd = tag >= 0x49 && tag <= 0x7f ? scalarEnd(bytes, at, end, tag) : intEnd(bytes, at, end);
  if (nameEnd < 0 || tag === tags.symbol) return nameEnd;
  const after = intEnd(bytes, nameEnd, end); // a new name is followed by its number
  return after < 0 ? nameEnd : after;
}

function scalarEnd(bytes: Buffer, at: number, end: number, tag: number): number {
  const int = intEnd(bytes, at, end);
  if (int >= 0) return int;
  if ((tag >= 0x49 && tag <= 0x7e) || tag === 0x91 || tag === 0xbb) return sizedEnd(bytes, at, end);
  if (tag === 0xb9) return sizedEnd(bytes, intEnd(bytes, at + 1, end) - 1, end); // a decimal: its scale, then a sized number
  if (tag === tags.symbol) {
    const number = intEnd(bytes, at + 1, end);
    if (number >= 0) return number; // the number of a name that stood before, else a name and its number
    return intEnd(bytes, sizedEnd(bytes, at + 1, end), end);
  }
  if (tag === tags.reference) return sizedEnd(bytes, at + 1, end);
  const size = fixedSize(tag);
  return size === 0 ? -1 : within(at + size, end);
}

/** Where a text, binary or big number ends: its tag has the length in it, or an int with the length follows the tag. */
function sizedEnd(bytes: Buffer, at: number, end: number): number {
  if (at < 0 || at >= end) return -1;
  const tag = bytes[at] as number;
  if (tag >= 0x49 && tag <= 0x78) return within(at + 1 + (tag - 0x49), end);
  const start = intEnd(bytes, at + 1, end);
  if (start < 0) return -1;
  const length = intAt(bytes, at + 1);
  return length < 0 ? -1 : within(start + length, end);
}

/** The whole size of a number, date or constant whose tag tells it; 0 for other tags. */
function fixedSize(tag: number): number {
  if (tag >= 0xaf && tag <= 0xb3) return 1; // null, false, true, 0.0, 1.0
  if (tag >= 0xc0) return tag <= 0xc7 ? 3 : tag <= 0xd7 ? 2 : 1; // longs
  switch (tag) {
    case 0xbd:
      return 2;
    case 0xbc:
      return 3;
    case 0xac:
    case 0xad:
    case 0xb7:
    case 0xbf:
      return 5;
    case 0xa9:
      return 5;
    case 0xab:
    case 0xb5:
    case 0xbe:
      return 9;
    default:
      return 0;
  }
}

function within(at: number, end: number): number {
  return at > end ? -1 : at;
}

function intEnd(bytes: Buffer, at: number, end: number): number {
  if (at < 0 || at >= end) return -1;
  const tag = bytes[at] as number;
  const size = tag >= 0xf0 || tag <= 0x2f ? 1 : tag <= 0x3f ? 2 : tag <= 0x47 ? 3 : tag === 0x48 ? 5 : 0;
  return size === 0 || at + size > end ? -1 : at + size;
}

function intAt(bytes: Buffer, at: number): number {
  const tag = bytes[at] as number;
  if (tag >= 0xf0) return tag - 0x100;
  if (tag <= 0x2f) return tag;
  if (tag <= 0x3f) return ((tag - 0x38) << 8) | (bytes[at + 1] as number);
  if (tag <= 0x47) return ((tag - 0x44) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
  return int32(bytes, at + 1);
}
