/** What the SDK needs of the place where it stands: the registry's stream, or a sidecar's HTTP door. */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";

export interface Offer {
  /** `orders`, `http/orders::` or `PROTOCOL/NAME:VERSION:GROUP`. */
  readonly service: string;
  /** Where this process listens for it. */
  readonly port: number;
  /** By default what `connect` was told, else the name of the service. */
  readonly application?: string;
  readonly weight?: number;
  readonly warmupMs?: number;
  readonly zone?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface Endpoint {
  readonly application: string;
  readonly address: string;
  readonly port: number;
  /** `PROTOCOL://ADDRESS:PORT`, ready to call. */
  readonly url: string;
  readonly weight: number;
  readonly warmupMs: number;
  /** Wall time in milliseconds; 0 when unknown. */
  readonly startedAt: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface Offered {
  /** Resolves when it is in force; rejects when it was refused. */
  readonly inForce: Promise<void>;
  /** Takes it back, and resolves when that is in force: go on serving for a moment, until the last caller has heard of it. */
  withdraw(): Promise<void>;
}

/** What a place to stand does for `Mesh`. Services are canonical. */
export interface Place {
  register(offer: Required<Offer>): Offered;
  follow(service: string, told: (endpoints: readonly Endpoint[]) => void): { close(): void };
  close(): Promise<void>;
}

export interface Surroundings {
  readonly application: string | undefined;
  readonly host: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export function urlOf(service: string, address: string, port: number): string {
  return `${service.slice(0, service.indexOf("/"))}://${address.includes(":") ? `[${address}]` : address}:${port}`;
}
