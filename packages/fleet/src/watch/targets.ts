/**
 * Why this exists: whose call is it. The services that are watched, each provided or consumed, the addresses where they are called, and
 * what was counted of each. A request that names its service counts for that one; where no name can be read, the call counts for each
 * service of its protocol at that address.
 */
import { parseServiceText } from "@dualmesh/model/service";
import { headOf } from "@dualmesh/model/service-head";
import type { CallConnection, CallListener, WatchedEnd } from "./calls.ts";
import { Tally } from "./figures.ts";
import type { Outcome } from "./heads.ts";
import { hostBytes, hostText, isLoopback } from "./hosts.ts";
import { type Baseline, baselineOf, Strand } from "./strand.ts";
import type { WatchBounds, WatchFigures, WatchOptions } from "./watching.ts";

/** Methods and callers of one service that are told apart; the rest is one strand, whose durations are not judged. */
export const maxStrands = 64;

/** A look that was shorter, or saw fewer calls, says nothing of how often it is called. */
const leastBeforeMs = 1_000;
const leastBefore = 10;

/** A service on one side. */
export class Target {
  readonly service: string;
  readonly side: "provided" | "consumed";
  readonly protocol: string;
  /** As the head of a request names it; the group of Dubbo stands too far behind to be read. */
  readonly head: string;
  readonly since: Tally = new Tally();
  readonly #bounds: WatchBounds;
  /** Where it is called by itself, and where in the mesh. */
  readonly direct: Strand[] = [];
  readonly mesh: Strand[] = [];
  readonly #strands = new Map<string, Strand>();
  readonly #baselines = new Map<string, Tally>();
  #before: Tally | undefined;
  #startedMs: number | undefined;

  constructor(service: string, side: "provided" | "consumed", protocol: string, bounds: WatchBounds) {
    this.service = service;
    this.side = side;
    this.protocol = protocol;
    const name = parseServiceText(service);
    this.head = name === undefined ? service : headOf(name).head;
    this.#bounds = bounds;
  }

  /** What it was like before the start, or is like as long as nothing has started. */
  get before(): Tally {
    if (this.#before !== undefined) return this.#before;
    const sum = new Tally();
    for (const strand of this.#strands.values()) sum.merge(strand.before);
    return sum;
  }

  strand(isDirect: boolean, method: string, client: string): Strand {
    const isOther = this.#strands.size >= maxStrands;
    const kind = isOther && !this.#strands.has(keyOf(isDirect, method, client)) ? "" : keyOf(isDirect, method, client);
    const key = kind === "" ? `other ${isDirect}` : kind;
    const known = this.#strands.get(key);
    if (known !== undefined) return known;
    const strand = new Strand(isDirect, method);
    if (this.#startedMs !== undefined)
      strand.start(this.#startedMs, this.#baseline(kind === "" ? undefined : `${method}\0${client}`, method));
    this.#strands.set(key, strand);
    (isDirect ? this.direct : this.mesh).push(strand);
    return strand;
  }

  /** From now on calls are held against those before. */
  start(nowMs: number): void {
    this.#before = this.before;
    this.#startedMs = nowMs;
    for (const [key, strand] of this.#strands) {
      if (key.startsWith("other ") || !strand.isDirect) continue;
      const [, method = "", client = ""] = key.split("\0");
      for (const kind of [`${method}\0${client}`, method]) {
        const tally = this.#baselines.get(kind) ?? new Tally();
        this.#baselines.set(kind, tally);
        tally.merge(strand.before);
        // Calls that have not ended are the long ones: without them the rest would look faster than calls are.
        tally.durations.add(Number.POSITIVE_INFINITY, strand.underWay);
      }
    }
    for (const [key, strand] of this.#strands) {
      const [, method = "", client = ""] = key.split("\0");
      strand.start(nowMs, this.#baseline(key.startsWith("other ") ? undefined : `${method}\0${client}`, method));
    }
  }

  /** Calls a second before the start, from the first that was seen; 0 when none was, or for less than a second. */
  get rateBefore(): number {
    const startedMs = this.#startedMs;
    const firstMs = Math.min(...this.direct.flatMap((strand) => strand.firstMs ?? []));
    if (startedMs === undefined || startedMs - firstMs < leastBeforeMs || this.before.calls < leastBefore) return 0;
    return (this.before.calls * 1_000) / (startedMs - firstMs);
  }

  figures(tally: Tally): WatchFigures {
    return tally.figures(this.service, this.side);
  }

  /** A caller that was not seen before is held against all others of its method. */
  #baseline(kind: string | undefined, method: string): Baseline {
    const tally = kind === undefined ? undefined : (this.#baselines.get(kind) ?? this.#baselines.get(method));
    return baselineOf(tally, this.#before, this.#bounds);
  }
}

function keyOf(isDirect: boolean, method: string, client: string): string {
  return `${isDirect}\0${method}\0${client}`;
}

interface Place {
  readonly target: Target;
  readonly isDirect: boolean;
}

export interface Followed {
  readonly target: Target;
  readonly strand: Strand;
}

export class Targets implements CallListener<readonly Followed[]> {
  readonly all: readonly Target[];
  readonly ends: readonly WatchedEnd[];
  /** Addresses that are none, as they were given. */
  readonly unreadable: readonly string[];
  readonly #places = new Map<string, Place[]>();
  readonly #ownHosts = new Set<string>();
  #startedMs: number | undefined;
  /** How often packets were missing. */
  losses = 0;

  constructor({ provided, consumed, bounds }: WatchOptions) {
    const targets = new Map<string, Target>();
    const ends = new Map<string, WatchedEnd>();
    const unreadable: string[] = [];
    const watch = (target: Target, isDirect: boolean, address: WatchedEnd): string => {
      const bytes = hostBytes(address.host);
      if (bytes === undefined) unreadable.push(address.host);
      if (bytes === undefined || !isRead(target.protocol)) return "";
      const host = hostText(bytes);
      const key = `${host}|${address.port}`;
      ends.set(key, { host, port: address.port });
      const places = this.#places.get(key) ?? [];
      this.#places.set(key, places);
      if (!places.some((place) => place.target === target && place.isDirect === isDirect))
        places.push({ target, isDirect });
      return host;
    };
    const targetOf = (service: string, side: Target["side"], protocol: string): Target => {
      const key = `${side}|${service}`;
      const target = targets.get(key) ?? new Target(service, side, protocol, bounds);
      targets.set(key, target);
      return target;
    };
    for (const { service, protocol, direct, published } of provided) {
      const target = targetOf(service, "provided", protocol);
      this.#ownHosts.add(watch(target, true, direct)).add(watch(target, false, published));
    }
    for (const { service, protocol, direct, outbound } of consumed) {
      const target = targetOf(service, "consumed", protocol);
      for (const address of direct) watch(target, true, address);
      this.#ownHosts.add(watch(target, false, outbound));
    }
    this.all = [...targets.values()];
    this.ends = [...ends.values()];
    this.unreadable = [...new Set(unreadable)];
  }

  start(nowMs: number): void {
    this.#startedMs = nowMs;
    for (const target of this.all) target.start(nowMs);
  }

  find(connection: CallConnection, service: string | undefined, method = ""): readonly Followed[] | undefined {
    const { end, client } = connection;
    const places = this.#places.get(`${end.host}|${end.port}`) ?? [];
    const found = places.filter(
      ({ target, isDirect }) =>
        (service === undefined || target.head === service) && !(isDirect && this.#isSidecars(connection, target)),
    );
    if (found.length === 0) return undefined;
    return found.map(({ target, isDirect }) => ({
      target,
      strand: target.strand(isDirect, method, target.side === "provided" ? client : ""),
    }));
  }

  began(followed: readonly Followed[], atMs: number): void {
    for (const { strand } of followed) strand.began(atMs);
  }

  ended(followed: readonly Followed[], atMs: number, ms: number, outcome: Outcome): void {
    for (const { target, strand } of followed) {
      if (this.#startedMs === undefined) {
        if (strand.isDirect) strand.before.add(ms, outcome);
      } else target.since.add(ms, outcome);
      strand.ended(atMs, ms, outcome === "failed");
    }
  }

  forgotten(followed: readonly Followed[], atMs: number): void {
    for (const { strand } of followed) strand.forgotten(atMs);
  }

  lost(): void {
    this.losses++;
  }

  /**
   * Behind a call to the sidecar stands another, from the sidecar to the address itself. It is the same call once more, and when it
   * fails the sidecar may still find another provider: only what the application or its callers see is counted. Such connections
   * come from this host, and begin after the start.
   */
  #isSidecars({ client, openedMs }: CallConnection, { side }: Target): boolean {
    if (this.#startedMs === undefined || openedMs === undefined || openedMs < this.#startedMs) return false;
    return side === "consumed" || isLoopback(client) || this.#ownHosts.has(client);
  }
}

/** Whether calls of a protocol can be told from the packets. */
export function isRead(protocol: string): boolean {
  return protocol === "bolt" || protocol === "dubbo";
}
