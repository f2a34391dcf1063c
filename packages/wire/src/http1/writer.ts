/**
 * Why this exists: forwards a head by copying ranges of the one received, without the fields that are for one hop (RFC 9110 section
 * 7.6.1), framed anew in canonical form.
 */
import type { Framing, Http1Head } from "./head.ts";

/** What is done to one field on the way. Made once (per route, endpoint or connection), used for many heads. */
export interface FieldEdit {
  readonly name: string;
  /**
   * `replace`: every such field goes, this one comes; `append`: joins the list at its end (one field, `, ` between), or comes alone;
   * `absent`: only when there is none; `drop`: every such field goes.
   */
  readonly how: "replace" | "append" | "absent" | "drop";
  /** Internal: the value, and the whole line `name: value CRLF`. */
  readonly value: Buffer;
  readonly line: Buffer;
  readonly id: number;
}

/** Raises RangeError when name or value cannot stand in a field: that is the caller's fault, not the peer's. */
export function fieldEdit(_name: string, _how: FieldEdit["how"], _value = ""): FieldEdit {
  throw new Error("not built yet");
}

/** How a head goes on. Mutable, so that one serves a connection. */
export interface Forwarding {
  edits: readonly FieldEdit[];
  /**
   * How the body is framed on this hop; usually `head.framing`. `length` takes `head.contentLength`. `none` keeps a descriptive
   * content-length (HEAD, 304). `untilClose` implies `close`. `chunked` must not go to an HTTP/1.0 peer.
   */
  framing: Framing;
  /** Writes `connection: close`. */
  close: boolean;
  /** Writes `connection: keep-alive`, which an HTTP/1.0 peer that asked for it needs. */
  keepAlive: boolean;
  /** Lets `Upgrade` pass, with `connection: upgrade`. */
  upgrade: boolean;
}

/** No forwarded head is larger than this. */
export function forwardedBound(_head: Http1Head, _forwarding: Forwarding): number {
  throw new Error("not built yet");
}

/** Writes the head into `into` from `at` on, which must have `forwardedBound` bytes of room; returns where it ends. */
export function forwardHead(_head: Http1Head, _forwarding: Forwarding, _into: Buffer, _at: number): number {
  throw new Error("not built yet");
}
