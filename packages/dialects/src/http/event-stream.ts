/** One stream of server-sent events: keeps itself alive, and is cut when its client does not read. */
import type { Clock, Timer } from "@dualmesh/base/clock";
import type { HttpSink, HttpStream } from "@dualmesh/base/http/service";

export interface EventStreamOptions {
  readonly clock: Clock;
  readonly keepAliveMs: number;
  readonly maxQueuedBytes: number;
  /** The text of a keep-alive comment. */
  readonly keepAlive: () => string;
  /** How soon the client is to come back when the connection breaks. */
  readonly retryMs: number;
}

export class EventStream {
  readonly #sink: HttpSink;
  readonly #options: EventStreamOptions;
  readonly #alive: Timer;
  #ended = false;

  constructor(sink: HttpSink, options: EventStreamOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#alive = options.clock.every(options.keepAliveMs, () => this.#write(`: ${options.keepAlive()}\n\n`));
    sink.onClose(() => this.#stop());
    this.#write(`retry: ${Math.round(options.retryMs)}\n\n`);
  }

  /** `data` is one line of JSON. */
  send(event: string, id: string, data: string): void {
    this.#write(`${id === "" ? "" : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`);
  }

  end(): void {
    if (this.#ended) return;
    this.#stop();
    this.#sink.end();
  }

  #write(text: string): void {
    if (this.#ended) return;
    // What is queued already is what counts: one large event is not the client's fault.
    if (this.#sink.queuedBytes > this.#options.maxQueuedBytes) this.end();
    else this.#sink.send(text);
  }

  #stop(): void {
    this.#ended = true;
    this.#alive.cancel();
  }
}

/** The answer that becomes an event stream. */
export function eventStreamAnswer(open: (sink: HttpSink) => void): HttpStream {
  return {
    status: 200,
    headers: {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "x-accel-buffering": "no", // a proxy of nginx's kind passes events on at once
    },
    open,
  };
}
