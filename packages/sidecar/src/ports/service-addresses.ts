/**
 * The loopback addresses of services whose protocol names no service in its requests (HTTP, tcp): each has one of its own, on the outbound
 * port, and keeps it. Clients remember addresses for long (a JVM for ever), so the table is on disk and a freed address rests before another
 * service gets it. Two sidecars of a host have different outbound ports, and ranges of their own by these.
 */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Journal } from "@dualmesh/base/state/journal";

export interface ServiceAddressesOptions {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  readonly range: LoopbackRange;
  /** How long a freed address is kept for the service that had it; 24 h. */
  readonly restMs?: number;
}

/** Addresses `127.second.0.0` to `127.second.255.255`. */
export interface LoopbackRange {
  /** The second octet, 1 to 254. */
  readonly second: number;
}

interface Entry {
  readonly address: string;
  /** Wall time at which it was freed; undefined while it is in use. */
  freedAt: number | undefined;
}

const defaultRestMs = 24 * 3_600_000;
const prefix = "address/";
const octets = 256;
/** The default outbound port, whose sidecar gets the first range. */
const firstOutboundPort = 20_882;
const firstSecond = 16;
const ranges = 224;

/** The range of the sidecar with this outbound port: neighbouring pairs of ports have neighbouring ranges. */
export function rangeOf(outboundPort: number): LoopbackRange {
  const pair = Math.floor((outboundPort - firstOutboundPort) / 2);
  return { second: firstSecond + (((pair % ranges) + ranges) % ranges) };
}

export class ServiceAddresses {
  readonly #options: ServiceAddressesOptions;
  readonly #restMs: number;
  readonly #entries = new Map<string, Entry>();
  readonly #taken = new Set<string>();
  /** The number of the address that is tried first: going round leaves freed ones alone longest. */
  #next = 1;

  constructor(options: ServiceAddressesOptions) {
    this.#options = options;
    this.#restMs = options.restMs ?? defaultRestMs;
    for (const [key, value] of options.journal.entries()) if (key.startsWith(prefix)) this.#load(key, value);
  }

  /** The address of a service, the same for good. Throws `addresses.exhausted`. */
  assign(service: string): string {
    const known = this.#entries.get(service);
    if (known !== undefined) {
      if (known.freedAt !== undefined) this.#keep(service, { address: known.address, freedAt: undefined });
      return known.address;
    }
    const address = this.#free() ?? (this.#forgetRested() ? this.#free() : undefined);
    if (address === undefined)
      throw new MeshError(
        "addresses.exhausted",
        `every loopback address of 127.${this.#options.range.second}.0.0/16 belongs to a service or did within a day`,
        { service },
      );
    this.#taken.add(address);
    this.#keep(service, { address, freedAt: undefined });
    return address;
  }

  /** Nobody offers the service any more. */
  free(service: string): void {
    const entry = this.#entries.get(service);
    if (entry === undefined || entry.freedAt !== undefined) return;
    this.#keep(service, { address: entry.address, freedAt: this.#options.clock.wall() });
  }

  /** The address in use of a service. */
  addressOf(service: string): string | undefined {
    const entry = this.#entries.get(service);
    return entry?.freedAt === undefined ? entry?.address : undefined;
  }

  /** The services that have an address in use, with it. */
  active(): readonly (readonly [service: string, address: string])[] {
    return [...this.#entries]
      .filter(([, entry]) => entry.freedAt === undefined)
      .map(([s, { address }]) => [s, address]);
  }

  /** Resolves when everything assigned before the call is on disk. */
  flushed(): Promise<void> {
    return this.#options.journal.flushed();
  }

  #free(): string | undefined {
    const size = octets * octets;
    for (let tries = 0; tries < size; tries += 1) {
      const number = (this.#next + tries) % size;
      const last = number % octets;
      // What ends in 0 or 255 looks like a network or a broadcast address to some clients.
      if (last === 0 || last === octets - 1) continue;
      const address = `127.${this.#options.range.second}.${Math.floor(number / octets)}.${last}`;
      if (this.#taken.has(address)) continue;
      this.#next = (number + 1) % size;
      return address;
    }
    return undefined;
  }

  #forgetRested(): boolean {
    const wall = this.#options.clock.wall();
    let forgot = false;
    for (const [service, { address, freedAt }] of this.#entries) {
      if (freedAt === undefined || wall - freedAt < this.#restMs) continue;
      this.#entries.delete(service);
      this.#taken.delete(address);
      this.#options.journal.delete(prefix + service);
      forgot = true;
    }
    return forgot;
  }

  #keep(service: string, entry: Entry): void {
    this.#entries.set(service, entry);
    this.#options.journal.put(prefix + service, JSON.stringify(entry));
  }

  #load(key: string, value: Buffer): void {
    const service = key.slice(prefix.length);
    const entry = readEntry(value);
    if (entry === undefined || this.#taken.has(entry.address)) {
      this.#options.log.warn({ key }, "an entry of the address table could not be read and is left out");
      this.#options.journal.delete(key);
      return;
    }
    this.#taken.add(entry.address);
    this.#entries.set(service, entry);
    const [, , third = "0", last = "0"] = entry.address.split(".");
    const after = (Number(third) * octets + Number(last) + 1) % (octets * octets);
    if (after > this.#next) this.#next = after;
  }
}

function readEntry(value: Buffer): Entry | undefined {
  try {
    const { address, freedAt } = JSON.parse(value.toString("utf8")) as Record<string, unknown>;
    if (typeof address !== "string" || !/^127(?:\.\d{1,3}){3}$/.test(address)) return undefined;
    if (freedAt !== undefined && typeof freedAt !== "number") return undefined;
    return { address, freedAt };
  } catch {
    return undefined; // the caller says so and goes on without it
  }
}
