/**
 * How a running part is told what to do: JSON lines over `control.sock` in its state directory, which only its user can open.
 * The admin port reads; whatever changes a part comes through here.
 *
 *     {"id":1,"command":"status","arguments":{}}   ->   {"id":1,"ok":true,"result":…} or {"id":1,"ok":false,"error":{"code":…,"message":…}}
 *
 * While a part is upgraded somebody listens there at every moment: the process that goes answers `control.upgrading` until the one that comes takes its place,
 * and whoever asks asks again.
 */
import { renameSync } from "node:fs";
import { chmod, rm } from "node:fs/promises";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { type Clock, sleep, systemClock, type Timer } from "../clock.ts";
import { isMeshError, MeshError, messageOf } from "../errors.ts";
import { type Log, silentLog } from "../log.ts";

/** Answers a command; the result must be JSON. Throws a `MeshError` to answer with its code. */
export type ControlHandler = (commandArguments: Readonly<Record<string, unknown>>) => Promise<unknown>;

export interface ControlOptions {
  /** The state directory, whose lock the caller holds. */
  readonly directory: string;
  readonly handlers: ReadonlyMap<string, ControlHandler>;
  readonly clock?: Clock;
  readonly log?: Log;
  readonly maxConnections?: number;
  /** A connection without a whole command for this long is closed. */
  readonly idleTimeoutMs?: number;
  /** Nobody finds it before `show`. */
  readonly isHidden?: boolean;
}

export interface ControlServer {
  readonly path: string;
  /** Takes the place of whoever was found at the path until now: at once, so that nothing is asked in between. Throws `control.listen-failed`. */
  show(): void;
  /** Ends every connection; nobody is found at the path any more. */
  close(): Promise<void>;
  /** Another one is found at the path, or will be: listens no more, and ends each connection once what it waits for is answered. */
  leave(): void;
}

const maxLineLength = 1024 * 1024;
/** Answers that a client does not read; beyond, its connection is closed. */
const maxUnreadBytes = 4 * 1024 * 1024;

/** The path of the socket in a state directory. */
export function controlPath(directory: string): string {
  return join(directory, "control.sock");
}

/** The name that a socket is bound by before it is given the other one, and under which the kernel lists it. No longer than that: the length of a path is limited. */
function boundPath(directory: string): string {
  return join(directory, `ctl-${process.pid}`);
}

/** Whether the kernel lists the socket of a part under this path. */
export function isControlPath(path: string): boolean {
  return /\/(control\.sock|ctl-\d+)$/.test(path);
}

/** Listens on `control.sock`. A socket left by a former process gives way, since the lock says that it is gone. */
export async function openControl(options: ControlOptions): Promise<ControlServer> {
  const { maxConnections = 16, log = silentLog, isHidden = false } = options;
  const path = controlPath(options.directory);
  const bound = boundPath(options.directory);
  await rm(bound, { force: true });
  const sockets = new Set<Socket>();
  const answering = new Set<Socket>();
  const server = createServer((socket) => {
    if (sockets.size >= maxConnections) {
      socket.on("error", () => socket.destroy());
      socket.end(
        answerLine(null, { error: { code: "control.busy", message: `more than ${maxConnections} connections` } }),
      );
      socket.destroySoon();
      return;
    }
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    serve(socket, options, answering, () => !server.listening);
  });
  await listen(server, bound);
  await chmod(bound, 0o600);
  server.on("error", (error) => log.warn({ error: error.message }, "the control socket could not accept a connection"));
  let isShown = false;
  const control: ControlServer = {
    path,
    show() {
      try {
        renameSync(bound, path);
      } catch (error) {
        throw listenFailed(path, error);
      }
      isShown = true;
    },
    async close() {
      // Node takes away the name that it was bound by.
      if (isShown) await rm(path, { force: true });
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    },
    leave() {
      server.close();
      for (const socket of sockets) if (!answering.has(socket)) socket.destroy();
    },
  };
  if (isHidden) return control;
  try {
    control.show();
    return control;
  } catch (error) {
    await control.close();
    throw error;
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(listenFailed(path, error)));
    server.listen(path, () => {
      server.removeAllListeners("error");
      resolve();
    });
  });
}

function listenFailed(path: string, cause: unknown): MeshError {
  return new MeshError("control.listen-failed", `cannot listen on ${path}: ${messageOf(cause)}`, { path }, { cause });
}

/** One command at a time for each connection, in order; what comes meanwhile waits in the kernel. */
function serve(socket: Socket, options: ControlOptions, answering: Set<Socket>, isClosed: () => boolean): void {
  const { clock = systemClock, log = silentLog, idleTimeoutMs = 30_000 } = options;
  let idle: Timer | undefined;
  const waitForCommand = (): void => {
    idle?.cancel();
    idle = clock.after(idleTimeoutMs, () => socket.destroy());
  };
  const lines = lineReader(
    (line) => {
      idle?.cancel();
      socket.pause();
      answering.add(socket);
      return answer(line, options.handlers, log).then((text) => {
        answering.delete(socket);
        if (socket.destroyed) return;
        if (isClosed()) return void socket.end(text);
        socket.write(text);
        if (socket.writableLength > maxUnreadBytes) socket.destroy();
        waitForCommand();
        socket.resume();
      });
    },
    () => {
      socket.end(
        answerLine(null, {
          error: { code: "control.too-large", message: `a line is at most ${maxLineLength} characters` },
        }),
      );
      socket.destroySoon();
    },
  );
  socket.on("data", lines);
  socket.on("error", () => socket.destroy()); // the client went; "close" follows
  socket.on("close", () => idle?.cancel());
  waitForCommand();
}

/** Takes pieces, gives whole lines to `take` one after the other, and `excess` once when one is too long. */
function lineReader(take: (line: string) => Promise<void>, excess: () => void): (piece: Buffer) => void {
  const decoder = new StringDecoder("utf8");
  let text = "";
  let taking = false;
  let over = false;
  const next = (): void => {
    if (taking || over) return;
    const end = text.indexOf("\n");
    if (end < 0 ? text.length > maxLineLength : end > maxLineLength) {
      over = true;
      text = "";
      excess();
    } else if (end >= 0) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      taking = true;
      void take(line).then(() => {
        taking = false;
        next();
      });
    }
  };
  return (piece) => {
    if (over) return;
    text += decoder.write(piece);
    next();
  };
}

async function answer(line: string, handlers: ReadonlyMap<string, ControlHandler>, log: Log): Promise<string> {
  let id: unknown = null;
  try {
    const request = parseRequest(line);
    id = request.id;
    const handler = handlers.get(request.command);
    if (handler === undefined) {
      const known = [...handlers.keys()].sort().join(", ");
      throw new MeshError("control.unknown-command", `"${request.command}" is no command here; there are ${known}`);
    }
    return answerLine(id, { result: (await handler(request.commandArguments)) ?? null });
  } catch (error) {
    if (isMeshError(error)) return answerLine(id, { error: { code: error.code, message: error.message } });
    log.error({ error: messageOf(error) }, "a control command failed in a way that was not foreseen");
    return answerLine(id, { error: { code: "control.failed", message: messageOf(error) } });
  }
}

function answerLine(
  id: unknown,
  outcome: { readonly result: unknown } | { readonly error: { readonly code: string; readonly message: string } },
): string {
  return `${JSON.stringify({ id, ok: "result" in outcome, ...outcome })}\n`;
}

function parseRequest(line: string): {
  id: unknown;
  command: string;
  commandArguments: Readonly<Record<string, unknown>>;
} {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new MeshError("control.malformed", `a line is one JSON object: ${messageOf(error)}`);
  }
  const request = (typeof value === "object" && value !== null ? value : {}) as Readonly<Record<string, unknown>>;
  const given = request["arguments"] ?? {};
  if (typeof request["command"] !== "string" || typeof given !== "object" || Array.isArray(given)) {
    throw new MeshError("control.malformed", 'expected {"id":…,"command":"…","arguments":{…}}');
  }
  return { id: request["id"] ?? null, command: request["command"], commandArguments: given as Record<string, unknown> };
}

export interface CallOptions {
  readonly timeoutMs?: number;
  readonly clock?: Clock;
}

/** What a part answers that is being upgraded: whatever was asked is not begun, or was broken off where it may be asked again. */
export function upgradingError(): MeshError {
  return new MeshError("control.upgrading", "it is being upgraded, and another process answers in a moment: ask again");
}

const againMs = 50;

/**
 * Sends one command to the part whose socket is at `path` and resolves with its result; while the part is being upgraded it is sent again. Rejects with the
 * part's own error code, with `control.unreachable` when nobody listens, with `control.timeout`, or with `control.upgrading` when that
 * goes on for longer.
 */
export async function callControl(
  path: string,
  command: string,
  commandArguments: Readonly<Record<string, unknown>> = {},
  { timeoutMs = 5_000, clock = systemClock }: CallOptions = {},
): Promise<unknown> {
  const end = clock.now() + timeoutMs;
  for (let leftMs = timeoutMs; ; leftMs = end - clock.now()) {
    try {
      return await callOnce(path, command, commandArguments, { timeoutMs: leftMs, clock });
    } catch (error) {
      if (!isMeshError(error, "control.upgrading") || end - clock.now() <= againMs) throw error;
      await sleep(clock, againMs);
    }
  }
}

function callOnce(
  path: string,
  command: string,
  commandArguments: Readonly<Record<string, unknown>>,
  { timeoutMs, clock }: Required<CallOptions>,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const decoder = new StringDecoder("utf8");
    let text = "";
    const end = (finish: () => void): void => {
      timer.cancel();
      socket.destroy();
      finish();
    };
    const unreachable = (why: string): MeshError =>
      new MeshError("control.unreachable", `nothing answers at ${path}: ${why}; is it running?`, { path });
    const timer = clock.after(
      timeoutMs,
      () =>
        end(() =>
          reject(
            new MeshError("control.timeout", `no answer from ${path} within ${Math.round(timeoutMs)} ms`, { path }),
          ),
        ),
      true,
    );
    socket.on("error", (error) => end(() => reject(unreachable(error.message))));
    socket.on("end", () => end(() => reject(unreachable("the connection was closed"))));
    socket.on("data", (piece) => {
      text += decoder.write(piece);
      const newline = text.indexOf("\n");
      if (newline >= 0) end(() => settle(text.slice(0, newline), resolve, reject));
      else if (text.length > 16 * maxLineLength) end(() => reject(unreachable("its answer is larger than 16 MiB")));
    });
    socket.write(`${JSON.stringify({ id: 1, command, arguments: commandArguments })}\n`);
  });
}

function settle(line: string, resolve: (result: unknown) => void, reject: (error: Error) => void): void {
  try {
    const answered = JSON.parse(line) as {
      ok?: unknown;
      result?: unknown;
      error?: { code?: unknown; message?: unknown };
    };
    if (answered.ok === true) resolve(answered.result);
    else
      reject(new MeshError(String(answered.error?.code ?? "control.failed"), String(answered.error?.message ?? line)));
  } catch (error) {
    reject(new MeshError("control.malformed", `the answer is not JSON: ${messageOf(error)}`));
  }
}
