/**
 * Calls to services of which nothing is known yet. They wait a little, a bounded number of them in bounded memory, until a directory
 * has answered; the deadline that ends the wait is the caller's (request.ts).
 */
import type { ByteBudget } from "@dualmesh/base/byte-budget";
import type { Exchange } from "./exchange.ts";

export class Waiting {
  readonly #byService = new Map<string, Set<Exchange>>();
  readonly #serviceOf = new Map<Exchange, string>();
  readonly #limit: number;
  readonly #held: ByteBudget;

  constructor(limit: number, held: ByteBudget) {
    this.#limit = limit;
    this.#held = held;
  }

  services(): readonly string[] {
    return [...this.#byService.keys()];
  }

  /** Keeps a copy of the request; false when no more can wait. */
  add(service: string, exchange: Exchange, bytes: Buffer, start: number, size: number): boolean {
    if (this.#serviceOf.size >= this.#limit || !this.#held.take(size)) return false;
    exchange.held = Buffer.from(bytes.subarray(start, start + size));
    exchange.place = this;
    this.#serviceOf.set(exchange, service);
    const set = this.#byService.get(service);
    if (set === undefined) this.#byService.set(service, new Set([exchange]));
    else set.add(exchange);
    return true;
  }

  forget(exchange: Exchange): void {
    const service = this.#serviceOf.get(exchange);
    if (service === undefined) return;
    this.#serviceOf.delete(exchange);
    this.#held.give(exchange.held?.length ?? 0);
    const set = this.#byService.get(service);
    set?.delete(exchange);
    if (set?.size === 0) this.#byService.delete(service);
  }

  /** Takes out all that wait for this service. */
  take(service: string): readonly { readonly exchange: Exchange; readonly held: Buffer }[] {
    const set = this.#byService.get(service);
    if (set === undefined) return [];
    return [...set].map((exchange) => {
      const held = exchange.held as Buffer;
      this.forget(exchange);
      exchange.place = undefined;
      exchange.held = undefined;
      return { exchange, held };
    });
  }
}
