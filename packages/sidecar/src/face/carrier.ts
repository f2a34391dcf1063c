/**
 * Brings an application of this host behind a published port: chooses the port, has it listen, and puts its route in force. What is then
 * told of it, and to whom, is for others: `provided.ts` publishes it, `elsewhere.ts` leaves that to the application itself.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Instance } from "@dualmesh/model/instance";
import type { AppHealth } from "../apps/apps.ts";
import type { PortTable } from "../ports/port-table.ts";
import { authorityOf, type CarriedProtocols, statedTimeoutMs } from "./carriage.ts";
import { InboundTable, type LingeringEntry } from "./inbound.ts";
import type { Carriage } from "./offer.ts";

export interface CarrierOptions {
  readonly clock: Clock;
  readonly told: ThrottledLog;
  readonly ports: PortTable;
  readonly protocols: CarriedProtocols;
  /** Resolves once `host:port` listens, also when it has for long. Rejects with `listen.…`. */
  readonly openPort: (host: string, port: number) => Promise<void>;
  /** Ends its connections and refuses further ones, until it is opened again. */
  readonly shutPort: (host: string, port: number) => Promise<void>;
  /** How long a withdrawn instance goes on being served. */
  readonly lingerMs: number;
}

export interface CarryOptions {
  /** Names the route in the table of inbound ports. */
  readonly key: string;
  /** Where the published port listens. */
  readonly bindHost: string;
  readonly health: () => AppHealth;
}

/** Published ports that are tried when something else on the machine holds one. */
const maxPortTries = 16;

/** A port that another process took while it was shut is asked for again. */
const openAgainMs = 1_000;

export class Carrier {
  readonly inbound: InboundTable;
  readonly #options: CarrierOptions;
  /** By published port, what was last done to it, one after the other. */
  readonly #turns = new Map<string, Promise<void>>();
  readonly #again = new Map<string, Timer>();
  readonly #shut = new Set<string>();

  constructor(options: CarrierOptions) {
    this.#options = options;
    this.inbound = new InboundTable(options);
  }

  /** Decides whether an instance can be carried, and has its published port listening when it can. */
  async carry(instance: Instance, options: CarryOptions): Promise<Carriage> {
    const reason = this.#options.protocols.whyBypassed(instance);
    if (reason === undefined) return this.#listen(instance, options);
    await this.inbound.leave(options.key);
    return { kind: "bypassed", reason };
  }

  /**
   * The application of an entry refuses connections, or accepts them again. A published port behind which everybody refuses does what
   * the applications do: its callers see their connections end and further ones refused, and go elsewhere as they would without a sidecar.
   */
  refuse(key: string, isRefused: boolean): void {
    const at = this.inbound.refuse(key, isRefused);
    if (at === undefined) return;
    const { host, port, isDead } = at;
    const name = `${host}|${port}`;
    this.#again.get(name)?.cancel();
    this.#again.delete(name);
    const turn = (this.#turns.get(name) ?? Promise.resolve()).then(async () => {
      if (isDead === this.#shut.has(name)) return;
      if (isDead) {
        this.#shut.add(name);
        return this.#options.shutPort(host, port);
      }
      await this.#options.openPort(host, port);
      this.#shut.delete(name);
    });
    this.#turns.set(
      name,
      turn.catch((error: unknown) => {
        const fields = { host, port, error: messageOf(error) };
        this.#options.told.error(name, fields, "a published port cannot be opened again");
        const timer = this.#options.clock.after(openAgainMs, () => this.refuse(key, isRefused));
        this.#again.set(name, timer);
      }),
    );
  }

  /** Goes on serving what had left in another process before. */
  async linger(one: LingeringEntry): Promise<void> {
    const { bindHost, port, inbound } = one.entry;
    try {
      await this.#options.openPort(bindHost, port);
      await this.inbound.linger(one);
    } catch (error) {
      const fields = { service: inbound.service, port, error: messageOf(error) };
      this.#options.told.error(inbound.service, fields, "callers of what was withdrawn are not served any longer");
    }
  }

  close(): void {
    for (const timer of this.#again.values()) timer.cancel();
    this.#again.clear();
    this.inbound.close();
  }

  async #listen(instance: Instance, { key, bindHost, health }: CarryOptions): Promise<Carriage> {
    const { ports, told } = this.#options;
    const { service, host, appPort, application } = instance;
    let failure: unknown;
    for (let tries = 0; tries < maxPortTries; tries += 1) {
      try {
        const port = ports.assign({ service, host, appPort });
        await this.#options.openPort(bindHost, port);
        await this.#kept();
        const timeoutMs = statedTimeoutMs(instance);
        const authority = authorityOf(instance);
        const inbound = { service, application, host: health().host, appPort, authority, timeoutMs, leaving: false };
        await this.inbound.put(key, { bindHost, port, registeredHost: host, inbound });
        return { kind: "mesh", port };
      } catch (error) {
        failure = error;
        if (!(error instanceof MeshError) || error.code !== "listen.port-taken") break;
        const taken = ports.assign({ service, host, appPort });
        if (!ports.isInRange(taken)) break;
        ports.avoid(taken);
      }
    }
    if (this.inbound.has(key)) await this.inbound.leave(key);
    else ports.release({ service, host, appPort });
    told.error(
      `${host}:${appPort}`,
      { service, appPort, error: messageOf(failure) },
      "an application cannot be carried and stays at its own address",
    );
    return { kind: "bypassed", reason: messageOf(failure) };
  }

  /** A disk that refuses must not keep an application out: its port is then merely not remembered. */
  #kept(): Promise<void> {
    const { ports, told } = this.#options;
    return ports.flushed().catch((error: unknown) => {
      told.warn("", { error: messageOf(error) }, "the port table is not on disk");
    });
  }
}
