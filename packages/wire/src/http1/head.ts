/**
 * Why this exists: a received head as a view. One view serves a connection; it holds offsets into the bytes that were read, so that a
 * field which nobody asks for costs no allocation.
 */
import type { FieldId } from "./names.ts";

/** How the body of a message ends (RFC 9112 section 6.3). `tunnel`: what follows is no HTTP message (101, or 2xx to CONNECT). */
export const framing = { none: 0, length: 1, chunked: 2, untilClose: 3, tunnel: 4 } as const;
export type Framing = (typeof framing)[keyof typeof framing];

export const method = {
  other: 0,
  GET: 1,
  HEAD: 2,
  POST: 3,
  PUT: 4,
  DELETE: 5,
  CONNECT: 6,
  OPTIONS: 7,
  TRACE: 8,
  PATCH: 9,
} as const;
export type Method = (typeof method)[keyof typeof method];

export const targetForm = { origin: 0, absolute: 1, authority: 2, asterisk: 3 } as const;
export type TargetForm = (typeof targetForm)[keyof typeof targetForm];

/** A table of fields: of a head, or of a chunked body's trailers. Offsets are absolute in `bytes`; values are without space around them. */
export class Fields {
  bytes: Buffer = Buffer.alloc(0);
  count = 0;

  /** The known id of field `index`; 0 for a name that `names.ts` does not list. */
  id(_index: number): FieldId | 0 {
    throw new Error("not built yet");
  }
  nameStart(_index: number): number {
    throw new Error("not built yet");
  }
  nameEnd(_index: number): number {
    throw new Error("not built yet");
  }
  valueStart(_index: number): number {
    throw new Error("not built yet");
  }
  valueEnd(_index: number): number {
    throw new Error("not built yet");
  }
  /** The index of the first field of this id at or after `from`, or -1. Costs nothing when there is none. */
  find(_id: FieldId, _from = 0): number {
    throw new Error("not built yet");
  }
  /** The same by any name, in lower case. */
  findName(_name: string, _from = 0): number {
    throw new Error("not built yet");
  }
  /** Texts are decoded as latin1, byte for byte. */
  name(_index: number): string {
    throw new Error("not built yet");
  }
  value(_index: number): string {
    throw new Error("not built yet");
  }
}

/**
 * The head of a request or a response. Valid until the next `read` of its reader; after `retain` until the reader reports the next head.
 */
export class Http1Head {
  readonly fields: Fields = new Fields();
  bytes: Buffer = Buffer.alloc(0);
  /** The whole head in `bytes`, the empty line included. */
  start = 0;
  end = 0;
  /** The minor version: 1 or 0. */
  minor = 1;
  framing: Framing = framing.none;
  /** The stated length; -1 when none is stated. Where `framing` is not `length` (HEAD, 304) it describes and does not frame. */
  contentLength = -1;
  /** False when the connection must not be used again after this message (RFC 9112 section 9.3), or when doubt is left. */
  keepAlive = true;
  /** The sender waits for `100 Continue` (RFC 9110 section 10.1.1); never set for HTTP/1.0. */
  expectContinue = false;
  /** `Connection` has `upgrade` and there is an `Upgrade` field (RFC 9110 section 7.8); `upgradeProtocol()` names it. */
  upgrade = false;

  /** Requests. */
  method: Method = method.other;
  methodEnd = 0;
  targetStart = 0;
  targetEnd = 0;
  form: TargetForm = targetForm.origin;
  /** The path in canonical form: the raw range of the target where nothing had to change. `*` and CONNECT have an empty one. */
  pathBytes: Buffer = Buffer.alloc(0);
  pathStart = 0;
  pathEnd = 0;
  /** The query with its `?` in `bytes`, byte-exact; empty when there is none. */
  queryStart = 0;
  queryEnd = 0;
  /** True when path and form are canonical as received, so that the target may be copied as it came. */
  canonical = true;

  /** Responses: 0 for a request. */
  status = 0;

  methodText(): string {
    throw new Error("not built yet");
  }
  /** The canonical path, without the query. */
  path(): string {
    throw new Error("not built yet");
  }
  query(): string {
    throw new Error("not built yet");
  }
  /** Canonical host: lower case, without trailing dot and port; of the absolute form's authority, else of `Host`. Empty when there is none. */
  host(): string {
    throw new Error("not built yet");
  }
  /** The port that goes with `host()`; 0 when none is stated. */
  port(): number {
    throw new Error("not built yet");
  }
  /** The first token of `Upgrade`, in lower case; empty when this is no upgrade. */
  upgradeProtocol(): string {
    throw new Error("not built yet");
  }
  /** Copies the head out of the shared buffer, so that it stays readable until the next head. Offsets change with it. */
  retain(): void {
    throw new Error("not built yet");
  }
}
