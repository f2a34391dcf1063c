/**
 * A port for small HTTP services of ours (doors, APIs): whole requests with limits on head, body, connections and time, answers that are
 * compressed for who takes gzip, and streams of events that say how much their client has not taken. Proxied traffic never comes
 * this way.
 */
import http from "node:http";
import type { AddressInfo } from "node:net";
import { type Bind, listenAnew } from "../bind.ts";
import type { Clock } from "../clock.ts";
import { isReserved } from "../descriptors.ts";
import { messageOf } from "../errors.ts";
import { listenError } from "../listen-error.ts";
import { type Log, silentLog } from "../log.ts";
import { hostOf, ThrottledLog } from "../throttled-log.ts";
import { compressed, takesGzip, unzipped } from "./gzip.ts";
import { isExpectedHost } from "./host-name.ts";
import type { HttpAnswer, HttpRequest, HttpService, HttpSink, HttpStream } from "./service.ts";

export interface HttpHostOptions {
  readonly host: string;
  readonly port: number;
  readonly service: HttpService;
  readonly clock: Clock;
  readonly log?: Log;
  /** Further ones are turned away. */
  readonly maxConnections: number;
  /** Of a request, as it was sent and unzipped; beyond it is 413. */
  readonly maxBodyBytes: number;
  /** A connection was turned away because a limit is reached. */
  readonly dropped?: () => void;
  /**
   * Only callers of this machine are answered, and only who asks for an address, `localhost` or one of these names: a web page whose name
   * was pointed here is not. Without it every caller is answered.
   */
  readonly onlyLocal?: { readonly names: readonly string[] };
  /** Has the server listen in a way of its own; calls back when it does. */
  readonly bind?: Bind;
}

export interface HttpHost {
  readonly host: string;
  readonly port: number;
  /** Open now. */
  readonly connections: number;
  /** Stops accepting, ends streams, lets answers that are being made leave for a moment, then closes what is left. */
  close(): Promise<void>;
}

const maxHeaderSize = 16 * 1024;
const maxHeaders = 100;
const maxTargetLength = 8 * 1024;
/** From the first byte of a request to the last of its head, and of its body. */
const headersTimeoutMs = 5_000;
const requestTimeoutMs = 10_000;
const keepAliveTimeoutMs = 60_000;
/** From the answer to its last byte taken by the client. */
const answerTimeoutMs = 30_000;
/** How long answers may take to leave while the port closes. */
const closingMs = 1_000;

/** The answer to a method that a path does not take. */
export function methodNotAllowed(methods: readonly string[]): HttpAnswer {
  const allow = methods.join(", ");
  return { status: 405, headers: { "content-type": plainText, allow }, body: `this path takes ${allow}\n` };
}

/** Opens the port. Rejects with `listen.port-taken`, `listen.denied` or `listen.failed`. */
export async function openHttpHost(options: HttpHostOptions): Promise<HttpHost> {
  const host = new OpenHost(options);
  await host.listen();
  return host;
}

class OpenHost implements HttpHost {
  readonly #options: HttpHostOptions;
  readonly #server: http.Server;
  readonly #told: ThrottledLog;
  readonly #streams = new Set<http.ServerResponse>();
  #connections = 0;
  #closing = false;

  constructor(options: HttpHostOptions) {
    this.#options = options;
    const { log = silentLog, clock, maxConnections, dropped = () => {} } = options;
    this.#told = new ThrottledLog({ log, clock });
    const server = http.createServer(
      {
        maxHeaderSize,
        headersTimeout: headersTimeoutMs,
        requestTimeout: requestTimeoutMs,
        keepAliveTimeout: keepAliveTimeoutMs,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => void this.#serve(request, response),
    );
    server.maxHeadersCount = maxHeaders;
    server.maxConnections = maxConnections;
    server.on("drop", dropped);
    server.on("connection", (socket) => {
      this.#connections++;
      socket.once("close", () => this.#connections--);
      if (!isReserved(socket)) return;
      socket.destroy();
      dropped();
    });
    server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
      if (socket.writable) socket.end(`HTTP/1.1 ${clientErrorStatus(error)}\r\nConnection: close\r\n\r\n`);
      else socket.destroy();
    });
    this.#server = server;
  }

  get host(): string {
    return this.#options.host;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#connections;
  }

  listen(): Promise<void> {
    const { host, port, bind = listenAnew } = this.#options;
    const server = this.#server;
    return new Promise((resolve, reject) => {
      server.once("error", (error) => reject(listenError({ host, port }, error)));
      bind(server, { host, port }, () => {
        server.removeAllListeners("error");
        server.on("error", () => this.#options.dropped?.()); // accepting failed for one connection; the next may succeed
        resolve();
      });
    });
  }

  close(): Promise<void> {
    this.#closing = true;
    const server = this.#server;
    for (const stream of this.#streams) stream.end();
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(closingMs, () => server.closeAllConnections(), true);
      server.close(() => {
        timer.cancel();
        resolve();
      });
      server.closeIdleConnections();
    });
  }

  async #serve(incoming: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    incoming.on("error", () => {}); // the client is gone; there is nobody to answer
    response.on("error", () => {});
    const left = new AbortController();
    response.on("close", () => left.abort());
    const read = await this.#read(incoming, left.signal);
    if (read === undefined || response.destroyed) return;
    if (read.kind === "refused") return this.#refuse(incoming, response, read.answer);
    const answer = await this.#answer(read.request);
    if (response.destroyed) {
      if ("open" in answer) answer.open(goneSink); // what it holds for this client must end
      return;
    }
    if ("open" in answer) this.#stream(response, answer, incoming.method === "HEAD");
    else await this.#send(response, answer, read.request);
  }

  async #answer(request: HttpRequest): Promise<HttpAnswer | HttpStream> {
    try {
      return await this.#options.service(request);
    } catch (error) {
      const { method, path, remote } = request;
      const fields = { method, path: path.slice(0, 200), remote, error: messageOf(error) };
      this.#told.error(hostOf(remote), fields, "a request could not be answered");
      return textAnswer(500, "this request could not be answered; the log has the reason");
    }
  }

  async #read(incoming: http.IncomingMessage, signal: AbortSignal): Promise<Read | undefined> {
    const refusal = this.#refusal(incoming);
    if (refusal !== undefined) return { kind: "refused", answer: refusal };
    const { maxBodyBytes } = this.#options;
    const sent = await readBody(incoming, maxBodyBytes);
    if (sent === "gone") return undefined;
    const body = sent === "too large" ? sent : await unzipped(incoming.headers["content-encoding"], sent, maxBodyBytes);
    if (typeof body === "string") return { kind: "refused", answer: bodyRefusals[body](maxBodyBytes) };
    const target = incoming.url ?? "/";
    const question = target.indexOf("?");
    const headers = new Map<string, string>();
    for (const [name, values] of Object.entries(incoming.headersDistinct)) headers.set(name, values?.join(", ") ?? "");
    const request: HttpRequest = {
      method: incoming.method ?? "GET",
      path: question < 0 ? target : target.slice(0, question),
      query: new URLSearchParams(question < 0 ? "" : target.slice(question + 1)),
      headers,
      body,
      remote: `${incoming.socket.remoteAddress}:${incoming.socket.remotePort}`,
      signal,
    };
    return { kind: "request", request };
  }

  /** What is refused from the head alone. */
  #refusal(incoming: http.IncomingMessage): HttpAnswer | undefined {
    const { onlyLocal, host, maxBodyBytes } = this.#options;
    if (onlyLocal !== undefined) {
      if (!isLoopback(incoming.socket.localAddress))
        return textAnswer(403, "this port answers callers of its own machine only, by a loopback address");
      if (!isExpectedHost(incoming.headers.host, [host, "localhost", ...onlyLocal.names]))
        return textAnswer(421, "the Host header names neither an address nor a name of this port");
    }
    if ((incoming.url ?? "").length > maxTargetLength)
      return textAnswer(414, `a URL has at most ${maxTargetLength} characters`);
    if (Number(incoming.headers["content-length"] ?? 0) > maxBodyBytes) return bodyRefusals["too large"](maxBodyBytes);
    return undefined;
  }

  /** The body of a refused request is not read, so the next one could not be found behind it: the connection ends. */
  #refuse(incoming: http.IncomingMessage, response: http.ServerResponse, { status, headers, body }: HttpAnswer): void {
    response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body), connection: "close" });
    if (incoming.method !== "HEAD") response.write(body);
    else response.flushHeaders();
    // What the client is still sending goes by for a moment, since a reset would overtake the answer.
    const timer = this.#options.clock.after(closingMs, () => response.end());
    const over = (): void => {
      timer.cancel();
      response.end();
    };
    incoming.once("end", over).once("close", over);
    if (incoming.complete && incoming.readableEnded) over();
    incoming.resume();
  }

  async #send(response: http.ServerResponse, answer: HttpAnswer, request: HttpRequest): Promise<void> {
    const { status } = answer;
    const bodiless = status === 204 || status === 304;
    const plain = typeof answer.body === "string" ? Buffer.from(answer.body) : answer.body;
    const encodable = !bodiless && !hasHeader(answer, "content-encoding");
    const zipped = encodable && takesGzip(request.headers.get("accept-encoding")) ? await compressed(plain) : undefined;
    if (response.destroyed) return;
    const body = zipped ?? plain;
    const timer = this.#options.clock.after(answerTimeoutMs, () => response.socket?.destroy());
    response.on("close", () => timer.cancel());
    response.writeHead(status, {
      ...answer.headers,
      ...(encodable ? { vary: "accept-encoding" } : {}),
      ...(zipped === undefined ? {} : { "content-encoding": "gzip" }),
      ...(bodiless ? {} : { "content-length": body.length }),
      ...(this.#closing ? { connection: "close" } : {}),
    });
    response.end(bodiless || request.method === "HEAD" ? undefined : body);
  }

  #stream(response: http.ServerResponse, stream: HttpStream, headOnly: boolean): void {
    response.writeHead(stream.status, stream.headers);
    if (headOnly || this.#closing) {
      response.end();
      return stream.open(goneSink);
    }
    response.flushHeaders();
    this.#streams.add(response);
    const listeners: (() => void)[] = [];
    let open = true;
    response.on("close", () => {
      open = false;
      this.#streams.delete(response);
      for (const listener of listeners.splice(0)) listener();
    });
    const { clock } = this.#options;
    stream.open({
      send(text) {
        if (open && !response.writableEnded) response.write(text);
      },
      get queuedBytes() {
        return response.writableLength;
      },
      end() {
        if (!open || response.writableEnded) return;
        const timer = clock.after(answerTimeoutMs, () => response.socket?.destroy());
        response.on("close", () => timer.cancel());
        response.end();
      },
      onClose(listener) {
        if (open) listeners.push(listener);
        else queueMicrotask(listener);
      },
    });
  }
}

type Read =
  | { readonly kind: "request"; readonly request: HttpRequest }
  | { readonly kind: "refused"; readonly answer: HttpAnswer };

/** Of a client that has gone. */
const goneSink: HttpSink = {
  send() {},
  queuedBytes: 0,
  end() {},
  onClose: (listener) => queueMicrotask(listener),
};

const plainText = "text/plain; charset=utf-8";

function textAnswer(status: number, text: string): HttpAnswer {
  return { status, headers: { "content-type": plainText }, body: `${text}\n` };
}

const bodyRefusals = {
  "too large": (maxBytes: number) => textAnswer(413, `a body of at most ${maxBytes} bytes is taken, unzipped as well`),
  malformed: () => textAnswer(400, "the body is not what its Content-Encoding says"),
  "unknown encoding": () => textAnswer(415, "of content encodings, gzip is taken and no other"),
} as const;

/** The whole body as it was sent. */
async function readBody(incoming: http.IncomingMessage, maxBytes: number): Promise<Buffer | "too large" | "gone"> {
  const parts: Buffer[] = [];
  let size = 0;
  return new Promise((resolve) => {
    incoming.on("data", (part: Buffer) => {
      size += part.length;
      if (size <= maxBytes) parts.push(part);
      else resolve("too large");
    });
    incoming.on("end", () => resolve(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)));
    incoming.on("close", () => resolve("gone")); // after the end this changes nothing
  });
}

function hasHeader({ headers }: HttpAnswer, name: string): boolean {
  return Object.keys(headers).some((key) => key.toLowerCase() === name);
}

function isLoopback(address: string | undefined): boolean {
  const plain = (address ?? "").replace(/^::ffff:/, "");
  return plain.startsWith("127.") || plain === "::1";
}

function clientErrorStatus({ code }: NodeJS.ErrnoException): string {
  if (code === "HPE_HEADER_OVERFLOW") return "431 Request Header Fields Too Large";
  return code === "ERR_HTTP_REQUEST_TIMEOUT" ? "408 Request Timeout" : "400 Bad Request";
}
