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
import { Fields, Http1Head, type Method } from "./head.ts";
import { defaultHttp1Limits, type Http1Limits } from "./limits.ts";

/** Order for one message: head, data*, trailers?, end. `more`: everything given was consumed and more bytes are needed. */
export const readEvent = { more: 0, head: 1, data: 2, trailers: 3, end: 4 } as const;
export type ReadEvent = (typeof readEvent)[keyof typeof readEvent];

export class Http1Reader {
  readonly head: Http1Head;
  /** The trailers, at the event `trailers` and until the next `read`. */
  readonly trailers: Fields;
  /** Where to go on in the bytes given to the last `read`. */
  position = 0;
  /** At the event `data`: its slice of the bytes given. */
  dataStart = 0;
  dataEnd = 0;

  /** `client` reads requests of clients; `server` reads responses of servers, and is told by `expect` which. */
  constructor(_from: "client" | "server", _limits: Http1Limits = defaultHttp1Limits) {
    this.head = new Http1Head();
    this.trailers = new Fields();
  }

  /**
   * Responses only: the method of the request that was just sent, before the answer is read. Interim answers (1xx) come as a head and
   * an end of their own, and the same request's answer is then still expected. Bytes that nobody expects raise an error.
   */
  expect(_method: Method): void {
    throw new Error("not built yet");
  }

  /** Reads on in `bytes[start, end)`, which are valid during the call only. `start` may equal `end`. Raises `Http1Error` and nothing else. */
  read(_bytes: Buffer, _start: number, _end: number): ReadEvent {
    throw new Error("not built yet");
  }

  /** The peer sent FIN: `end` when that is how the body ends, `more` between messages; raises `Http1Error` in the midst of a message. */
  finish(): ReadEvent {
    throw new Error("not built yet");
  }

  /** True between messages with nothing held: the connection can be pooled or handed over. */
  get idle(): boolean {
    throw new Error("not built yet");
  }

  /** Bytes of a partial head or chunk line that this reader keeps. */
  get heldBytes(): number {
    throw new Error("not built yet");
  }

  /** Gives up the bytes of a partial head, to be read by another process; only between messages. The reader starts afresh. */
  residual(): Buffer {
    throw new Error("not built yet");
  }
}
