/**
 * Where this host's applications reach services whose requests name no service: each at a loopback address of its own (ports/service-addresses.ts).
 * What had an address when the sidecar last ran has it again before any door opens, since clients remember it. A service that nobody has
 * offered or called for an hour gives its address back, which then rests.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
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
}

/** Where a service is called on this host. */
export interface StandInStatus extends StandIn {
  readonly service: string;
}

const defaultMaxServices = 4_096;
const unusedMs = 3_600_000;
const sweepMs = 600_000;

export class StandIns {
  readonly #options: StandInsOptions;
  readonly #sweep: Timer;
  readonly #watches: Watch[];
  /** By protocol, the services that somebody offers; undefined until the directory has said. */
  readonly #offered = new Map<string, ReadonlySet<string>>();
  /** Clock time of the last sign of use. */
  readonly #usedAt = new Map<string, number>();

  constructor(options: StandInsOptions) {
    this.#options = options;
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
    const { addresses, port, open, clock, log, maxServices = defaultMaxServices } = this.#options;
    if (!this.#usedAt.has(service) && this.#usedAt.size >= maxServices) {
      log.warn({ service, maxServices }, "too many services have an address of their own; this one gets none");
      return undefined;
    }
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

  #giveBack(): void {
    const { addresses, clock, calledAt, shut, log } = this.#options;
    const now = clock.now();
    for (const [service] of addresses.active()) {
      const offered = this.#offered.get(service.slice(0, service.indexOf("/")));
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
