/**
 * What the applications of this host provide. Each registration is published upstream at the sidecar's address, or at its own when it
 * cannot be carried, for as long as its port accepts; and the data plane is told which published port leads to which application. What
 * has been withdrawn goes on being served for a while, since callers learn of it later than we do.
 */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Directory, Publication, PublishOptions } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import type { AppHealth, Apps } from "../apps/apps.ts";
import type { Carrier } from "./carrier.ts";
import type { InboundTable } from "./inbound.ts";
import { type Carriage, Offer } from "./offer.ts";

export interface ProvidedOptions {
  readonly directory: Directory;
  readonly clock: Clock;
  readonly log: Log;
  readonly apps: Apps;
  readonly carrier: Carrier;
  /** The host of every instance; without it, each application's own registered address. */
  readonly advertise?: string;
  /** Where published ports listen; without it, at the instance's host. */
  readonly inboundHost?: string;
  /** Ports on which this sidecar itself listens: a registration that names one would call itself. */
  readonly isOwnPort: (port: number) => boolean;
  readonly zone: string;
}

export interface ProvidedStatus {
  readonly service: string;
  readonly application: string;
  readonly host: string;
  readonly appPort: number;
  /** Empty while it is not published. */
  readonly published: string;
  /** Why it is not carried; empty when it is. */
  readonly bypassed: string;
  readonly health: AppHealth;
}

const maxOffers = 4_096;
/** How long an orderly end waits for a directory that may be out of reach. */
const deregisterMs = 5_000;
/** Of the instances that could not be taken back, those that the log names. */
const maxToldOffers = 20;
const wildcards = new Set(["0.0.0.0", "::"]);

export class Provided {
  readonly inbound: InboundTable;
  readonly #options: ProvidedOptions;
  readonly #offers = new Map<string, Offer>();
  #deregistered = false;

  constructor(options: ProvidedOptions) {
    this.#options = options;
    this.inbound = options.carrier.inbound;
  }

  async publish(
    original: Instance,
    options: PublishOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<Publication> {
    options.signal?.throwIfAborted();
    const key = instanceKeyText({ ...original, host: this.#hostOf(original) });
    const known = this.#offers.get(key);
    this.#check(original, known !== undefined);
    const offer = known ?? this.#open(key, original);
    const owner = offer.own(original, options);
    options.onAccepted?.();
    const publication: Publication = {
      update: (instance, updated) => offer.replace(owner, instance, updated),
      withdraw: () => offer.withdraw(owner),
    };
    const inForce = offer.inForce(owner, options.signal);
    const giveUp = (): void => void publication.withdraw();
    options.signal?.addEventListener("abort", giveUp, { once: true });
    try {
      await inForce;
    } finally {
      options.signal?.removeEventListener("abort", giveUp);
    }
    return publication;
  }

  /**
   * Takes everything back upstream, in order, while calls go on being served. Resolves when that is in force, or when it has taken too
   * long: what could not be taken back then ends with the sidecar's lease.
   */
  async deregister(): Promise<void> {
    this.#deregistered = true;
    const left = new Set(this.#offers.values());
    const taken = Promise.all(
      [...left].map(async (offer) => {
        await offer.suspend();
        left.delete(offer);
      }),
    );
    const late = Promise.withResolvers<void>();
    const timer = this.#options.clock.after(deregisterMs, late.resolve, true);
    try {
      await Promise.race([taken, late.promise]);
    } finally {
      timer.cancel();
    }
    if (left.size === 0) return;
    const some = [...left].slice(0, maxToldOffers).map(({ original }) => `${original.service} at ${original.appPort}`);
    this.#options.log.warn(
      { instances: left.size, some, waitedMs: deregisterMs },
      "instances could not be taken back; they go when the sidecar's lease ends",
    );
  }

  status(): readonly ProvidedStatus[] {
    return [...this.#offers.values()].map((offer) => {
      const { service, application, appPort } = offer.original;
      const published = offer.published;
      return {
        service,
        application,
        host: this.#hostOf(offer.original),
        appPort,
        published: published === undefined ? "" : `${published.address}:${published.port}`,
        bypassed: offer.carriage?.kind === "bypassed" ? offer.carriage.reason : "",
        health: offer.health,
      };
    });
  }

  close(): void {
    for (const offer of this.#offers.values()) offer.close();
    this.#offers.clear();
  }

  #check(original: Instance, isKnown: boolean): void {
    if (!isKnown && this.#offers.size >= maxOffers) {
      throw new MeshError("publish.too-many", `a sidecar publishes at most ${maxOffers} instances`, {
        service: original.service,
      });
    }
    if (this.#options.isOwnPort(original.appPort)) {
      throw new MeshError(
        "publish.own-port",
        `${original.service} is registered at port ${original.appPort}, which is the sidecar's own; give the application another port`,
        { service: original.service, appPort: original.appPort },
      );
    }
  }

  #open(key: string, original: Instance): Offer {
    const { directory, clock, log, apps } = this.#options;
    const offer: Offer = new Offer(original, {
      directory,
      clock,
      log,
      watchApp: (instance, listener) => apps.watch(instance.host, instance.appPort, listener),
      carry: (instance) => this.#carry(key, instance, () => offer.health),
      target: (instance, carriage) => this.#target(instance, carriage),
      onHealth: (health) => this.#settle(this.inbound.follow(key, health.host)),
      onEnd: () => {
        if (this.#offers.get(key) === offer) this.#offers.delete(key);
        this.#settle(this.inbound.leave(key));
      },
    });
    this.#offers.set(key, offer);
    if (this.#deregistered) this.#settle(offer.suspend());
    return offer;
  }

  #carry(key: string, instance: Instance, health: () => AppHealth): Promise<Carriage> {
    const { advertise, inboundHost, carrier } = this.#options;
    return carrier.carry(instance, { key, bindHost: inboundHost ?? advertise ?? instance.host, health });
  }

  #settle(work: Promise<void>): void {
    work.catch((error: unknown) =>
      this.#options.log.error({ error: messageOf(error) }, "a change of the inbound routes failed"),
    );
  }

  #target(original: Instance, carriage: Carriage): Instance {
    const { zone, advertise, inboundHost } = this.#options;
    const common = { ...original, host: this.#hostOf(original), zone: original.zone === "" ? zone : original.zone };
    if (carriage.kind === "bypassed") return { ...common, mode: "sdk", bypassed: carriage.reason };
    const bound = inboundHost === undefined || wildcards.has(inboundHost) ? undefined : inboundHost;
    const address = advertise ?? bound ?? original.host;
    return { ...common, address, port: carriage.port, mode: "mesh", bypassed: "" };
  }

  #hostOf(original: Instance): string {
    return this.#options.advertise ?? original.host;
  }
}
