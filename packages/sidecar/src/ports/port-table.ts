/**
 * Which published port stands for which application. Services share the inbound port, since a request names its service, as long as no
 * service is offered by two applications of the host. Every port whose requests name no service, and every second provider of one service has a published port of its own from a range,
 * and keeps it: the table is on disk, and a freed port rests before another application gets it, because callers remember addresses.
 */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Journal } from "@dualmesh/base/state/journal";

/** One service at one port of an application of this host. */
export interface Offer {
  /** Canonical service text. */
  readonly service: string;
  /** The address that the application registered. */
  readonly host: string;
  readonly appPort: number;
}

export interface PortTableOptions {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  /** The port that services share. */
  readonly inboundPort: number;
  /** Published ports for second providers, both ends included. */
  readonly range: { readonly from: number; readonly to: number };
  /** True for a service that its requests do not name: every port of an application that offers one has a published port of its own. */
  readonly isAddressed?: (service: string) => boolean;
  /** How long a freed port is kept for the application that had it. */
  readonly restMs?: number;
}

export interface PortEntry extends Offer {
  readonly port: number;
  readonly active: boolean;
}

interface Entry {
  readonly offer: Offer;
  /** 0 for the inbound port, whichever that is. */
  readonly port: number;
  active: boolean;
  /** Wall time at which it was freed; undefined while it is in use. */
  freedAt: number | undefined;
}

const defaultRestMs = 3_600_000;
/** After a start, what the disk says is kept for its owner this long before the shared port is given to another one. */
const holdMs = 60_000;
const prefix = "port/";
const shared = 0;

export class PortTable {
  readonly #options: PortTableOptions;
  readonly #restMs: number;
  readonly #heldUntil: number;
  readonly #entries = new Map<string, Entry>();
  /** Ports of the range that something else on this machine uses. */
  readonly #avoided = new Set<number>();

  constructor(options: PortTableOptions) {
    this.#options = options;
    this.#restMs = options.restMs ?? defaultRestMs;
    this.#heldUntil = options.clock.now() + holdMs;
    for (const [key, value] of options.journal.entries()) if (key.startsWith(prefix)) this.#load(key, value);
  }

  /** The published port of an offer. Throws `ports.exhausted` when the range is used up. */
  assign(offer: Offer): number {
    this.#forgetRested();
    const key = keyOf(offer);
    const known = this.#entries.get(key);
    if (known !== undefined && this.#mayKeep(known)) return this.#take(key, offer, known.port);
    if (!this.#isShared(key, offer.service)) return this.#take(key, offer, shared);
    const port = this.#ownPort(offer);
    if (port !== undefined) return this.#take(key, offer, port);
    const { from, to } = this.#options.range;
    throw new MeshError(
      "ports.exhausted",
      `every published port from ${from} to ${to} is in use or was until lately; widen publishedPorts`,
      { service: offer.service, appPort: offer.appPort },
    );
  }

  /** The offer has ended and its port is closed. */
  release(offer: Offer): void {
    const key = keyOf(offer);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.active = false;
    if (entry.port === shared) {
      this.#remove(key);
      return;
    }
    entry.freedAt = this.#options.clock.wall();
    this.#keep(key, entry);
  }

  /** Something else on this machine listens at `port` of the range: offers that had it get another one when they are assigned anew. */
  avoid(port: number): void {
    this.#avoided.add(port);
  }

  isOwn(port: number): boolean {
    if (port === this.#options.inboundPort) return true;
    for (const entry of this.#entries.values()) if (entry.active && entry.port === port) return true;
    return false;
  }

  entries(): readonly PortEntry[] {
    return [...this.#entries.values()].map(({ offer, port, active }) => ({
      ...offer,
      port: this.#published(port),
      active,
    }));
  }

  /** Resolves when everything assigned before the call is on disk. */
  flushed(): Promise<void> {
    return this.#options.journal.flushed();
  }

  #published(port: number): number {
    return port === shared ? this.#options.inboundPort : port;
  }

  #take(key: string, offer: Offer, port: number): number {
    const entry: Entry = { offer, port, active: true, freedAt: undefined };
    this.#entries.set(key, entry);
    this.#keep(key, entry);
    return this.#published(port);
  }

  #mayKeep(entry: Entry): boolean {
    if (entry.port === shared) return !this.#isShared(keyOf(entry.offer), entry.offer.service);
    return this.isInRange(entry.port) && !this.#avoided.has(entry.port);
  }

  /** True when the inbound port cannot say this service: another application offers it there, or did when this sidecar last ran. */
  #isShared(key: string, service: string): boolean {
    if (this.#options.isAddressed?.(service) === true) return true;
    const held = this.#options.clock.now() < this.#heldUntil;
    for (const [other, entry] of this.#entries) {
      if (other === key || entry.port !== shared || entry.offer.service !== service) continue;
      if (entry.active || held) return true;
    }
    return false;
  }

  /** A port of the range: the one that the application has already, else the first that nobody has or had until lately. */
  #ownPort(offer: Offer): number | undefined {
    const used = new Set<number>();
    for (const { offer: other, port } of this.#entries.values()) {
      if (port === shared) continue;
      const same = other.host === offer.host && other.appPort === offer.appPort;
      if (same && this.isInRange(port) && !this.#avoided.has(port)) return port;
      used.add(port);
    }
    const { from, to } = this.#options.range;
    for (let port = from; port <= to; port += 1) {
      if (!used.has(port) && !this.#avoided.has(port) && port !== this.#options.inboundPort) return port;
    }
    return undefined;
  }

  /** True when `port` is one of those for second providers. */
  isInRange(port: number): boolean {
    return port >= this.#options.range.from && port <= this.#options.range.to;
  }

  #forgetRested(): void {
    const { clock } = this.#options;
    const wall = clock.wall();
    for (const [key, entry] of this.#entries) {
      if (entry.active || entry.freedAt === undefined) continue;
      if (entry.port === shared ? clock.now() >= this.#heldUntil : wall - entry.freedAt >= this.#restMs)
        this.#remove(key);
    }
  }

  #remove(key: string): void {
    this.#entries.delete(key);
    this.#options.journal.delete(prefix + key);
  }

  #keep(key: string, { offer, port, freedAt }: Entry): void {
    this.#options.journal.put(prefix + key, JSON.stringify({ ...offer, port, freedAt }));
  }

  #load(journalKey: string, value: Buffer): void {
    const kept = readEntry(value);
    if (kept === undefined || prefix + keyOf(kept.offer) !== journalKey) {
      this.#options.log.warn({ key: journalKey }, "an entry of the port table could not be read and is left out");
      this.#options.journal.delete(journalKey);
      return;
    }
    const freedAt = kept.freedAt ?? this.#options.clock.wall();
    this.#entries.set(keyOf(kept.offer), { ...kept, active: false, freedAt });
  }
}

function keyOf(offer: Offer): string {
  return `${offer.service}|${offer.host}|${offer.appPort}`;
}

function readEntry(value: Buffer): Pick<Entry, "offer" | "port" | "freedAt"> | undefined {
  try {
    const { service, host, appPort, port, freedAt } = JSON.parse(value.toString("utf8")) as Record<string, unknown>;
    if (typeof service !== "string" || typeof host !== "string" || typeof appPort !== "number") return undefined;
    if (typeof port !== "number" || (freedAt !== undefined && typeof freedAt !== "number")) return undefined;
    return { offer: { service, host, appPort }, port, freedAt };
  } catch {
    return undefined; // the caller says so and goes on without it
  }
}
