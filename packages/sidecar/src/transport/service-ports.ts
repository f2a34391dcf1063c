/** The listening addresses of services that have one of their own: `127.x.y.z` at the outbound port, one bind for each. */
import { type Listener, listen } from "./listener.ts";
import type { Ports } from "./ports.ts";
import type { Transport } from "./transport.ts";

export interface ServicePortsOptions {
  readonly port: number;
  readonly maxConnections: number;
  readonly accept: (transport: Transport, service: string) => void;
  readonly dropped: () => void;
  readonly ports?: Ports;
}

export class ServicePorts {
  readonly #options: ServicePortsOptions;
  readonly #open = new Map<string, Promise<Listener>>();
  readonly #listening = new Map<string, Listener>();

  constructor(options: ServicePortsOptions) {
    this.#options = options;
  }

  /** Resolves once the service is reached at `address`. Rejects as `listen` does; it may then be tried again. */
  async open(service: string, address: string): Promise<void> {
    const { port, maxConnections, dropped, accept, ports } = this.#options;
    let opening = this.#open.get(service);
    if (opening === undefined) {
      const opened = listen({
        host: address,
        port,
        ...(ports === undefined ? {} : { ports }),
        maxConnections,
        dropped,
        accept: (transport) => accept(transport, service),
      });
      opening = opened;
      this.#open.set(service, opened);
      opened.then(
        (listener) => this.#open.get(service) === opened && this.#listening.set(service, listener),
        () => this.#open.delete(service),
      );
    }
    await opening;
  }

  /** Who listens for this service; undefined when nobody does. */
  at(service: string): Listener | undefined {
    return this.#listening.get(service);
  }

  /** Takes no further calls for the service; those under way go on. */
  async shut(service: string): Promise<void> {
    const opening = this.#open.get(service);
    this.#open.delete(service);
    this.#listening.delete(service);
    const listener = await opening?.catch(() => undefined);
    await listener?.close();
  }

  async close(): Promise<void> {
    for (const service of [...this.#open.keys()]) await this.shut(service);
  }
}
