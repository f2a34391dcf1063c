/**
 * Why this exists: what a peer may make an HTTP/1.1 connection remember or look through. Each limit has its own error, which names
 * the limit and its value.
 */
import { FrameError } from "../codec.ts";

export interface Http1Limits {
  /** The whole head: start line, fields and the empty line. */
  readonly headBytes: number;
  readonly headerCount: number;
  readonly targetBytes: number;
  /** The extensions of one chunk, and of all chunks of one message. */
  readonly chunkExtensionBytes: number;
  readonly messageExtensionBytes: number;
  /** Hexadecimal digits of a chunk's size, leading zeros included. */
  readonly chunkSizeDigits: number;
  readonly trailerBytes: number;
  readonly trailerCount: number;
}

export const defaultHttp1Limits: Http1Limits = {
  headBytes: 64 * 1024,
  headerCount: 128,
  targetBytes: 16 * 1024,
  chunkExtensionBytes: 1024,
  messageExtensionBytes: 16 * 1024,
  chunkSizeDigits: 16,
  trailerBytes: 8 * 1024,
  trailerCount: 32,
};

/** The statuses that a refused message is answered with: a request's own, and 502 for every response that cannot be understood. */
export type RefusalStatus = 400 | 413 | 414 | 417 | 431 | 501 | 502 | 505;

/** The only error of this codec. The connection is out of step and must be closed once the answer is written. */
export class Http1Error extends FrameError {
  /** What to answer the client with. */
  readonly status: RefusalStatus;
  /** Short and stable, for the answer's body and for counting: `two content-length fields`. Holds nothing that the peer sent. */
  readonly reason: string;

  constructor(status: RefusalStatus, at: number, reason: string) {
    super("http1", at, reason);
    this.name = "Http1Error";
    this.status = status;
    this.reason = reason;
  }
}
