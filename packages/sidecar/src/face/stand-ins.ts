/**
 * Where this host's applications reach services whose requests name no service: each at a loopback address of its own (ports/service-addresses.ts).
 * What had an address when the sidecar last ran has it again before any door opens, since clients remember it. A service that nobody has
 * offered or called for an hour gives its address back, which then rests. Names that nobody offers get only a part of the places, so that made-up
 * ones leave room for real services.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { StandIn } from "@dualmesh/dialects/door";
import type { Directory, Watch } from "@dualmesh/model/directory";
import type { ServiceAddresses } from "../ports/service-addresses.ts";
import { addressedProtocols, isAddressed } from "./carriage.ts";

export interface StandInsOptions {
  readonly addresses: ServiceAddresses;
  /** The outbound port. */
  readonly port: number;
  /** Resolves once the service is reached at `address`. Rejects with `listen.…`. */
  readonly open: (service: string, address: string) => Promise<void>;
  readonly shut: (service: string) => Promise<void>;
  readonly directory: Pick<Directory, "watchCatalogue">;
  readonly clock: Clock;
  readonly log: Log;
  /** Clock time of the last call to a service. */
  readonly calledAt: (service: string) => number | undefined;
  readonly maxServices?: number;
  /** How many of them may be names that nobody offers. */
  readonly maxUnoffered?: number;
}

/** Where a service is called on this host. */
export interface StandInStatus extends StandIn {
  readonly service: string;
}

const defaultMaxServices = 4_096;
const defaultMaxUnoffered = 1_024;
const unusedMs = 3_600_000;
const sweepMs = 600_000;

export class StandIns {
  readonly #options: StandInsOptions;
  /** Anybody on this host can ask for any name. */
  readonly #askedLog: ThrottledLog;
  readonly #sweep: Timer;
  readonly #watches: Watch[];
  /** By protocol, the services that somebody offers; undefined until the directory has said. */
  readonly #offered = new Map<string, ReadonlySet<string>>();
  /** Clock time of the last sign of use. */
  readonly #usedAt = new Map<string, number>();

  constructor(options: StandInsOptions) {
    this.#options = options;
    this.#askedLog = new ThrottledLog(options);
    for (const [service] of options.addresses.active()) this.#usedAt.set(service, options.clock.now());
    this.#sweep = options.clock.every(sweepMs, () => this.#giveBack());
    this.#watches = addressedProtocols.map((protocol) =>
      options.directory.watchCatalogue(`${protocol}/*`, (entries) =>
        this.#offered.set(protocol, new Set(entries.map(({ service }) => service))),
      ),
    );
  }

  /** Opens what the disk remembers. What cannot be had is said, and keeps nothing else shut. */
  async restore(): Promise<void> {
    await Promise.all(this.#options.addresses.active().map(([service]) => this.get(service)));
  }

  /** Undefined for a protocol that needs none, and when none can be had. */
  async get(service: string): Promise<StandIn | undefined> {
    if (!isAddressed(service)) return undefined;
    const { addresses, port, open, clock, log } = this.#options;
    if (!this.#hasPlace(service)) return undefined;
    this.#usedAt.set(service, clock.now());
    try {
      const address = addresses.assign(service);
      await open(service, address);
      await addresses.flushed().catch((error: unknown) => {
        log.warn({ error: messageOf(error) }, "the address table is not on disk");
      });
      return { address, port };
    } catch (error) {
      if (!isMeshError(error)) throw error;
      if (addresses.addressOf(service) === undefined) this.#usedAt.delete(service);
      log.error({ service, error: error.message }, "a service gets no loopback address");
      return undefined;
    }
  }

  /** The address as it is shown, whether or not it listens yet; undefined as `get`. */
  addressOf(service: string): string | undefined {
    void this.get(service);
    return this.#options.addresses.addressOf(service);
  }

  status(): readonly StandInStatus[] {
    const { addresses, port } = this.#options;
    return addresses.active().map(([service, address]) => ({ service, address, port }));
  }

  close(): void {
    this.#sweep.cancel();
    for (const watch of this.#watches) watch.close();
  }

  /** What has an address keeps it, whoever else asked first since the start. */
  #hasPlace(service: string): boolean {
    const { maxServices = defaultMaxServices, maxUnoffered = defaultMaxUnoffered } = this.#options;
    if (this.#usedAt.has(service)) return true;
    if (this.#usedAt.size >= maxServices) {
      this.#askedLog.warn(
        "",
        { service, maxServices },
        "too many services have an address of their own; this one gets none",
      );
      return false;
    }
    if (this.#isOffered(service) || this.#unoffered(maxUnoffered) < maxUnoffered) return true;
    const text =
      "too many services that nobody offers have an address of their own; this one, which nobody offers, gets none";
    this.#askedLog.warn("", { service, maxUnoffered }, text);
    return false;
  }

  /** How many places names have that nobody offers, counted up to `enough`. */
  #unoffered(enough: number): number {
    let count = 0;
    for (const service of this.#usedAt.keys()) {
      if (count >= enough) break;
      if (!this.#isOffered(service)) count += 1;
    }
    return count;
  }

  #isOffered(service: string): boolean {
    return this.#offered.get(protocolOf(service))?.has(service) === true;
  }

  #giveBack(): void {
    const { addresses, clock, calledAt, shut, log } = this.#options;
    const now = clock.now();
    for (const [service] of addresses.active()) {
      const offered = this.#offered.get(protocolOf(service));
      if (offered === undefined || offered.has(service)) {
        this.#usedAt.set(service, now);
        continue;
      }
      const usedAt = Math.max(this.#usedAt.get(service) ?? 0, calledAt(service) ?? 0);
      if (now - usedAt < unusedMs) continue;
      this.#usedAt.delete(service);
      addresses.free(service);
      void shut(service);
      log.info({ service }, "nobody offers or calls this service any more; its loopback address rests");
    }
  }
}

function protocolOf(service: string): string {
  return service.slice(0, service.indexOf("/"));
}
