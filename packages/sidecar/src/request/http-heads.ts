/** Writes heads: all of them into one buffer of the process, from which each is copied to its connection's stage at once. */
import type { Http1Head } from "@dualmesh/wire/http1/head";
import { type Forwarding, forwardedBound, forwardHead } from "@dualmesh/wire/http1/writer";

let scratch = Buffer.allocUnsafeSlow(16 * 1024);

/** Returns the size of the head, which stands in `writtenHead()` until the next one. */
export function writeHead(head: Http1Head, forwarding: Forwarding): number {
  const bound = forwardedBound(head, forwarding);
  if (bound > scratch.length) scratch = Buffer.allocUnsafeSlow(bound);
  return forwardHead(head, forwarding, scratch, 0);
}

export function writtenHead(): Buffer {
  return scratch;
}

/** The one switch of protocols that passes through. */
export function wantsWebSocket(head: Http1Head): boolean {
  return head.upgrade && head.upgradeProtocol() === "websocket";
}
