/**
 * Why this exists: cuts the bytes of one connection into messages. The owner pulls: each `read` reports one thing, so that it stops
 * after the end of a message, or whenever its owner does not ask, and pipelined bytes stay unread.
 *
 *   for (let at = start; ; ) {
 *     const event = reader.read(bytes, at, end);
 *     at = reader.position;
 *     if (event === readEvent.more) break; // all bytes are consumed
 *     …
 *     if (event === readEvent.end) break;  // the next message only when its owner goes on
 *   }
 */

import { cr, lf } from "./chars.ts";
import { ChunkLines } from "./chunk-lines.ts";
import { FieldLines } from "./field-lines.ts";
import { settleRequest, settleResponse } from "./framing.ts";
import { Fields, framing, Http1Head, type Method } from "./head.ts";
import { defaultHttp1Limits, Http1Error, type Http1Limits } from "./limits.ts";
import { PartialBytes } from "./partial-bytes.ts";
import { StartLine } from "./start-line.ts";
import { checkTrailers } from "./trailers.ts";

/** Order for one message: head, data*, trailers?, end. `more`: everything given was consumed and more bytes are needed. */
export const readEvent = { more: 0, head: 1, data: 2, trailers: 3, end: 4 } as const;
export type ReadEvent = (typeof readEvent)[keyof typeof readEvent];

const phase = {
  /** Between messages; in the start line; in the fields. */
  start: 0,
  line: 12,
  fields: 1,
  length: 2,
  chunkLine: 3,
  chunkData: 4,
  chunkCr: 5,
  chunkLf: 6,
  trailers: 7,
  untilClose: 8,
  end: 9,
  tunnel: 10,
  broken: 11,
} as const;

/** A head that came in parts is kept and read in pieces of this many bytes, so that the body behind it is not copied with it. */
const pieceBytes = 1_024;

const nobody = -1;

export class Http1Reader {
  readonly head: Http1Head = new Http1Head();
  /** The trailers, at the event `trailers` and until the next `read`. */
  readonly trailers: Fields = new Fields();
  /** Where to go on in the bytes given to the last `read`. */
  position = 0;
  /** At the event `data`: its slice of the bytes given. */
  dataStart = 0;
  dataEnd = 0;

  readonly #requests: boolean;
  readonly #limits: Http1Limits;
  readonly #startLine: StartLine;
  readonly #headLines: FieldLines;
  readonly #trailerLines: FieldLines;
  readonly #chunkLines: ChunkLines;
  readonly #partial: PartialBytes;
  #phase: number = phase.start;
  /** Bytes of data to come of this body or chunk. */
  #remaining = 0;
  #expected: Method | typeof nobody = nobody;
  #broken: Http1Error | undefined;

  /** `client` reads requests of clients; `server` reads responses of servers, and is told by `expect` which. */
  constructor(from: "client" | "server", limits: Http1Limits = defaultHttp1Limits) {
    this.#requests = from === "client";
    this.#limits = limits;
    this.#startLine = new StartLine(this.head, limits);
    this.#headLines = new FieldLines(this.head.fields, limits.headerCount, "headerCount");
    this.#trailerLines = new FieldLines(this.trailers, limits.trailerCount, "trailerCount");
    this.#chunkLines = new ChunkLines(limits);
    this.#partial = new PartialBytes(Math.max(limits.headBytes, limits.trailerBytes));
  }

  /**
   * Responses only: the method of the request that was just sent, before the answer is read. Interim answers (1xx) come as a head and
   * an end of their own, and the same request's answer is then still expected. Bytes that nobody expects raise an error.
   */
  expect(method: Method): void {
    this.#expected = method;
  }

  /**
   * Reads on in `bytes[start, end)`, which are valid during the call only. `start` may equal `end`. Raises `Http1Error` and nothing
   * else, and then the same at each further call.
   */
  read(bytes: Buffer, start: number, end: number): ReadEvent {
    try {
      return this.#read(bytes, start, end);
    } catch (error) {
      throw this.#breakWith(error);
    }
  }

  /** The peer sent FIN: `end` when that is how the body ends, `more` between messages; raises `Http1Error` in the midst of a message. */
  finish(): ReadEvent {
    if (this.#phase === phase.broken) throw this.#broken;
    if (this.#phase === phase.tunnel) return readEvent.end;
    if (this.#phase === phase.untilClose || this.#phase === phase.end) return this.#ended();
    if (this.#phase === phase.length && this.#remaining === 0) return this.#ended();
    if (this.idle && this.#expected === nobody) return readEvent.more;
    throw this.#breakWith(new Http1Error(400, 0, "the connection ended in the midst of a message"));
  }

  /** True between messages with nothing held: the connection can be pooled or handed over. */
  get idle(): boolean {
    return this.#phase === phase.start || (this.#phase === phase.line && this.#partial.size === 0);
  }

  /** Bytes of memory taken by what is kept of heads and trailers. */
  get heldBytes(): number {
    return this.#partial.bytes.length;
  }

  /**
   * Gives up the bytes of a partial head, to be read by another process; the reader starts afresh. Undefined in the midst of a
   * message, whose bytes have been reported in part.
   */
  residual(): Buffer | undefined {
    if (this.#phase !== phase.start && this.#phase !== phase.line && this.#phase !== phase.fields) return undefined;
    const bytes = Buffer.from(this.#partial.bytes.subarray(0, this.#partial.size));
    this.#phase = phase.start;
    this.forget();
    return bytes;
  }

  /**
   * Gives up a message of which the head was reported and nothing else was read, to be read by another process; the reader starts afresh.
   */
  unread(): Buffer {
    const { bytes, start, end } = this.head;
    const copy = Buffer.from(bytes.subarray(start, end));
    this.#phase = phase.start;
    this.forget();
    return copy;
  }

  /** Between messages: lets go of the last head's bytes, so that an idle connection holds none. Views of them are empty then. */
  forget(): void {
    if (this.#phase !== phase.start) return;
    this.#partial.clear();
    this.head.forget();
    this.trailers.bytes = this.head.bytes;
    this.trailers.clear();
  }

  #read(bytes: Buffer, start: number, end: number): ReadEvent {
    let at = start;
    for (;;) {
      switch (this.#phase) {
        case phase.start:
        case phase.line:
        case phase.fields:
          return this.#readHead(bytes, at, end);
        case phase.length:
        case phase.chunkData:
          if (this.#remaining > 0) return this.#data(at, Math.min(end, at + this.#remaining), at === end);
          this.#phase = this.#phase === phase.length ? phase.end : phase.chunkCr;
          break;
        case phase.untilClose:
          return this.#data(at, end, at === end);
        case phase.chunkLine: {
          const next = this.#chunkLines.scan(bytes, at, end);
          if (next < 0) return this.#more(end);
          at = next;
          this.#remaining = this.#chunkLines.size;
          this.#phase = this.#remaining > 0 ? phase.chunkData : phase.trailers;
          if (this.#remaining === 0) this.#beginTrailers();
          break;
        }
        case phase.chunkCr:
        case phase.chunkLf: {
          if (at === end) return this.#more(end);
          const first = this.#phase === phase.chunkCr;
          if (bytes[at] !== (first ? cr : lf)) throw new Http1Error(400, at, "a chunk without CRLF after its data");
          at++;
          this.#phase = first ? phase.chunkLf : phase.chunkLine;
          break;
        }
        case phase.trailers:
          return this.#readTrailers(bytes, at, end);
        case phase.end:
          this.position = at;
          return this.#ended();
        case phase.tunnel:
          this.position = at;
          return readEvent.end;
        default:
          throw this.#broken;
      }
    }
  }

  #readHead(bytes: Buffer, start: number, end: number): ReadEvent {
    const partial = this.#partial;
    if (start === end) return this.#more(end);
    if (this.#phase === phase.start) this.#beginHead(start);
    if (partial.size === 0) {
      if (this.#phase === phase.line) this.#startAt(start);
      if (this.#scanHead(bytes, end)) {
        this.position = this.head.end;
        return readEvent.head;
      }
      // The rest is to come: what there is of this head is kept, and everything found so far moves with it.
      const from = this.head.start;
      partial.append(bytes, from, end);
      this.head.move(partial.bytes, from);
      this.#startLine.move(from);
      this.#headLines.move(from);
      return this.#more(end);
    }
    for (let at = start; at < end; ) {
      const before = partial.size;
      const piece = Math.min(end, at + pieceBytes);
      partial.append(bytes, at, piece);
      if (this.#scanHead(partial.bytes, partial.size)) {
        this.position = at + this.head.end - before;
        partial.size = 0;
        return readEvent.head;
      }
      at = piece;
    }
    return this.#more(end);
  }

  #beginHead(start: number): void {
    if (!this.#requests && this.#expected === nobody) throw new Http1Error(400, 0, "a response that nobody asked for");
    if (this.#partial.bytes.length > 0) this.#partial.clear();
    this.#startLine.begin(start);
    this.#phase = phase.line;
  }

  #startAt(start: number): void {
    this.head.start = start;
    this.#startLine.at = start;
  }

  /** True when the head is whole: the view is set and the body's framing known. */
  #scanHead(bytes: Buffer, end: number): boolean {
    const head = this.head;
    const line = this.#startLine;
    if (this.#phase === phase.line && this.#requests && !line.skipEmptyLine(bytes, end)) return false;
    const stop = Math.min(end, head.start + this.#limits.headBytes);
    if (this.#phase === phase.line) {
      const whole = this.#requests ? line.request(bytes, stop) : line.response(bytes, stop);
      if (!whole) return this.#tooLong(end);
      this.#phase = phase.fields;
      head.linesStart = line.at;
      this.#headLines.begin();
    }
    const after = this.#headLines.scan(bytes, line.at, stop);
    line.at = stop;
    if (after < 0) return this.#tooLong(end);
    head.end = after;
    head.bytes = bytes;
    head.fields.bytes = bytes;
    this.#settle();
    return true;
  }

  #tooLong(end: number): false {
    const limit = this.#limits.headBytes;
    if (end - this.head.start < limit) return false;
    throw new Http1Error(431, limit, `a head of more than ${limit} bytes (limit headBytes)`);
  }

  #settle(): void {
    const head = this.head;
    if (this.#requests) {
      head.status = 0;
      settleRequest(head);
    } else settleResponse(head, this.#expected as Method);
    this.#remaining = head.framing === framing.length ? head.contentLength : 0;
    switch (head.framing) {
      case framing.length:
        this.#phase = phase.length;
        break;
      case framing.chunked:
        this.#phase = phase.chunkLine;
        this.#chunkLines.beginMessage();
        break;
      case framing.untilClose:
        this.#phase = phase.untilClose;
        break;
      case framing.tunnel:
        this.#phase = phase.tunnel;
        break;
      default:
        this.#phase = phase.end;
    }
  }

  #data(start: number, end: number, none: boolean): ReadEvent {
    this.position = end;
    if (none) return readEvent.more;
    this.dataStart = start;
    this.dataEnd = end;
    if (this.#phase !== phase.untilClose) this.#remaining -= end - start;
    return readEvent.data;
  }

  #beginTrailers(): void {
    this.#trailerLines.begin();
    // The head may still be read from what was kept of it, so that trailers take room of their own.
    this.#partial.clear();
  }

  #readTrailers(bytes: Buffer, start: number, end: number): ReadEvent {
    const limit = this.#limits.trailerBytes;
    const partial = this.#partial;
    let at = start;
    if (partial.size === 0) {
      const after = this.#trailerLines.scan(bytes, start, Math.min(end, start + limit));
      if (after >= 0) return this.#trailersEnd(bytes, after);
      if (end - start >= limit) throw this.#longTrailers();
      partial.append(bytes, start, end);
      this.trailers.move(partial.bytes, start);
      this.#trailerLines.move(start);
      return this.#more(end);
    }
    while (at < end) {
      const before = partial.size;
      const piece = Math.min(end, at + pieceBytes);
      partial.append(bytes, at, piece);
      const after = this.#trailerLines.scan(partial.bytes, before, Math.min(partial.size, limit));
      if (after >= 0) return this.#trailersEnd(partial.bytes, after, at + after - before);
      if (partial.size >= limit) throw this.#longTrailers();
      at = piece;
    }
    return this.#more(end);
  }

  #longTrailers(): Http1Error {
    const limit = this.#limits.trailerBytes;
    return new Http1Error(431, limit, `trailers of more than ${limit} bytes (limit trailerBytes)`);
  }

  #trailersEnd(bytes: Buffer, after: number, position = after): ReadEvent {
    this.trailers.bytes = bytes;
    this.position = position;
    this.#phase = phase.end;
    this.#partial.size = 0;
    if (this.trailers.count === 0) return this.#ended();
    checkTrailers(this.trailers);
    return readEvent.trailers;
  }

  #ended(): ReadEvent {
    this.#phase = phase.start;
    // After an interim answer (1xx) the answer itself is still to come.
    if (this.head.status === 0 || this.head.status >= 200) this.#expected = nobody;
    return readEvent.end;
  }

  #more(end: number): ReadEvent {
    this.position = end;
    return readEvent.more;
  }

  /** A response that cannot be understood is a bad gateway to the client, whatever is wrong with it. */
  #breakWith(error: unknown): unknown {
    if (!(error instanceof Http1Error) || this.#phase === phase.broken) return error;
    this.#broken = this.#requests ? error : new Http1Error(502, error.at, error.reason);
    this.#phase = phase.broken;
    this.#partial.clear();
    return this.#broken;
  }
}
