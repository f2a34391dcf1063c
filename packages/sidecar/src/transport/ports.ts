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
  /** The port that was asked for: 0 for any. */
  readonly asked: number;
  readonly descriptor: number;
}

interface Inherited {
  readonly port: number;
  readonly descriptor: number;
}

const backlog = 1_024;

export class Ports {
  /** By what is asked for; several for any port, in the order in which they were opened. */
  readonly #inherited = new Map<string, Inherited[]>();
  readonly #servers = new Map<Server, Place & { readonly asked: number }>();
  /** Listeners that begin later; undefined once all have begun. */
  #waiting: Map<Server, number> | undefined;
  readonly #closeDescriptor: (descriptor: number) => void;

  /** Without anything to close descriptors with, none is inherited. */
  constructor(closeDescriptor: (descriptor: number) => void = () => {}) {
    this.#closeDescriptor = closeDescriptor;
  }

  /** A port of the former process. */
  inherit({ host, port, asked, descriptor }: OpenPort): void {
    this.#waiting ??= new Map();
    const name = nameOf({ host, port: asked });
    this.#inherited.set(name, [...(this.#inherited.get(name) ?? []), { port, descriptor }]);
  }

  /** Has `server` listen; calls back with the port. The server says itself ("error") when it cannot. */
  bind(server: Server, { host, port: asked, atOnce = false }: BindOptions, bound: (port: number) => void): void {
    const inherited = this.#inherited.get(nameOf({ host, port: asked }))?.shift();
    server.once("close", () => {
      this.#servers.delete(server);
      const waiting = this.#waiting?.get(server);
      if (waiting !== undefined) this.#closeDescriptor(waiting);
      this.#waiting?.delete(server);
    });
    if (inherited === undefined) {
      server.listen({ host, port: asked, backlog }, () => {
        const { port } = addressOf(server);
        this.#servers.set(server, { host, port, asked });
        bound(port);
      });
      return;
    }
    const { port, descriptor } = inherited;
    this.#servers.set(server, { host, port, asked });
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
    const isPort = (place: { readonly port: number }): boolean => place.port === port;
    return [...this.#servers.values()].some(isPort) || [...this.#inherited.values()].flat().some(isPort);
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
    for (const { descriptor } of [...this.#inherited.values()].flat()) this.#closeDescriptor(descriptor);
    this.#inherited.clear();
  }
}

function nameOf({ host, port }: Place): string {
  return `${host}|${port}`;
}
