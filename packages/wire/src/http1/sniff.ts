/** Why this exists: tells an HTTP/1 request by its first bytes: a method of at most 24 token characters, then a space. */
import type { Sniff } from "../codec.ts";
import { tokenBytes } from "./chars.ts";
import { maxMethodBytes } from "./start-line.ts";

/** No answer of `sniffHttp1` needs more bytes. */
export const maxHttp1SniffBytes = 25;

/** `PRI * HTTP/2.0` begins like a method too: ask for HTTP/2 first. */
export function sniffHttp1(head: Uint8Array): Sniff {
  let at = 0;
  while (at < head.length && at <= maxMethodBytes && tokenBytes[head[at] as number] === 1) at++;
  if (at === head.length && at <= maxMethodBytes) return "more";
  return at > 0 && at <= maxMethodBytes && head[at] === 0x20 ? "yes" : "no";
}
