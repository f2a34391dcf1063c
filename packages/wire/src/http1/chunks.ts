/** Why this exists: frames a body in chunks (RFC 9112 section 7.1) without allocating. */
import type { Fields } from "./head.ts";
import { singleHop } from "./hops.ts";

/** What `putChunkHead` writes at most: eight digits and CRLF. */
export const maxChunkHeadBytes = 10;

/** Goes after each chunk's data. */
export const chunkEnd: Buffer = Buffer.from("\r\n");

/** The last chunk without trailers. */
export const lastChunk: Buffer = Buffer.from("0\r\n\r\n");

const hexLetters: Buffer = Buffer.from("0123456789abcdef");

/** Writes the size line of a chunk; `size` must not be 0, since that would end the body. Returns where it ends. */
export function putChunkHead(into: Buffer, at: number, size: number): number {
  if (!(size > 0 && size <= 0xffff_ffff)) throw new RangeError(`no chunk has ${size} bytes`);
  let digits = 1;
  while (digits < 8 && size >>> (digits * 4) !== 0) digits++;
  for (let index = 0; index < digits; index++) {
    into[at + index] = hexLetters[(size >>> ((digits - 1 - index) * 4)) & 15] as number;
  }
  into[at + digits] = 0x0d;
  into[at + digits + 1] = 0x0a;
  return at + digits + 2;
}

/** The last chunk with these trailers, without those that are for one hop. */
export function lastChunkWith(trailers: Fields): Buffer {
  const parts: Buffer[] = [lastChunk.subarray(0, 3)];
  for (let index = 0; index < trailers.count; index++) {
    if (singleHop[trailers.id(index)] === 1) continue;
    parts.push(trailers.bytes.subarray(trailers.nameStart(index), trailers.nameEnd(index)), colon);
    parts.push(trailers.bytes.subarray(trailers.valueStart(index), trailers.valueEnd(index)), chunkEnd);
  }
  parts.push(chunkEnd);
  return Buffer.concat(parts);
}

const colon: Buffer = Buffer.from(": ");
