/**
 * The listening inbound ports. Each is opened when the first application needs it and stays open until the sidecar ends: callers
 * remember addresses longer than instances live.
 */
import { type Listener, listen } from "./listener.ts";
import type { Transport } from "./transport.ts";

export interface PublishedPortsOptions {
  readonly maxConnections: number;
  readonly accept: (transport: Transport, port: number) => void;
  readonly dropped: () => void;
}

export class PublishedPorts {
  readonly #options: PublishedPortsOptions;
  readonly #open = new Map<string, Promise<Listener>>();

  constructor(options: PublishedPortsOptions) {
    this.#options = options;
  }

  /** Resolves once `host:port` listens. Rejects as `listen` does; it may then be tried again. */
  async open(host: string, port: number): Promise<void> {
    const key = `${host}|${port}`;
    let opening = this.#open.get(key);
    if (opening === undefined) {
      const { maxConnections, dropped, accept } = this.#options;
      opening = listen({ host, port, maxConnections, dropped, accept: (transport) => accept(transport, port) });
      this.#open.set(key, opening);
      opening.catch(() => this.#open.delete(key));
    }
    await opening;
  }

  get addresses(): readonly string[] {
    return [...this.#open.keys()].map((key) => key.replace("|", ":"));
  }

  async close(): Promise<void> {
    for (const opening of this.#open.values()) {
      const listener = await opening.catch(() => undefined);
      await listener?.close();
    }
  }
}
