/**
 * A listening port. It counts its connections and turns callers away at its limit, or when the process has nearly no descriptor left, so
 * that some are left for upstream connections and for the admin port; what the kernel cannot give (EMFILE) is never crashed on.
 */
import net from "node:net";
import { isReserved } from "@dualmesh/base/descriptors";
import { listenError } from "@dualmesh/base/listen-error";
import { Ports } from "./ports.ts";
import { acceptTransport, adoptTransport, plainAddress, stillThere } from "./tcp.ts";
import type { Transport } from "./transport.ts";

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly maxConnections: number;
  /** The connection is paused until it is opened. */
  readonly accept: (transport: Transport) => void;
  /** A connection was turned away because the limit is reached. */
  readonly dropped: () => void;
  /** Turns away who did not call a loopback address, and is told of each. Without it callers from other machines are let in. */
  readonly notFromLoopback?: () => void;
  /** The ports of this process, where they may go to another one. */
  readonly ports?: Ports;
  /** Callers are accepted from now on, which may be later than the port is there. */
  readonly began?: () => void;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Makes a connection of a descriptor that the former process had accepted here; it counts like any other. */
  adopt(descriptor: number, wroteAll: boolean): Transport;
  /** Stops accepting; open connections go on. */
  close(): Promise<void>;
}

/** Listens. Rejects with `listen.port-taken`, `listen.denied` or `listen.failed`. */
export function listen(options: ListenOptions): Promise<Listener> {
  const server = net.createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true, ...stillThere });
  let open = 0;
  const gone = (): void => void open--;
  server.on("connection", (socket) => {
    if (open >= options.maxConnections || isReserved(socket)) {
      socket.destroy();
      return options.dropped();
    }
    if (options.notFromLoopback !== undefined && !isLoopback(plainAddress(socket.localAddress))) {
      socket.destroy();
      return options.notFromLoopback();
    }
    open++;
    options.accept(acceptTransport(socket, gone));
  });
  if (options.began !== undefined) server.once("listening", options.began);
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(options, error)));
    (options.ports ?? new Ports()).bind(server, options, (port) => {
      server.removeAllListeners("error");
      server.on("error", () => options.dropped()); // accepting failed for one connection (no descriptor left); the next may succeed
      const adopt = (descriptor: number, wroteAll: boolean): Transport => {
        open++;
        return adoptTransport(descriptor, wroteAll, gone);
      };
      resolve({ host: options.host, port, adopt, close: () => closeServer(server) });
    });
  });
}

/** 127.0.0.0/8 and ::1. */
export function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

function closeServer(server: net.Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {});
    resolve();
  });
}
