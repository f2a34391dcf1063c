/**
 * What a small HTTP service of ours (a door, an API) is, apart from the port that it is reached by: whole requests in, whole answers or one
 * stream of events out. The host of the port keeps the limits of HTTP itself. Proxied traffic never comes this way.
 */

export interface HttpRequest {
  readonly method: string;
  /** As it was sent, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** By names in lower case; of a header that came more than once, the values joined by `, `. */
  readonly headers: ReadonlyMap<string, string>;
  /** Whole, and decoded where it was sent with `Content-Encoding: gzip`; the host answers 413 itself beyond its limit. */
  readonly body: Buffer;
  /** `address:port` of the client, to show. */
  readonly remote: string;
  /** Aborted when the client has gone before its answer. */
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  /** `content-length`, `date` and `connection` are the host's; it compresses where the client takes gzip. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
}

/** An answer without an end (server-sent events): the service writes until either side has had enough. */
export interface HttpStream {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Called once, when the head has been written. */
  open(sink: HttpSink): void;
}

export interface HttpSink {
  send(text: string): void;
  /** Bytes that the client has not taken: its service cuts a client that never reads. */
  readonly queuedBytes: number;
  /** Ends the answer once what was sent has left. */
  end(): void;
  /** Called once, whoever ended it. */
  onClose(listener: () => void): void;
}

/** What goes wrong with a request is in the answer; rejects only on a defect. */
export type HttpService = (request: HttpRequest) => Promise<HttpAnswer | HttpStream>;
