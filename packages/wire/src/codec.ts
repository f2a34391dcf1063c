/**
 * The two shapes of codec. `FrameCodec` serves protocols of whole frames (Bolt, Dubbo, the registry stream, ZooKeeper's jute);
 * `MessageCodec` serves streamed ones that have many messages on one connection (HTTP/2). HTTP/1.1 has one at a time and tells the same
 * things in the same order, but its owner pulls them (http1/reader.ts, and docs/adr/0003 for why). A codec is pure and synchronous and
 * touches no socket. Malformed bytes raise `FrameError` and nothing else; no codec allocates for a length that it has only been promised.
 */

/** What the first bytes of a connection say of a protocol. `more` when they are a prefix of a possible yes. */
export type Sniff = "yes" | "no" | "more";

/** The only error of a codec: the connection cannot be understood any further and must be closed. */
export class FrameError extends Error {
  readonly protocol: string;
  /** Bytes from the start of the frame at which the fault was seen. */
  readonly at: number;

  constructor(protocol: string, at: number, message: string) {
    super(`${protocol}: ${message} (byte ${at} of the frame)`);
    this.name = "FrameError";
    this.protocol = protocol;
    this.at = at;
  }
}

/** The largest frame that any codec accepts, head included, in bytes. */
export const maxFrameBytes = 8 * 1024 * 1024;

export interface FrameCodec<Frame> {
  readonly protocol: string;
  sniff(head: Uint8Array): Sniff;
  /** A view to decode into; one serves a whole connection, so that decoding allocates nothing. */
  view(): Frame;
  /**
   * Looks at `bytes[offset, end)`. Returns the size of the frame that begins at `offset` when all of it is there, its head
   * and its slices then standing in `into`, which refers to `bytes`. Otherwise returns how many bytes are needed, counted from `offset`
   * and negated: as much as is known yet (the head's size, then the frame's).
   */
  decode(bytes: Buffer, offset: number, end: number, into: Frame): number;
  /** A frame made whole again: after `decode` the identity. */
  encode(frame: Frame): Buffer;
}

/** What a streamed protocol tells of one message, in this order: head, data…, trailers?, end; or cancel at any point. */
export interface MessageEvents<Head> {
  head(stream: number, head: Head): void;
  /** `bytes` is valid during the call only. */
  data(stream: number, bytes: Buffer): void;
  trailers(stream: number, trailers: readonly (readonly [string, string])[]): void;
  end(stream: number): void;
  /** The peer gave this message up (RST_STREAM, a broken chunk, a closed connection); `code` is a MeshError code. */
  cancel(stream: number, code: string): void;
  /** The peer takes `bytes` more of this message's data (WINDOW_UPDATE); protocols without windows never call it. */
  credit(stream: number, bytes: number): void;
}

/** One serves one connection, whose state it holds: streams, windows, tables of headers. */
export interface MessageCodec<Head> {
  readonly protocol: string;
  sniff(head: Uint8Array): Sniff;
  /** Takes in what was read; returns false when it wants no more until `resume` of its owner (its peer's window is spent). */
  read(bytes: Buffer, events: MessageEvents<Head>): boolean;
  writeHead(stream: number, head: Head): Buffer;
  /** Frames data; `credit` of the stream must cover it. */
  writeData(stream: number, bytes: Buffer): Buffer;
  writeTrailers(stream: number, trailers: readonly (readonly [string, string])[]): Buffer;
  writeEnd(stream: number): Buffer;
  writeCancel(stream: number, code: string): Buffer;
  /** How many bytes of data the peer takes now for this stream; Infinity where the protocol has no windows. */
  credit(stream: number): number;
}
