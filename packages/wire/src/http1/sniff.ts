/** Why this exists: tells an HTTP/1 request by its first bytes: a method of at most 24 token characters, then a space. */
import type { Sniff } from "../codec.ts";

/** No answer of `sniffHttp1` needs more bytes. */
export const maxHttp1SniffBytes = 25;

/** `PRI * HTTP/2.0` is not HTTP/1: ask for HTTP/2 first. */
export function sniffHttp1(_head: Uint8Array): Sniff {
  throw new Error("not built yet");
}
