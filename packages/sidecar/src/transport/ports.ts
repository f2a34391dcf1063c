/**
 * The listening ports of a process, so that they can go to its successor: who listens, listens through here. A port that came from a former process
 * is taken up by its descriptor, with whoever had called and was not accepted yet; nothing is accepted at it before `begin`, unless whoever
 * listens may begin at once.
 */
import type { Server } from "node:net";
import { addressOf, descriptorOf } from "./native.ts";

export interface Place {
  readonly host: string;
  readonly port: number;
}

export interface BindOptions extends Place {
  /** Callers are accepted from now on, also while the former process still has the others. */
  readonly atOnce?: boolean;
}

export interface OpenPort extends Place {
  readonly descriptor: number;
}

const backlog = 1_024;

export class Ports {
  readonly #inherited = new Map<string, number>();
  readonly #servers = new Map<Server, Place>();
  /** Listeners that begin later; undefined once all have begun. */
  #waiting: Map<Server, number> | undefined;
  readonly #closeDescriptor: (descriptor: number) => void;

  /** Without anything to close descriptors with, none is inherited. */
  constructor(closeDescriptor: (descriptor: number) => void = () => {}) {
    this.#closeDescriptor = closeDescriptor;
  }

  /** A port of the former process. */
  inherit({ host, port, descriptor }: OpenPort): void {
    this.#waiting ??= new Map();
    this.#inherited.set(nameOf({ host, port }), descriptor);
  }

  /** Has `server` listen; calls back with the port. The server says itself ("error") when it cannot. */
  bind(server: Server, { host, port, atOnce = false }: BindOptions, bound: (port: number) => void): void {
    const name = nameOf({ host, port });
    const descriptor = this.#inherited.get(name);
    server.once("close", () => {
      this.#servers.delete(server);
      const waiting = this.#waiting?.get(server);
      if (waiting !== undefined) this.#closeDescriptor(waiting);
      this.#waiting?.delete(server);
    });
    if (descriptor === undefined) {
      server.listen({ host, port, backlog }, () => {
        const actual = addressOf(server).port;
        this.#servers.set(server, { host, port: actual });
        bound(actual);
      });
      return;
    }
    this.#inherited.delete(name);
    this.#servers.set(server, { host, port });
    if (atOnce || this.#waiting === undefined) server.listen({ fd: descriptor }, () => bound(port));
    else {
      this.#waiting.set(server, descriptor);
      queueMicrotask(() => bound(port));
    }
  }

  /** The same for who may begin at once. */
  readonly atOnce = (server: Server, place: Place, bound: () => void): void =>
    this.bind(server, { ...place, atOnce: true }, bound);

  /** Whether something of this process listens at this port, or may. */
  has(port: number): boolean {
    const isPort = (place: Place): boolean => place.port === port;
    return (
      [...this.#servers.values()].some(isPort) || [...this.#inherited.keys()].some((name) => name.endsWith(`|${port}`))
    );
  }

  /** All that listen now. */
  open(): readonly OpenPort[] {
    return [...this.#servers].flatMap(([server, place]) => {
      const descriptor = descriptorOf(server);
      return descriptor === undefined ? [] : [{ ...place, descriptor }];
    });
  }

  /** Callers are accepted at every port that was taken up; what nobody took up is closed. */
  begin(): void {
    for (const [server, descriptor] of this.#waiting ?? []) server.listen({ fd: descriptor });
    this.#waiting = undefined;
    this.close();
  }

  /** Closes what nobody took up. */
  close(): void {
    for (const descriptor of this.#inherited.values()) this.#closeDescriptor(descriptor);
    this.#inherited.clear();
  }
}

function nameOf({ host, port }: Place): string {
  return `${host}|${port}`;
}
