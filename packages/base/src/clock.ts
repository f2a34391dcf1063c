/**
 * Time as an argument, so that a simulation can run everything. `systemClock` is the only reader of real time in the product;
 * `FakeClock` stands still until a test advances it.
 */
export interface Timer {
  /** Stops the timer; a second call does nothing. */
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds since an arbitrary start, with a fraction. */
  now(): number;
  /** Milliseconds since the epoch (wall time): to show and to compare with what other machines said, never to measure. */
  wall(): number;
  /** Runs `task` once after `delayMs`. The timer keeps the process alive only if `keepAlive` is true. */
  after(delayMs: number, task: () => void, keepAlive?: boolean): Timer;
  /** Runs `task` every `periodMs` until cancelled. */
  every(periodMs: number, task: () => void, keepAlive?: boolean): Timer;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(delayMs, task, keepAlive = false) {
    const handle = setTimeout(task, delayMs);
    if (!keepAlive) handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
  every(periodMs, task, keepAlive = false) {
    const handle = setInterval(task, periodMs);
    if (!keepAlive) handle.unref();
    return { cancel: () => clearInterval(handle) };
  },
};

/** Waits `delayMs`; rejects with the signal's reason when it is aborted first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.after(
      delayMs,
      () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      true,
    );
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

interface FakeTimer {
  at: number;
  order: number;
  period: number;
  task: () => void;
}

/** A clock for simulation: `advance` runs due timers in order of time, then of creation. */
export class FakeClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #wallStart: number;
  readonly #timers = new Set<FakeTimer>();

  constructor(wallStart = 1_700_000_000_000) {
    this.#wallStart = wallStart;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#wallStart + this.#now;
  }

  after(delayMs: number, task: () => void): Timer {
    return this.#add(delayMs, 0, task);
  }

  every(periodMs: number, task: () => void): Timer {
    return this.#add(periodMs, periodMs, task);
  }

  #add(delayMs: number, period: number, task: () => void): Timer {
    const timer: FakeTimer = { at: this.#now + delayMs, order: this.#order++, period, task };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Moves time on by `ms`, running what falls due on the way, and lets promises settle between timers. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      let next: FakeTimer | undefined;
      for (const timer of this.#timers) {
        if (timer.at > end) continue;
        if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order))
          next = timer;
      }
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      if (next.period > 0) next.at += next.period;
      else this.#timers.delete(next);
      next.task();
    }
    this.#now = end;
    await settle();
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
