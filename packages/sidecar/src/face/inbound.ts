/**
 * Which services are reached at which published port of this host, told whole to the data plane. An entry that left goes on being served
 * for a while and says so; then its port is given back.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import type { Watch } from "@dualmesh/model/directory";
import type { PortTable } from "../ports/port-table.ts";
import { isAddressed } from "./carriage.ts";

export interface InboundService {
  /** Canonical service text. */
  readonly service: string;
  readonly application: string;
  /** Where the application accepts: 127.0.0.1 or the address that it registered. */
  readonly host: string;
  readonly appPort: number;
  /** `host:port` as it is called without a mesh. */
  readonly authority: string;
  /** The deadline of a request that states none, in milliseconds; 0 for the default. */
  readonly timeoutMs: number;
  /** True when it has been withdrawn and is served only for callers that have not heard of it. */
  readonly leaving: boolean;
}

export interface InboundPort {
  readonly host: string;
  readonly port: number;
  readonly services: readonly InboundService[];
}

/** A promise delays what depends on it (publishing) until the routes are in force. */
export type InboundListener = (ports: readonly InboundPort[]) => void | Promise<void>;

export interface InboundOptions {
  readonly clock: Clock;
  readonly ports: PortTable;
  readonly lingerMs: number;
}

export interface InboundEntry {
  readonly bindHost: string;
  readonly port: number;
  /** The address that the application registered, by which the port table knows it. */
  readonly registeredHost: string;
  readonly inbound: InboundService;
}

/** One that left and is served for callers that have not heard of it, as another process goes on with it. */
export interface LingeringEntry {
  readonly key: string;
  readonly entry: InboundEntry;
  readonly leftMs: number;
}

/** So long at least, since whoever takes it over waits until every route is there that there was. */
const inheritedLingerMs = 15_000;
/** How long an address is remembered by clients that ask now and then. */
const pollingLingerMs = 120_000;

interface Row {
  entry: InboundEntry;
  /** Its application refuses connections, and others are not told so by this sidecar. */
  isRefused: boolean;
  leaving: Timer | undefined;
  /** Clock time of its end, once it is leaving. */
  until: number;
}

export class InboundTable {
  readonly #options: InboundOptions;
  readonly #rows = new Map<string, Row>();
  readonly #listeners = new Set<InboundListener>();

  constructor(options: InboundOptions) {
    this.#options = options;
  }

  ports(): readonly InboundPort[] {
    const ports = new Map<string, { host: string; port: number; services: InboundService[] }>();
    for (const { entry, leaving } of this.#rows.values()) {
      const key = `${entry.bindHost}|${entry.port}`;
      const service = { ...entry.inbound, leaving: leaving !== undefined };
      const port = ports.get(key);
      if (port === undefined) ports.set(key, { host: entry.bindHost, port: entry.port, services: [service] });
      else port.services.push(service);
    }
    return [...ports.values()];
  }

  /** Calls `listener` with the whole table, at once and after each change. */
  listen(listener: InboundListener): Watch {
    this.#listeners.add(listener);
    void listener(this.ports());
    return { close: () => void this.#listeners.delete(listener) };
  }

  has(key: string): boolean {
    return this.#rows.has(key);
  }

  /** Resolves when the listeners have it in force. */
  async put(key: string, entry: InboundEntry): Promise<void> {
    const row = this.#rows.get(key);
    row?.leaving?.cancel();
    this.#rows.set(key, { entry, leaving: undefined, isRefused: false, until: 0 });
    await this.#tell();
  }

  /** Whether the application of an entry refuses connections; the published port that it stands behind, and whether all behind it refuse. */
  refuse(
    key: string,
    isRefused: boolean,
  ): { readonly host: string; readonly port: number; readonly isDead: boolean } | undefined {
    const row = this.#rows.get(key);
    if (row === undefined) return undefined;
    row.isRefused = isRefused;
    const { bindHost: host, port } = row.entry;
    const beside = [...this.#rows.values()].filter(({ entry }) => entry.port === port && entry.bindHost === host);
    return { host, port, isDead: beside.every((one) => one.isRefused) };
  }

  /** The application accepts at `host` now. */
  async follow(key: string, host: string): Promise<void> {
    const row = this.#rows.get(key);
    if (row === undefined || row.entry.inbound.host === host) return;
    row.entry = { ...row.entry, inbound: { ...row.entry.inbound, host } };
    await this.#tell();
  }

  /** Begins to take an entry out. */
  async leave(key: string): Promise<void> {
    const row = this.#rows.get(key);
    if (row === undefined || row.leaving !== undefined) return;
    // Clients of Eureka ask every 30 s, and keep what they heard for 35 s more.
    const lingerMs = isAddressed(row.entry.inbound.service)
      ? Math.max(this.#options.lingerMs, pollingLingerMs)
      : this.#options.lingerMs;
    this.#leave(key, row, lingerMs);
    await this.#tell();
  }

  #leave(key: string, row: Row, lingerMs: number): void {
    const { clock, ports } = this.#options;
    row.until = clock.now() + lingerMs;
    row.leaving = clock.after(lingerMs, () => {
      const { inbound, registeredHost } = row.entry;
      this.#rows.delete(key);
      ports.release({ service: inbound.service, host: registeredHost, appPort: inbound.appPort });
      void this.#tell();
    });
  }

  /** What another process has to serve for a while yet: nothing on disk says so. */
  lingering(): readonly LingeringEntry[] {
    const now = this.#options.clock.now();
    return [...this.#rows].flatMap(([key, { entry, leaving, until }]) =>
      leaving === undefined ? [] : [{ key, entry, leftMs: Math.max(0, Math.round(until - now)) }],
    );
  }

  /** Goes on with what another process served so, unless it has been put here meanwhile. */
  async linger({ key, entry, leftMs }: LingeringEntry): Promise<void> {
    if (this.#rows.has(key)) return;
    const row: Row = { entry, leaving: undefined, isRefused: false, until: 0 };
    this.#rows.set(key, row);
    this.#leave(key, row, Math.max(leftMs, inheritedLingerMs));
    await this.#tell();
  }

  close(): void {
    for (const row of this.#rows.values()) row.leaving?.cancel();
    this.#rows.clear();
    this.#listeners.clear();
  }

  async #tell(): Promise<void> {
    const ports = this.ports();
    await Promise.all([...this.#listeners].map((listener) => listener(ports)));
  }
}
