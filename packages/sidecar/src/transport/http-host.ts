/**
 * A port for a door that speaks HTTP (`mesh://`): small requests, whole, with limits on head, body, time and connections. Proxied traffic never
 * comes this way.
 */
import http from "node:http";
import type { AddressInfo } from "node:net";
import { isReserved } from "@dualmesh/base/descriptors";
import { type Listener, listenError } from "./listener.ts";

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly body: Buffer;
  readonly remote: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Buffer;
}

export interface HttpHostOptions {
  readonly host: string;
  readonly port: number;
  readonly maxConnections: number;
  readonly maxBodyBytes: number;
  readonly handle: (request: HttpRequest) => Promise<HttpAnswer>;
  /** A connection was turned away because a limit is reached. */
  readonly dropped: () => void;
}

/** Opens the port. Rejects as `listen` does. */
export function hostHttp(options: HttpHostOptions): Promise<Listener> {
  const server = http.createServer(
    {
      requestTimeout: 10_000,
      headersTimeout: 5_000,
      keepAliveTimeout: 60_000,
      maxHeaderSize: 16_384,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => void answer(options, request, response),
  );
  server.maxConnections = options.maxConnections;
  server.on("drop", options.dropped);
  server.on("connection", (socket) => {
    if (!isReserved(socket)) return;
    socket.destroy();
    options.dropped();
  });
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(listenError(options, error)));
    server.listen({ host: options.host, port: options.port }, () => {
      server.removeAllListeners("error");
      server.on("error", () => {}); // a connection that could not be accepted concerns nobody but its caller
      resolve({ host: options.host, port: (server.address() as AddressInfo).port, close: () => close(server) });
    });
  });
}

function close(server: http.Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function answer(
  options: HttpHostOptions,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  request.on("error", () => {}); // the connection is gone; there is nobody to answer
  response.on("error", () => {});
  const body = await readBody(request, options.maxBodyBytes);
  if (body === undefined) {
    response
      .writeHead(413, { "content-type": "text/plain", connection: "close" })
      .end(`a body of at most ${options.maxBodyBytes} bytes is taken\n`);
    request.destroy();
    return;
  }
  const remote = `${request.socket.remoteAddress}:${request.socket.remotePort}`;
  const reply = await options.handle({ method: request.method ?? "GET", path: request.url ?? "/", body, remote });
  response.writeHead(reply.status, {
    "content-type": reply.contentType,
    "content-length": reply.body.length,
  });
  response.end(reply.body);
}

/** The whole body; undefined when it is larger than it may be. */
async function readBody(request: http.IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > maxBytes) return undefined;
      parts.push(part);
    }
  } catch {
    return Buffer.alloc(0); // the caller left in the middle; whatever is answered reaches nobody
  }
  return Buffer.concat(parts);
}
