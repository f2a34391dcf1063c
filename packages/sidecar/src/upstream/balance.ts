/**
 * Weighted round robin over one endpoint cell. Equal weights go round; unequal ones, and those that warm up, by earliest deadline: each
 * endpoint's next turn lies 1/weight after its last, and the earliest turn is taken, which is smooth and costs O(log n).
 * Endpoints that cannot be used now are passed over as long as another can.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Random } from "@dualmesh/base/random";
import type { Endpoint } from "../snapshot.ts";

/** One endpoint as the balancer keeps it; `pool` is whatever the caller attaches to it. */
export interface Candidate<Pool> {
  readonly endpoint: Endpoint;
  readonly pool: Pool;
  turn: number;
}

export class Balancer<Pool> {
  readonly candidates: readonly Candidate<Pool>[];
  readonly #clock: Clock;
  readonly #usable: (pool: Pool) => boolean;
  readonly #heap: Candidate<Pool>[];
  readonly #equal: boolean;
  /** Wall time until which some endpoint warms up. */
  readonly #warmUntil: number;
  #next: number;
  #virtual = 0;

  constructor(
    endpoints: readonly { readonly endpoint: Endpoint; readonly pool: Pool }[],
    options: { readonly clock: Clock; readonly random: Random; readonly usable: (pool: Pool) => boolean },
  ) {
    const positive = endpoints.filter(({ endpoint }) => endpoint.weight > 0);
    // Weight 0 takes an endpoint out of turn, unless nothing else is left.
    const taken = positive.length > 0 ? positive : endpoints;
    this.candidates = taken.map(({ endpoint, pool }) => ({ endpoint, pool, turn: 0 }));
    this.#clock = options.clock;
    this.#usable = options.usable;
    this.#equal = this.candidates.every(({ endpoint }) => endpoint.weight === this.candidates[0]?.endpoint.weight);
    this.#warmUntil = Math.max(0, ...this.candidates.map(({ endpoint }) => warmUntil(endpoint)));
    this.#next = Math.floor(options.random.next() * Math.max(1, this.candidates.length));
    this.#heap = [...this.candidates];
    const wall = options.clock.wall();
    for (const candidate of this.#heap)
      candidate.turn = options.random.next() / effectiveWeight(candidate.endpoint, wall);
    this.#heap.sort((a, b) => a.turn - b.turn);
  }

  /** The next endpoint, other than `except` if there is another; undefined when there is none at all. */
  pick(except: Pool | undefined): Candidate<Pool> | undefined {
    const count = this.candidates.length;
    if (count <= 1) {
      const only = this.candidates[0];
      return only?.pool === except ? undefined : only;
    }
    const inTurn = this.#equal && this.#warmUntil <= this.#clock.wall() ? () => this.#round() : () => this.#earliest();
    let first: Candidate<Pool> | undefined;
    // Every endpoint has its turn within a few rounds; a service whose endpoints are all unusable gets the first again.
    for (let tries = Math.min(count, maxTries); tries > 0; tries--) {
      const candidate = inTurn();
      if (candidate.pool === except) continue;
      if (this.#usable(candidate.pool)) return candidate;
      first ??= candidate;
    }
    return this.#scan(except) ?? first;
  }

  #round(): Candidate<Pool> {
    const index = this.#next;
    this.#next = index + 1 === this.candidates.length ? 0 : index + 1;
    return this.candidates[index] as Candidate<Pool>;
  }

  #earliest(): Candidate<Pool> {
    const heap = this.#heap;
    const top = heap[0] as Candidate<Pool>;
    this.#virtual = top.turn;
    top.turn = this.#virtual + 1 / effectiveWeight(top.endpoint, this.#clock.wall());
    siftDown(heap);
    return top;
  }

  /** The last resort: any usable one. */
  #scan(except: Pool | undefined): Candidate<Pool> | undefined {
    return this.candidates.find(({ pool }) => pool !== except && this.#usable(pool));
  }
}

const maxTries = 16;

function siftDown<Pool>(heap: Candidate<Pool>[]): void {
  const item = heap[0] as Candidate<Pool>;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    const right = child + 1;
    if (right < heap.length && (heap[right] as Candidate<Pool>).turn < (heap[child] as Candidate<Pool>).turn)
      child = right;
    if ((heap[child] as Candidate<Pool>).turn >= item.turn) break;
    heap[at] = heap[child] as Candidate<Pool>;
    at = child;
  }
  heap[at] = item;
}

function warmUntil(endpoint: Endpoint): number {
  return endpoint.warmupMs > 0 && endpoint.startedAt > 0 ? endpoint.startedAt + endpoint.warmupMs : 0;
}

/** The weight of an endpoint that warms up grows with its uptime from 1 to the whole, as Dubbo does it; never below 1. */
export function effectiveWeight(endpoint: Endpoint, wall: number): number {
  const weight = Math.max(1, endpoint.weight);
  if (endpoint.warmupMs <= 0 || endpoint.startedAt <= 0) return weight;
  const uptime = wall - endpoint.startedAt;
  if (uptime >= endpoint.warmupMs) return weight;
  return Math.max(1, Math.floor((Math.max(0, uptime) / endpoint.warmupMs) * weight));
}
