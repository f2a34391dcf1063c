/**
 * Why this exists: strings of Hessian 2 count UTF-16 units but are stored as UTF-8 (each half of a surrogate pair by itself, as Java
 * writes it), so that finding the end of one means walking it. Used for the final dialect (Dubbo); `S` chunks are the same in
 * the draft dialect (SOFA-RPC), so that `writeText` serves both.
 */

/** The longest text that `writeText` puts down, in UTF-16 units, so that one chunk holds it. */
export const maxWrittenUnits = 4_096;

/** The longest text that is read as a whole, in bytes; names and attachment values are far shorter. */
const maxReadBytes = 65_536;

/** Where the string at `at` ends, or -1 when there is none or `end` comes first. Handles chunks. */
export function textEnd(bytes: Buffer, at: number, end: number): number {
  let next = at;
  while (next < end) {
    const tag = bytes[next] as number;
    if (tag <= 0x1f) return unitsEnd(bytes, next + 1, end, tag);
    if (tag >= 0x30 && tag <= 0x33) {
      return next + 2 > end ? -1 : unitsEnd(bytes, next + 2, end, ((tag - 0x30) << 8) | (bytes[next + 1] as number));
    }
    if ((tag !== 0x53 && tag !== 0x52) || next + 3 > end) return -1;
    const units = ((bytes[next + 1] as number) << 8) | (bytes[next + 2] as number);
    next = unitsEnd(bytes, next + 3, end, units);
    if (next < 0 || tag === 0x53) return next;
  }
  return -1;
}

/** Where `units` UTF-16 units that begin at `at` end, or -1. */
function unitsEnd(bytes: Buffer, at: number, end: number, units: number): number {
  if (units > end - at) return -1; // a unit takes a byte at least, but for four-byte characters, which take two per unit
  let next = at;
  let left = units;
  while (left > 0) {
    const run = next;
    const stop = Math.min(next + left, end);
    while (next < stop && (bytes[next] as number) < 0x80) next++;
    left -= next - run;
    if (left === 0) break;
    if (next >= end) return -1;
    const lead = bytes[next] as number;
    if (lead < 0xe0) next += 2;
    else if (lead < 0xf0) next += 3;
    else {
      next += 4; // not what Java writes, but some clients do: one character, two units
      left--;
    }
    left--;
  }
  return next > end || left < 0 ? -1 : next;
}

/** The string at `at`, or undefined when there is none, it is cut off, or it is longer than is sensible. */
export function readText(bytes: Buffer, at: number, end: number): string | undefined {
  const last = textEnd(bytes, at, end);
  if (last < 0 || last - at > maxReadBytes) return undefined;
  let text = "";
  let next = at;
  while (next < last) {
    const tag = bytes[next] as number;
    const start = next + headSize(tag);
    const units =
      tag <= 0x1f
        ? tag
        : tag <= 0x33
          ? ((tag - 0x30) << 8) | (bytes[next + 1] as number)
          : ((bytes[next + 1] as number) << 8) | (bytes[next + 2] as number);
    next = unitsEnd(bytes, start, last, units);
    text += decodeUnits(bytes, start, next);
  }
  return text;
}

/** How many bytes stand before the characters of a chunk with this tag. */
export function headSize(tag: number): number {
  return tag <= 0x1f ? 1 : tag <= 0x33 ? 2 : 3;
}

function decodeUnits(bytes: Buffer, start: number, end: number): string {
  for (let at = start; at < end; at++) {
    // Only a surrogate half stored by itself is beyond the built-in decoder.
    if (bytes[at] === 0xed && (bytes[at + 1] as number) >= 0xa0) return decodeSurrogates(bytes, start, end);
  }
  return bytes.toString("utf8", start, end);
}

function decodeSurrogates(bytes: Buffer, start: number, end: number): string {
  let text = "";
  let plain = start;
  for (let at = start; at + 2 < end; at++) {
    if (bytes[at] !== 0xed || (bytes[at + 1] as number) < 0xa0) continue;
    const unit = 0xd000 | (((bytes[at + 1] as number) & 0x3f) << 6) | ((bytes[at + 2] as number) & 0x3f);
    text += bytes.toString("utf8", plain, at) + String.fromCharCode(unit);
    at += 2;
    plain = at + 1;
  }
  return text + bytes.toString("utf8", plain, end);
}

/** `S`, the length in UTF-16 units, the units; what is longer than `maxWrittenUnits` is cut. */
export function writeText(text: string): Buffer {
  const short = text.slice(0, maxWrittenUnits);
  const out = Buffer.alloc(3 + short.length * 3);
  out[0] = 0x53;
  out.writeUInt16BE(short.length, 1);
  let at = 3;
  for (let index = 0; index < short.length; index++) {
    const unit = short.charCodeAt(index);
    if (unit < 0x80) {
      out[at++] = unit;
      continue;
    }
    if (unit < 0x800) out[at++] = 0xc0 | (unit >> 6);
    else {
      out[at++] = 0xe0 | (unit >> 12);
      out[at++] = 0x80 | ((unit >> 6) & 0x3f);
    }
    out[at++] = 0x80 | (unit & 0x3f);
  }
  return out.subarray(0, at);
}

/** The units of `text` without a length in front. */
export function textBytes(text: string): Buffer {
  return writeText(text).subarray(3);
}
