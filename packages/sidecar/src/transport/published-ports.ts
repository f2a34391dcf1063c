/**
 * The listening inbound ports. Each is opened when the first application needs it and stays open until the sidecar ends: callers
 * remember addresses longer than instances live.
 */
import { type Listener, listen } from "./listener.ts";
import type { Ports } from "./ports.ts";
import type { Transport } from "./transport.ts";

export interface PublishedPortsOptions {
  readonly maxConnections: number;
  readonly accept: (transport: Transport, port: number) => void;
  readonly dropped: () => void;
  readonly ports?: Ports;
}

export class PublishedPorts {
  readonly #options: PublishedPortsOptions;
  readonly #open = new Map<string, Promise<Listener>>();
  readonly #listening = new Map<number, Listener>();

  constructor(options: PublishedPortsOptions) {
    this.#options = options;
  }

  /** Resolves, once `host:port` listens, with the port (0 takes any). Rejects as `listen` does; it may then be tried again. */
  async open(host: string, port: number): Promise<number> {
    const opening = this.#open.get(`${host}|${port}`) ?? this.#listen(host, port);
    return (await opening).port;
  }

  #listen(host: string, port: number): Promise<Listener> {
    const { maxConnections, dropped, accept, ports } = this.#options;
    const opening = listen({
      host,
      port,
      ...(ports === undefined ? {} : { ports }),
      maxConnections,
      dropped,
      accept: (transport) => accept(transport, transport.localPort),
    });
    const key = `${host}|${port}`;
    this.#open.set(key, opening);
    opening.then(
      (listener) => {
        if (!this.#open.delete(key)) return;
        this.#open.set(`${host}|${listener.port}`, opening);
        this.#listening.set(listener.port, listener);
      },
      () => this.#open.delete(key),
    );
    return opening;
  }

  /** Closes a port that is not needed after all. */
  async release(host: string, port: number): Promise<void> {
    const key = `${host}|${port}`;
    const opening = this.#open.get(key);
    this.#open.delete(key);
    this.#listening.delete(port);
    await (await opening)?.close();
  }

  /** Who listens at this port; undefined when nobody does. */
  at(port: number): Listener | undefined {
    return this.#listening.get(port);
  }

  get addresses(): readonly string[] {
    return [...this.#open.keys()].map((key) => key.replace("|", ":"));
  }

  async close(): Promise<void> {
    for (const opening of this.#open.values()) {
      const listener = await opening.catch(() => undefined);
      await listener?.close();
    }
    this.#open.clear();
    this.#listening.clear();
  }
}
