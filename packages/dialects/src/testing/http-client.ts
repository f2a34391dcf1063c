/** A client of a door that speaks HTTP, without HTTP between: for tests with a clock that stands still. */
import type { HttpAnswer, HttpService, HttpSink, HttpStream } from "@dualmesh/base/http/service";

export interface SentRequest {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly remote?: string;
  readonly signal?: AbortSignal;
}

export interface ReceivedAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  /** The text as JSON; undefined when it is none. */
  readonly json: Record<string, unknown> | undefined;
}

/** What came of a stream of server-sent events. */
export class ReceivedStream {
  readonly status: number;
  text = "";
  ended = false;
  /** Bytes that this client has not read. */
  queuedBytes = 0;
  readonly #listeners: (() => void)[] = [];

  constructor({ status, open }: HttpStream) {
    this.status = status;
    const received = this;
    const sink: HttpSink = {
      send(text) {
        received.text += text;
      },
      get queuedBytes() {
        return received.queuedBytes;
      },
      end: () => this.leave(),
      onClose: (listener) => void this.#listeners.push(listener),
    };
    open(sink);
  }

  /** The events, without comments. */
  get events(): readonly { readonly event: string; readonly id: string; readonly data: Record<string, unknown> }[] {
    return this.text
      .split("\n\n")
      .map((block) => new Map(block.split("\n").map((line) => line.split(/: (.*)/s, 2) as [string, string])))
      .filter((fields) => fields.has("event"))
      .map((fields) => ({
        event: fields.get("event") ?? "",
        id: fields.get("id") ?? "",
        data: JSON.parse(fields.get("data") ?? "{}") as Record<string, unknown>,
      }));
  }

  /** The client goes, or the door has ended it. */
  leave(): void {
    if (this.ended) return;
    this.ended = true;
    for (const listener of this.#listeners) listener();
  }
}

export async function send(
  handle: HttpService,
  target: string,
  request: SentRequest = {},
): Promise<ReceivedAnswer | ReceivedStream> {
  const url = new URL(target, "http://127.0.0.1");
  const { body, method = body === undefined ? "GET" : "POST" } = request;
  const headers = new Map(Object.entries(request.headers ?? {}));
  if (body !== undefined && !headers.has("content-type")) headers.set("content-type", "application/json");
  const answer = await handle({
    method,
    path: url.pathname,
    query: url.searchParams,
    headers,
    body: Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : (JSON.stringify(body) ?? "")),
    remote: request.remote ?? "127.0.0.1:50000",
    signal: request.signal ?? new AbortController().signal,
  });
  return "open" in answer ? new ReceivedStream(answer) : received(answer);
}

/** An answer that is not a stream. */
export async function ask(handle: HttpService, target: string, request: SentRequest = {}): Promise<ReceivedAnswer> {
  const answer = await send(handle, target, request);
  if (answer instanceof ReceivedStream) throw new Error(`${target} answered with a stream`);
  return answer;
}

export async function follow(handle: HttpService, target: string, request: SentRequest = {}): Promise<ReceivedStream> {
  const answer = await send(handle, target, request);
  if (answer instanceof ReceivedStream) return answer;
  throw new Error(`${target} answered ${answer.status}: ${answer.text}`);
}

function received({ status, headers, body }: HttpAnswer): ReceivedAnswer {
  const text = body.toString();
  const isJson = (headers["content-type"] ?? "").includes("json");
  return { status, headers, text, json: isJson ? (JSON.parse(text) as Record<string, unknown>) : undefined };
}
