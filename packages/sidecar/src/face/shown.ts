/**
 * What a subscriber of one service is shown: the sidecar's own address when a provider can be carried or none is known, and beside it
 * the real addresses of those that cannot be carried; only those when nothing else is known. A change between the three shows old and new
 * together for a while, because clients lose calls when one goes in the same step in which the other comes. What has left the directory
 * is not kept for that: nobody answers there any more.
 */
import { overlapMs } from "@dualmesh/dialects/overlap";
import type { InstanceSet } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import type { CarriedProtocols } from "./carriage.ts";
import { Loopback, type LoopbackAddress } from "./loopback.ts";

/** A stand-in that was replaced so soon had not been seen by a client that waits for an answer from the directory. */
const standInGraceMs = 1_000;

interface Real {
  readonly instance: Instance;
  /** Clock time since when it is shown without a break. */
  readonly since: number;
}

export interface ShownView {
  readonly instances: readonly Instance[];
  /** Clock time at which the view changes by itself; undefined when it does not. */
  readonly changesAt: number | undefined;
}

export class Shown {
  readonly #loopback: Loopback;
  readonly #protocols: CarriedProtocols;
  #reals = new Map<string, Real>();
  #carried: readonly Instance[] = [];
  #bypassed: readonly Instance[] = [];
  #known = new Set<string>();
  #answered = false;
  /** Clock time since when the loopback address is shown; undefined while it is not. */
  #loopbackSince: number | undefined;
  #standIn = true;

  constructor(service: string, address: LoopbackAddress, protocols: CarriedProtocols) {
    this.#protocols = protocols;
    this.#loopback = new Loopback(service, address);
  }

  get loopback(): Instance {
    return this.#loopback.instance;
  }

  /** What the directory knows and can be carried. */
  get carried(): readonly Instance[] {
    return this.#carried;
  }

  get bypassed(): readonly Instance[] {
    return this.#bypassed;
  }

  update(set: InstanceSet): void {
    this.#answered = true;
    const isCarried = (instance: Instance): boolean => this.#protocols.whyBypassed(instance) === undefined;
    this.#carried = set.instances.filter(isCarried);
    this.#bypassed =
      this.#carried.length === set.instances.length ? [] : set.instances.filter((instance) => !isCarried(instance));
    this.#known = new Set(this.#bypassed.length + this.#reals.size === 0 ? [] : set.instances.map(instanceKeyText));
    this.#loopback.follow(this.#carried);
  }

  /** What is to be shown at clock time `now`, which never goes back. */
  view(now: number): ShownView {
    const wantsLoopback = this.#carried.length > 0 || this.#bypassed.length === 0;
    const reals = this.#wantedReals(now);
    if (wantsLoopback) this.#loopbackSince ??= now;
    const unseen = this.#standIn && this.#loopbackSince !== undefined && now - this.#loopbackSince < standInGraceMs;
    if (this.#carried.length > 0 || (wantsLoopback && this.#answered)) this.#standIn = false;
    const realsUntil = this.#keepFormerReals(reals, now);
    const loopbackUntil = wantsLoopback ? undefined : this.#keepLoopback(reals, now, unseen);
    this.#reals = reals;
    const instances = [...reals.values()].map(({ instance }) => instance);
    const changesAt = earlier(realsUntil, loopbackUntil);
    if (this.#loopbackSince === undefined) {
      this.#loopback.hide();
      return { instances, changesAt };
    }
    const loopback = this.#loopback.view(now, unseen);
    return { instances: [...loopback.instances, ...instances], changesAt: earlier(changesAt, loopback.changesAt) };
  }

  #wantedReals(now: number): Map<string, Real> {
    const reals = new Map<string, Real>();
    for (const instance of this.#bypassed) {
      const key = instanceKeyText(instance);
      reals.set(key, { instance, since: this.#reals.get(key)?.since ?? now });
    }
    return reals;
  }

  /** Adds those that are known still and carried now, until the loopback address has been shown long enough. */
  #keepFormerReals(reals: Map<string, Real>, now: number): number | undefined {
    if (this.#loopbackSince === undefined) return undefined;
    const until = this.#loopbackSince + overlapMs;
    if (until <= now) return undefined;
    let kept = false;
    for (const [key, real] of this.#reals) {
      if (reals.has(key) || !this.#known.has(key)) continue;
      reals.set(key, real);
      kept = true;
    }
    return kept ? until : undefined;
  }

  /** Keeps the loopback address, until a real one has been shown long enough. */
  #keepLoopback(reals: ReadonlyMap<string, Real>, now: number, unseen: boolean): number | undefined {
    if (this.#loopbackSince === undefined) return undefined;
    let oldest = now;
    for (const { since } of reals.values()) oldest = Math.min(oldest, since);
    const until = oldest + overlapMs;
    if (!unseen && until > now) return until;
    this.#loopbackSince = undefined;
    return undefined;
  }
}

function earlier(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined) return other;
  return other === undefined ? one : Math.min(one, other);
}
