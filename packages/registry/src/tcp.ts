/**
 * Listening ports of the registry: the stream and the doors. This is the only file here that touches a socket. A port stops at its
 * limit of connections and refuses what comes beyond; what the kernel cannot give (EMFILE) is counted and waited for.
 */
import net from "node:net";
import { type Clock, systemClock, type Timer } from "@dualmesh/base/clock";
import { isReserved } from "@dualmesh/base/descriptors";
import type { MeshError } from "@dualmesh/base/errors";
import { listenError } from "@dualmesh/base/listen-error";
import type { Log } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Channel, ChannelEvents } from "@dualmesh/wire/stream/channel";

/** A peer that was sent everything and does not close its side is cut after this. */
const closeTimeoutMs = 5_000;
/** How long accepting pauses when the process has no descriptor left. */
const descriptorPauseMs = 200;

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly maxConnections: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly accept: (channel: Channel) => ChannelEvents;
}

export interface Listener {
  readonly port: number;
  readonly connections: number;
  /** Connections that were turned away. */
  readonly refused: number;
  /** Stops listening and cuts what is open. */
  close(): Promise<void>;
}

/** Listens. Rejects with `listen.port-taken`, `listen.denied` or `listen.failed`. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const listener = new TcpListener(options);
  await listener.open(options.port);
  return listener;
}

class TcpListener implements Listener {
  readonly #options: ListenOptions;
  readonly #told: ThrottledLog;
  readonly #open = new Set<net.Socket>();
  #server: net.Server;
  #retry: Timer | undefined;
  #closed = false;
  port = 0;
  refused = 0;

  constructor(options: ListenOptions) {
    this.#options = options;
    this.#told = new ThrottledLog(options);
    this.#server = this.#newServer();
  }

  get connections(): number {
    return this.#open.size;
  }

  open(port: number): Promise<void> {
    const { host } = this.#options;
    const server = this.#server;
    return new Promise((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => reject(listenError({ host, port }, error)));
      server.listen({ host, port, backlog: 1_024 }, () => {
        server.removeAllListeners("error");
        server.on("error", (error: NodeJS.ErrnoException) => this.#onError(error));
        this.port = (server.address() as net.AddressInfo).port;
        resolve();
      });
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    for (const socket of this.#open) socket.destroy();
    return new Promise((resolve) => {
      if (!this.#server.listening) return resolve();
      this.#server.close(() => resolve());
    });
  }

  #newServer(): net.Server {
    const server = net.createServer({ noDelay: true, allowHalfOpen: false });
    server.maxConnections = this.#options.maxConnections;
    server.on("connection", (socket) => this.#accept(socket));
    server.on("drop", () => this.refused++);
    return server;
  }

  #accept(socket: net.Socket): void {
    if (isReserved(socket)) {
      // What is left of the descriptors serves the disk and the admin port.
      this.refused++;
      socket.destroy();
      return;
    }
    this.#open.add(socket);
    const channel = new TcpChannel(socket);
    const events = this.#options.accept(channel);
    channel.open(events, () => this.#open.delete(socket));
  }

  /** Accepting failed. Without a descriptor the port is shut for a moment, so that the loop does not spin on the backlog. */
  #onError(error: NodeJS.ErrnoException): void {
    this.refused++;
    this.#told.warn(error.code ?? "", { port: this.port, code: error.code }, "a connection could not be accepted");
    if (this.#closed || (error.code !== "EMFILE" && error.code !== "ENFILE")) return;
    this.#server.close();
    this.#reopen();
  }

  #reopen(): void {
    this.#retry = this.#options.clock.after(descriptorPauseMs, () => {
      if (this.#closed) return;
      this.#server = this.#newServer();
      this.open(this.port).catch((error: MeshError) => {
        this.#told.error("", { port: this.port, error: error.message }, "a port could not be opened again");
        this.#reopen();
      });
    });
  }
}

class TcpChannel implements Channel {
  readonly remote: string;
  readonly #socket: net.Socket;
  #waiting = false;
  #events: ChannelEvents | undefined;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    this.remote = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`;
  }

  open(events: ChannelEvents, onClose: () => void): void {
    const socket = this.#socket;
    this.#events = events;
    let reason = "closed by the peer";
    socket.on("data", (bytes) => events.received(bytes));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      reason = error.code ?? error.message;
    });
    socket.on("close", () => {
      onClose();
      events.closed(reason);
    });
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  send(bytes: Buffer): void {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return;
    socket.write(bytes);
    // "drain" comes only above Node's mark; an empty write's callback comes whenever all before it has left.
    if (socket.writableLength > 0 && !this.#waiting) {
      this.#waiting = true;
      socket.write("", () => this.#onWritten());
    }
  }

  close(): void {
    const socket = this.#socket;
    socket.end();
    // An end that no byte of the peer puts off.
    const end = systemClock.after(closeTimeoutMs, () => void socket.destroy());
    socket.once("close", () => end.cancel());
  }

  destroy(): void {
    this.#socket.destroy();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  #onWritten(): void {
    this.#waiting = false;
    if (this.#socket.destroyed) return;
    if (this.#socket.writableLength === 0) this.#events?.drained();
    else {
      this.#waiting = true;
      this.#socket.write("", () => this.#onWritten());
    }
  }
}
