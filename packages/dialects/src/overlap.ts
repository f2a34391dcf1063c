/**
 * Some dialects name an instance by its address, so that an address that changes looks to a client like one provider that goes and
 * another that comes; clients lose calls when both happen in one step. This keeps the former value beside the new one for a while.
 * A key that leaves takes all its values with it at once, and a new key shows at once.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";

/** How long an old address is shown beside the new one, in milliseconds. */
export const overlapMs = 6_000;

interface Former<T> {
  readonly value: T;
  readonly until: number;
}

interface Shown<T> {
  value: T;
  address: string;
  readonly former: Map<string, Former<T>>;
}

export interface OverlapOptions<T> {
  readonly clock: Clock;
  /** What a client would take for another provider: `address:port`. */
  readonly addressOf: (value: T) => string;
  /** Called when time took something out of `shown`; never from inside `set`. */
  readonly onChange: () => void;
  readonly durationMs?: number;
}

export class Overlap<T> {
  readonly #options: OverlapOptions<T>;
  readonly #durationMs: number;
  readonly #keys = new Map<string, Shown<T>>();
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(options: OverlapOptions<T>) {
    this.#options = options;
    this.#durationMs = options.durationMs ?? overlapMs;
  }

  /** The whole newest set. */
  set(values: ReadonlyMap<string, T>): void {
    for (const key of this.#keys.keys()) if (!values.has(key)) this.#keys.delete(key);
    const now = this.#options.clock.now();
    for (const [key, value] of values) this.#put(key, value, now);
    this.#expire(now);
    this.#arm();
  }

  /** What is to be shown now: of each key its value, and its former ones while they last. */
  shown(): readonly T[] {
    const all: T[] = [];
    for (const { value, former } of this.#keys.values()) {
      all.push(value);
      for (const old of former.values()) all.push(old.value);
    }
    return all;
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#keys.clear();
  }

  #put(key: string, value: T, now: number): void {
    const address = this.#options.addressOf(value);
    const shown = this.#keys.get(key);
    if (shown === undefined) {
      this.#keys.set(key, { value, address, former: new Map() });
      return;
    }
    if (shown.address !== address) {
      shown.former.set(shown.address, { value: shown.value, until: now + this.#durationMs });
      shown.former.delete(address); // it has come back and is the present one again
    }
    shown.value = value;
    shown.address = address;
  }

  #expire(now: number): boolean {
    let changed = false;
    for (const { former } of this.#keys.values()) {
      for (const [address, old] of former) {
        if (old.until > now) continue;
        former.delete(address);
        changed = true;
      }
    }
    return changed;
  }

  #arm(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const { former } of this.#keys.values()) for (const old of former.values()) next = Math.min(next, old.until);
    if (next === this.#timerAt) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = next;
    if (next === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#options.clock.after(Math.max(0, next - this.#options.clock.now()), () => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#timer = undefined;
      const changed = this.#expire(this.#options.clock.now());
      this.#arm();
      if (changed) this.#options.onChange();
    });
  }
}
