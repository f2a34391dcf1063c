/**
 * The services that applications of this host call: what their doors are shown, and which endpoints the data plane calls. One upstream
 * watch serves all subscribers of a service. A service that nobody subscribes to any more, or that was only called, is kept for a while.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Directory, InstanceSet, Watch } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { type CarriedProtocols, statedTimeoutMs } from "./carriage.ts";
import type { LoopbackAddress } from "./loopback.ts";
import { Shown } from "./shown.ts";

/** A service as the data plane calls it. */
export interface OutboundService {
  readonly service: string;
  /** False until the directory has answered: calls wait a little. */
  readonly known: boolean;
  /**
   * The carried providers. When there is none, those that cannot be carried: a caller that still has the loopback address may be
   * understood by them, and would certainly fail otherwise.
   */
  readonly instances: readonly Instance[];
  /** The deadline of a request that states none, in milliseconds; 0 for the default. */
  readonly timeoutMs: number;
}

/** `undefined` when the service is not followed any more. */
export type OutboundListener = (service: string, state: OutboundService | undefined) => void;

export interface WantedOptions {
  readonly directory: Directory;
  readonly clock: Clock;
  readonly log: Log;
  readonly loopback: LoopbackAddress;
  readonly protocols: CarriedProtocols;
  /** The address of its own of a service that has one, asked for when it is first followed. */
  readonly addressOf?: (service: string) => string | undefined;
  /** Clock time of the last call to a service, by the data plane's count; a service that is called is not idle. */
  readonly calledAt?: (service: string) => number | undefined;
}

export interface WantedStatus {
  readonly service: string;
  readonly subscribers: number;
  readonly known: boolean;
  readonly carried: number;
  readonly bypassed: readonly { readonly address: string; readonly reason: string }[];
  readonly shown: readonly string[];
}

/** Services without a subscriber that are kept; beyond, the one that was used longest ago is dropped. */
const maxIdle = 4_096;
const idleMs = 3_600_000;
const sweepMs = 60_000;

interface Subscriber {
  readonly listener: (set: InstanceSet) => void;
  open: boolean;
  due: boolean;
}

interface Followed {
  readonly service: string;
  readonly shown: Shown;
  readonly carries: boolean;
  readonly subscribers: Set<Subscriber>;
  upstream: Watch | undefined;
  set: InstanceSet | undefined;
  usedAt: number;
  timer: Timer | undefined;
}

export class Wanted {
  readonly #options: WantedOptions;
  readonly #followed = new Map<string, Followed>();
  /** Those without a subscriber, the one used longest ago first. */
  readonly #idle = new Map<string, Followed>();
  readonly #outbound = new Set<OutboundListener>();
  readonly #patience = new Map<string, { readonly longestMs: number; readonly someSayNothing: boolean }>();
  readonly #changed = new Set<string>();
  readonly #sweep: Timer;
  readonly #refusals: ThrottledLog;
  #closed = false;

  constructor(options: WantedOptions) {
    this.#options = options;
    this.#refusals = new ThrottledLog(options);
    this.#sweep = options.clock.every(sweepMs, () => this.#dropIdle());
  }

  watch(service: string, listener: (set: InstanceSet) => void): Watch {
    const followed = this.#follow(service);
    this.#idle.delete(service);
    const subscriber: Subscriber = { listener, open: true, due: false };
    followed.subscribers.add(subscriber);
    this.#tell(followed, subscriber);
    return {
      close: () => {
        if (!subscriber.open) return;
        subscriber.open = false;
        followed.subscribers.delete(subscriber);
        if (followed.subscribers.size === 0) this.#touch(followed);
      },
    };
  }

  /**
   * A call needs this service: it is followed from now on, if its protocol can be carried at all and the directory takes one more. It never
   * throws, since it stands in the way of a request, which is answered as one to a service that nobody knows.
   */
  ensure(service: string): void {
    if (this.#closed || !this.#options.protocols.has(service)) return;
    try {
      const followed = this.#follow(service);
      if (followed.subscribers.size === 0) this.#touch(followed);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      this.#refusals.warn(error.code, { service, error: error.message }, "a service that is called cannot be followed");
    }
  }

  /** A local consumer states how long its calls may take. What was once said holds until the service is not followed any more. */
  consumer(service: string, timeoutMs: number): void {
    if (this.#closed) return;
    const said = this.#patience.get(service);
    const patience = {
      longestMs: Math.max(said?.longestMs ?? 0, timeoutMs),
      someSayNothing: said?.someSayNothing === true || timeoutMs === 0,
    };
    if (said === undefined && this.#patience.size >= maxIdle) return;
    this.#patience.set(service, patience);
    const followed = this.#followed.get(service);
    if (followed !== undefined) this.#changedOutbound(followed);
  }

  /** All services that the data plane is to know. */
  outbound(): ReadonlyMap<string, OutboundService> {
    const all = new Map<string, OutboundService>();
    for (const followed of this.#followed.values())
      if (followed.carries) all.set(followed.service, this.#stateOf(followed));
    return all;
  }

  /** Calls `listener` for each service that changes, in a later turn than the change. What is followed now is told first. */
  onOutbound(listener: OutboundListener): Watch {
    this.#outbound.add(listener);
    for (const followed of this.#followed.values()) this.#changedOutbound(followed);
    return { close: () => void this.#outbound.delete(listener) };
  }

  status(): readonly WantedStatus[] {
    const now = this.#options.clock.now();
    return [...this.#followed.values()].map((followed) => ({
      service: followed.service,
      subscribers: followed.subscribers.size,
      known: followed.set !== undefined,
      carried: followed.shown.carried.length,
      bypassed: followed.shown.bypassed.map((instance) => ({
        address: `${instance.address}:${instance.port}`,
        reason: this.#options.protocols.whyBypassed(instance) ?? "",
      })),
      shown: this.#instancesOf(followed, now).map((instance) => `${instance.address}:${instance.port}`),
    }));
  }

  close(): void {
    this.#closed = true;
    this.#sweep.cancel();
    for (const followed of [...this.#followed.values()]) this.#drop(followed);
    this.#outbound.clear();
  }

  #follow(service: string): Followed {
    const known = this.#followed.get(service);
    if (known !== undefined) return known;
    const { directory, clock, loopback, protocols } = this.#options;
    const followed: Followed = {
      service,
      shown: new Shown(service, { ...loopback, host: this.#options.addressOf?.(service) ?? loopback.host }, protocols),
      carries: protocols.has(service),
      subscribers: new Set(),
      upstream: undefined,
      set: undefined,
      usedAt: clock.now(),
      timer: undefined,
    };
    this.#followed.set(service, followed);
    try {
      followed.upstream = directory.watch(service, (set) => this.#received(followed, set));
    } catch (error) {
      this.#followed.delete(service); // or it would stand for a service of which nothing is ever heard
      throw error;
    }
    this.#changedOutbound(followed);
    return followed;
  }

  #received(followed: Followed, set: InstanceSet): void {
    if (this.#followed.get(followed.service) !== followed) return;
    followed.set = set;
    followed.shown.update(set);
    this.#show(followed);
    this.#changedOutbound(followed);
  }

  #show(followed: Followed): void {
    for (const subscriber of followed.subscribers) this.#tell(followed, subscriber);
  }

  #tell(followed: Followed, subscriber: Subscriber): void {
    if (subscriber.due) return;
    subscriber.due = true;
    queueMicrotask(() => {
      subscriber.due = false;
      if (!subscriber.open || this.#closed) return;
      // A protocol that cannot be carried has no stand-in: until the directory has answered there is nothing to say of it.
      if (!followed.carries && followed.set === undefined) return;
      const instances = this.#instancesOf(followed, this.#options.clock.now());
      subscriber.listener({ service: followed.service, instances, freshSince: followed.set?.freshSince ?? 0 });
    });
  }

  #instancesOf(followed: Followed, now: number): readonly Instance[] {
    if (!followed.carries) return followed.set?.instances ?? [];
    const { instances, changesAt } = followed.shown.view(now);
    followed.timer?.cancel();
    followed.timer =
      changesAt === undefined ? undefined : this.#options.clock.after(changesAt - now, () => this.#show(followed));
    return instances;
  }

  #stateOf({ service, shown, set }: Followed): OutboundService {
    const instances = shown.carried.length > 0 ? shown.carried : shown.bypassed;
    return { service, known: set !== undefined, instances, timeoutMs: this.#timeoutOf(service, shown.loopback) };
  }

  /** What consumers say holds for them; for one that says nothing, what the providers say. */
  #timeoutOf(service: string, provider: Instance): number {
    const patience = this.#patience.get(service);
    if (patience === undefined || patience.longestMs === 0) return statedTimeoutMs(provider);
    return patience.someSayNothing ? Math.max(patience.longestMs, statedTimeoutMs(provider)) : patience.longestMs;
  }

  #changedOutbound(followed: Followed): void {
    if (!followed.carries || this.#closed) return;
    this.#changed.add(followed.service);
    if (this.#changed.size === 1) queueMicrotask(() => this.#tellOutbound());
  }

  #tellOutbound(): void {
    const services = [...this.#changed];
    this.#changed.clear();
    for (const service of services) {
      const followed = this.#followed.get(service);
      const state = followed === undefined ? undefined : this.#stateOf(followed);
      for (const listener of this.#outbound) listener(service, state);
    }
  }

  #touch(followed: Followed): void {
    followed.usedAt = this.#options.clock.now();
    this.#idle.delete(followed.service);
    this.#idle.set(followed.service, followed);
    if (this.#idle.size <= maxIdle) return;
    const oldest = this.#idle.values().next().value;
    if (oldest !== undefined) this.#drop(oldest);
  }

  #dropIdle(): void {
    const now = this.#options.clock.now();
    for (const followed of [...this.#idle.values()]) {
      followed.usedAt = Math.max(followed.usedAt, this.#options.calledAt?.(followed.service) ?? 0);
      if (now - followed.usedAt >= idleMs) this.#drop(followed);
    }
  }

  #drop(followed: Followed): void {
    followed.timer?.cancel();
    followed.upstream?.close();
    this.#followed.delete(followed.service);
    this.#idle.delete(followed.service);
    this.#patience.delete(followed.service);
    this.#changedOutbound(followed);
    this.#options.log.debug({ service: followed.service }, "a service is not followed any more");
  }
}
