/** Why this exists: tells an HTTP/1 request by its first bytes: a method of at most 24 token characters, then a space. One empty line may be before it. */
import type { Sniff } from "../codec.ts";
import { tokenBytes } from "./chars.ts";
import { maxMethodBytes } from "./start-line.ts";

/** No answer of `sniffHttp1` needs more bytes. */
export const maxHttp1SniffBytes = 27;

/** `PRI * HTTP/2.0` begins like a method too: ask for HTTP/2 first. */
export function sniffHttp1(head: Uint8Array): Sniff {
  const start = head[0] === 0x0d ? 2 : 0;
  if (start > 0 && head.length > 1 && head[1] !== 0x0a) return "no";
  if (head.length <= start) return "more";
  let at = start;
  while (at < head.length && at - start <= maxMethodBytes && tokenBytes[head[at] as number] === 1) at++;
  const length = at - start;
  if (at === head.length && length <= maxMethodBytes) return "more";
  return length > 0 && length <= maxMethodBytes && head[at] === 0x20 ? "yes" : "no";
}
