/**
 * The Node SDK: an application registers what it offers, for as long as it lives, and picks instances of what it calls. It stands either
 * in the registry's own stream (`registry`), or behind its sidecar, whose HTTP door it is told (`sidecar`): the application's code is the same.
 */

import { type Clock, systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { type Log, silentLog } from "@dualmesh/base/log";
import { type Random, systemRandom } from "@dualmesh/base/random";
import { maxServiceTextLength, parseServiceText, serviceText } from "@dualmesh/model/service";
import type { Endpoint, Offer, Offered, Place, Surroundings } from "./sdk-place.ts";
import { joinRegistry } from "./sdk-registry.ts";
import { joinSidecar } from "./sdk-sidecar.ts";

export type { Endpoint, Offer, Offered } from "./sdk-place.ts";

export interface ConnectOptions {
  /** `host:port` of the registry's stream: instances are called directly (SDK mode). */
  readonly registry?: string;
  /** URL of the sidecar's HTTP door: instances are called through the sidecar. */
  readonly sidecar?: string;
  /** This application's name, for what it registers and calls; by default each registration has the name of its service. */
  readonly application?: string;
  /** The host under which others reach this process; by default the address from which it reaches the registry or its sidecar's own. */
  readonly host?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Log;
}

export interface Subscription {
  readonly service: string;
  /** The newest; empty while nothing is known. */
  readonly endpoints: readonly Endpoint[];
  /** Resolves at the first answer. */
  readonly known: Promise<void>;
  /** One of them by weight and warm-up; undefined when there is none. */
  pick(): Endpoint | undefined;
  close(): void;
}

export interface Mesh {
  register(offer: Offer): Offered;
  /** `onChange` is called with every newest set. */
  subscribe(service: string, onChange?: (endpoints: readonly Endpoint[]) => void): Subscription;
  /** Takes everything back. */
  close(): Promise<void>;
}

/** Joins the mesh. Never waits: what is registered and followed while registry or sidecar is away is made good when it is back. */
export function connect(options: ConnectOptions): Mesh {
  const { registry, sidecar, application, host, clock = systemClock, random = systemRandom, log = silentLog } = options;
  if ((registry === undefined) === (sidecar === undefined))
    throw new MeshError("sdk.connect", "connect needs either registry (host:port) or sidecar (http://127.0.0.1:PORT)");
  const around = { application, host, clock, random, log };
  return new OpenMesh(
    registry === undefined ? joinSidecar(sidecar as string, around) : joinRegistry(registry, around),
    around,
  );
}

/** Takes the short forms of a service too. Throws `sdk.service`. */
export function canonicalService(service: string): string {
  const long = service.includes("/") ? service : `http/${service}`;
  const parts = parseServiceText(long.includes(":") ? long : `${long}::`);
  if (parts === undefined)
    throw new MeshError(
      "sdk.service",
      `${service.slice(0, maxServiceTextLength)} is no service: write NAME or PROTOCOL/NAME:VERSION:GROUP`,
    );
  return serviceText(parts.protocol === "http" ? { ...parts, name: parts.name.toLowerCase() } : parts);
}

class OpenMesh implements Mesh {
  readonly #place: Place;
  readonly #around: Surroundings;
  readonly #subscriptions = new Set<Subscription>();

  constructor(place: Place, around: Surroundings) {
    this.#place = place;
    this.#around = around;
  }

  register(offer: Offer): Offered {
    const service = canonicalService(offer.service);
    const application = offer.application ?? this.#around.application ?? parseServiceText(service)?.name ?? service;
    return this.#place.register({ weight: 100, warmupMs: 0, zone: "", labels: {}, ...offer, application, service });
  }

  subscribe(text: string, onChange?: (endpoints: readonly Endpoint[]) => void): Subscription {
    const service = canonicalService(text);
    const first = Promise.withResolvers<void>();
    let endpoints: readonly Endpoint[] = [];
    const watch = this.#place.follow(service, (newest) => {
      endpoints = newest;
      first.resolve();
      onChange?.(newest);
    });
    const subscription: Subscription = {
      service,
      get endpoints() {
        return endpoints;
      },
      known: first.promise,
      pick: () => pickOf(endpoints, this.#around),
      close: () => {
        watch.close();
        this.#subscriptions.delete(subscription);
      },
    };
    this.#subscriptions.add(subscription);
    return subscription;
  }

  async close(): Promise<void> {
    for (const subscription of [...this.#subscriptions]) subscription.close();
    await this.#place.close();
  }
}

/** A new instance never has no share at all: it would not warm up. */
const leastWarmShare = 0.05;

function pickOf(endpoints: readonly Endpoint[], { clock, random }: Surroundings): Endpoint | undefined {
  const wall = clock.wall();
  const shares = endpoints.map(({ weight, warmupMs, startedAt }) => {
    const warm = warmupMs === 0 || startedAt === 0 ? 1 : (wall - startedAt) / warmupMs;
    return weight * Math.min(1, Math.max(leastWarmShare, warm));
  });
  const all = shares.reduce((sum, share) => sum + share, 0);
  // All have a weight of nothing: better any than none.
  if (all === 0) return endpoints[Math.floor(random.next() * endpoints.length)];
  let rest = random.next() * all;
  for (const [at, share] of shares.entries()) {
    rest -= share;
    if (rest < 0) return endpoints[at];
  }
  return endpoints.at(-1);
}
