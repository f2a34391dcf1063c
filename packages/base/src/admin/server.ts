/**
 * The admin port of a part: pages that are read and change nothing, over HTTP. It listens on loopback unless told otherwise, answers only
 * who asks for it by an address or a known name (a web page whose name was pointed here is refused), and goes on answering when slow
 * or greedy callers, or the traffic next door, have used up what there is.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIP, type Socket } from "node:net";
import { type Bind, listenAnew } from "../bind.ts";
import type { Clock } from "../clock.ts";
import { isReserved } from "../descriptors.ts";
import { messageOf } from "../errors.ts";
import { isExpectedHost } from "../http/host-name.ts";
import { listenError } from "../listen-error.ts";
import { type Log, silentLog } from "../log.ts";

export interface AdminReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
}

export type AdminRoute = (query: URLSearchParams) => AdminReply | Promise<AdminReply>;

export interface AdminOptions {
  readonly host?: string;
  readonly port: number;
  /** By path: `/healthz`. */
  readonly routes: ReadonlyMap<string, AdminRoute>;
  readonly clock: Clock;
  readonly log?: Log;
  /** Names beside addresses, `localhost` and `host` by which the port may be asked. */
  readonly hostNames?: readonly string[];
  /** Further connections push out the oldest one that waits for nothing. */
  readonly maxConnections?: number;
  /** Has the server listen in a way of its own. */
  readonly bind?: Bind;
}

export interface Admin {
  readonly host: string;
  readonly port: number;
  /** `host:port`, as `dualmesh status` takes it. */
  readonly address: string;
  close(): Promise<void>;
}

/** Connections while the process has only the descriptors that are kept back from traffic: the disk needs some of them too. */
const maxConnectionsWhenScarce = 8;
const maxHeaderSize = 16 * 1024;
const maxHeaders = 64;
const maxTargetLength = 2_048;
/** From the connection, or the end of the reply before, to the last byte of the head. */
const headersTimeoutMs = 5_000;
const keepAliveMs = 5_000;
/** From the first byte of a request to the last of its reply taken by the caller. */
const exchangeTimeoutMs = 30_000;

export function textReply(body: string, status = 200): AdminReply {
  return { status, contentType: "text/plain; charset=utf-8", body };
}

export function jsonReply(value: unknown, status = 200): AdminReply {
  return { status, contentType: "application/json", body: `${JSON.stringify(value, null, 2)}\n` };
}

/** Listens. Rejects with `listen.port-taken`, `listen.denied` or `listen.failed`. */
export async function openAdmin(options: AdminOptions): Promise<Admin> {
  const { host = "127.0.0.1", port, clock, log = silentLog, maxConnections = 64, bind = listenAnew } = options;
  const sockets = new Set<Socket>();
  const busy = new Set<Socket>();
  const server = createServer(
    {
      maxHeaderSize,
      headersTimeout: headersTimeoutMs,
      requestTimeout: headersTimeoutMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: 500,
    },
    (request, response) => {
      const { socket } = request;
      busy.add(socket);
      const timer = clock.after(exchangeTimeoutMs, () => socket.destroy());
      response.on("close", () => {
        timer.cancel();
        busy.delete(socket);
      });
      void reply(request, response, { ...options, host, log });
    },
  );
  server.maxHeadersCount = maxHeaders;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    const most = isReserved(socket, "endpoint") ? Math.min(maxConnectionsWhenScarce, maxConnections) : maxConnections;
    if (sockets.size > most) pushOut(sockets, busy, sockets.size - most);
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const status = error.code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
    if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
    else socket.destroy();
  });
  for (const event of ["upgrade", "connect"] as const) server.on(event, (_, socket) => socket.destroy());
  await listen(server, host, port, bind);
  server.on("error", (error) => log.warn({ error: error.message }, "the admin port could not accept a connection"));
  const bound = (server.address() as AddressInfo).port;
  return {
    host,
    port: bound,
    address: `${isIP(host) === 6 ? `[${host}]` : host}:${bound}`,
    close: () => close(server),
  };
}

async function reply(
  request: IncomingMessage,
  response: ServerResponse,
  options: AdminOptions & { readonly host: string; readonly log: Log },
): Promise<void> {
  const found = await answer(request, options);
  if (response.destroyed) return;
  const body = typeof found.body === "string" ? Buffer.from(found.body) : found.body;
  response.writeHead(found.status, {
    "content-type": found.contentType,
    "content-length": body.length,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(found.status === 405 ? { allow: "GET, HEAD" } : {}),
    // What a caller sends as a body is not read; the next request would begin somewhere in it.
    ...(hasBody(request) ? { connection: "close" } : {}),
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

async function answer(
  request: IncomingMessage,
  { host, hostNames = [], routes, log }: AdminOptions & { readonly host: string; readonly log: Log },
): Promise<AdminReply> {
  if (!isExpectedHost(request.headers.host, [host, "localhost", ...hostNames]))
    return textReply("the Host header names neither an address nor a name of this port\n", 421);
  if (request.method !== "GET" && request.method !== "HEAD")
    return textReply("the admin port only reads; what changes a part goes through its control socket\n", 405);
  const target = request.url ?? "";
  if (target.length > maxTargetLength) return textReply("the URL is too long\n", 414);
  const [path = "", query = ""] = target.split("?", 2);
  const route = routes.get(path);
  if (route === undefined) return textReply(`nothing is here; there are ${[...routes.keys()].join(" ")}\n`, 404);
  try {
    return await route(new URLSearchParams(query));
  } catch (error) {
    log.error({ path, error: messageOf(error) }, "an admin page failed");
    return textReply("the page failed; the log has the reason\n", 500);
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
}

/** Whether only this machine can reach what listens at `host`. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

/** Ends so many connections: the oldest that are not being answered, then the newest. */
function pushOut(sockets: Set<Socket>, busy: ReadonlySet<Socket>, count: number): void {
  const idle = [...sockets].filter((socket) => !busy.has(socket));
  const newest = [...sockets].filter((socket) => busy.has(socket)).reverse();
  for (const socket of [...idle, ...newest].slice(0, count)) {
    sockets.delete(socket);
    socket.destroy();
  }
}

function listen(server: Server, host: string, port: number, bind: Bind): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(listenError({ host, port }, error)));
    bind(server, { host, port }, () => {
      server.removeAllListeners("error");
      resolve();
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
