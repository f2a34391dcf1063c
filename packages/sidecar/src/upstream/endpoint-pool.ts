/**
 * What the pools of all protocols have in common: the endpoint they lead to, whether it should be preferred now, and that they live as long
 * as a route refers to them.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { DataMetrics, Direction } from "../metrics.ts";
import type { Endpoint } from "../snapshot.ts";

/** What happens to endpoints, whatever requests are under way. */
export interface EndpointEvents {
  /** An application of this host is going to stop. */
  goingAway(pool: EndpointPool): void;
  /** A connection could not be made, or broke. */
  connectionLost(pool: EndpointPool): void;
}

export interface EndpointPoolContext {
  readonly clock: Clock;
  readonly metrics: DataMetrics;
  readonly events: EndpointEvents;
}

const backoffMs = [200, 500, 1_000, 2_000, 5_000];

export abstract class EndpointPool {
  readonly key: string;
  readonly endpoint: Endpoint;
  readonly direction: Direction;
  readonly #context: EndpointPoolContext;
  #failures = 0;
  /** Until when (clock) other endpoints are preferred; 0 for no reason to. */
  #avoidUntilMs = 0;
  /** How many routes refer to this pool. */
  users = 0;

  constructor(key: string, endpoint: Endpoint, direction: Direction, context: EndpointPoolContext) {
    this.key = key;
    this.endpoint = endpoint;
    this.direction = direction;
    this.#context = context;
  }

  abstract readonly connectionCount: number;
  /** Lets every connection end with its last reply. */
  abstract retire(): void;
  /** Once a second. */
  abstract sweep(nowMs: number): void;
  abstract destroy(reason: string): void;

  /** False while a connect failure or a farewell is recent: taken only if nothing else is there. */
  get usable(): boolean {
    return this.#avoidUntilMs === 0 || this.#context.clock.now() >= this.#avoidUntilMs;
  }

  connected(): void {
    this.#failures = 0;
    this.#avoidUntilMs = 0;
  }

  /** Other endpoints are preferred for so long. */
  avoidFor(ms: number): void {
    this.#avoidUntilMs = this.#context.clock.now() + ms;
  }

  /** A connection is gone that had been there and was in use, or could not be made. */
  protected connectionLost(connected: boolean): void {
    this.#context.events.connectionLost(this);
    if (connected) return;
    this.#context.metrics.event("connect_failed");
    const wait = backoffMs[Math.min(this.#failures, backoffMs.length - 1)] as number;
    this.#failures++;
    this.avoidFor(wait);
  }
}
