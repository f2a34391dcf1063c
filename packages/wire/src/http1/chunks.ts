/** Why this exists: frames a body in chunks (RFC 9112 section 7.1) without allocating. */
import type { Fields } from "./head.ts";

/** What `putChunkHead` writes at most: eight digits and CRLF. */
export const maxChunkHeadBytes = 10;

/** Goes after each chunk's data. */
export const chunkEnd: Buffer = Buffer.from("\r\n");

/** The last chunk without trailers. */
export const lastChunk: Buffer = Buffer.from("0\r\n\r\n");

/** Writes the size line of a chunk; `size` must not be 0, since that would end the body. Returns where it ends. */
export function putChunkHead(_into: Buffer, _at: number, _size: number): number {
  throw new Error("not built yet");
}

/** The last chunk with these trailers, without those that may not go on. */
export function lastChunkWith(_trailers: Fields): Buffer {
  throw new Error("not built yet");
}
