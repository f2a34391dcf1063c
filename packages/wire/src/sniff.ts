/**
 * Why this exists: one port serves every protocol in which the client speaks first, because their first bytes differ. `more` means that
 * what came so far is the beginning of something known.
 */
import { rpcCodecs } from "./protocols.ts";

export type Sniffed = "bolt" | "dubbo" | "http1" | "http2" | "tls" | "more" | "unknown";

/** No answer needs more bytes than this. */
export const maxSniffBytes = 24;

const preface: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const methods: readonly Buffer[] = [
  "GET ",
  "POST ",
  "PUT ",
  "DELETE ",
  "HEAD ",
  "OPTIONS ",
  "PATCH ",
  "TRACE ",
  "CONNECT ",
].map((method) => Buffer.from(method));

export function sniffProtocol(head: Uint8Array): Sniffed {
  if (head.length === 0) return "more";
  let more = false;
  for (const codec of rpcCodecs) {
    const sniff = codec.sniff(head);
    if (sniff === "yes") return codec.protocol as Sniffed;
    if (sniff === "more") more = true;
  }
  if (head[0] === 0x16) return head.length < 2 ? "more" : head[1] === 3 ? "tls" : "unknown";
  const http2 = startsWith(head, preface);
  if (http2 === "yes") return "http2";
  if (http2 === "more") more = true;
  for (const method of methods) {
    const http1 = startsWith(head, method);
    if (http1 === "yes") return "http1";
    if (http1 === "more") more = true;
  }
  return more ? "more" : "unknown";
}

function startsWith(head: Uint8Array, text: Buffer): "yes" | "no" | "more" {
  const length = Math.min(head.length, text.length);
  for (let at = 0; at < length; at++) {
    if (head[at] !== text[at]) return "no";
  }
  return length === text.length ? "yes" : "more";
}
