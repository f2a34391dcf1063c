/**
 * One timer for all deadlines. An entry is linked into a slot in constant time and taken out in constant time, so that a request
 * that ends before its deadline (nearly all do) costs two pointer moves and no timer of its own.
 */
import type { Clock, Timer } from "./clock.ts";

/** What can wait in a wheel. The fields belong to the wheel; `due` is 0 when the entry is in no wheel. */
export interface WheelEntry {
  wheelPrevious: WheelEntry | null;
  wheelNext: WheelEntry | null;
  wheelDue: number;
}

const slotCount = 1_024;

/** Fires entries up to one tick late and never early. */
export class TimerWheel<Entry extends WheelEntry> {
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #expire: (entry: Entry) => void;
  readonly #slots: WheelEntry[];
  readonly #timer: Timer;
  #tick: number;
  #size = 0;

  constructor(clock: Clock, tickMs: number, expire: (entry: Entry) => void) {
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#expire = expire;
    this.#slots = Array.from({ length: slotCount }, newSlot);
    this.#tick = Math.floor(clock.now() / tickMs);
    this.#timer = clock.every(tickMs, () => this.#turn());
  }

  get size(): number {
    return this.#size;
  }

  /** Puts `entry` in, to be expired once `atMs` of the clock has passed. It must not be in a wheel already. */
  add(entry: Entry, atMs: number): void {
    const due = Math.max(Math.ceil(atMs / this.#tickMs), this.#tick + 1);
    const slot = this.#slots[due % slotCount] as WheelEntry;
    const last = slot.wheelPrevious as WheelEntry;
    entry.wheelDue = due;
    entry.wheelPrevious = last;
    entry.wheelNext = slot;
    last.wheelNext = entry;
    slot.wheelPrevious = entry;
    this.#size++;
  }

  /** Takes `entry` out; does nothing when it is in no wheel. */
  remove(entry: Entry): void {
    if (entry.wheelDue === 0) return;
    (entry.wheelPrevious as WheelEntry).wheelNext = entry.wheelNext;
    (entry.wheelNext as WheelEntry).wheelPrevious = entry.wheelPrevious;
    entry.wheelPrevious = null;
    entry.wheelNext = null;
    entry.wheelDue = 0;
    this.#size--;
  }

  /** All that wait, in no order. Nothing may be added or removed meanwhile. */
  *entries(): IterableIterator<Entry> {
    for (const slot of this.#slots)
      for (let entry = slot.wheelNext as WheelEntry; entry !== slot; entry = entry.wheelNext as WheelEntry)
        yield entry as Entry;
  }

  /** Stops the wheel; what is still in it never expires. */
  close(): void {
    this.#timer.cancel();
  }

  #turn(): void {
    const now = Math.floor(this.#clock.now() / this.#tickMs);
    // After a long pause every slot is looked at once, however many ticks have passed.
    const first = Math.max(this.#tick + 1, now - slotCount + 1);
    this.#tick = now;
    for (let tick = first; tick <= now; tick++) this.#sweep(this.#slots[tick % slotCount] as WheelEntry, now);
  }

  #sweep(slot: WheelEntry, now: number): void {
    let entry = slot.wheelNext as WheelEntry;
    while (entry !== slot) {
      const next = entry.wheelNext as WheelEntry;
      if (entry.wheelDue <= now) {
        this.remove(entry as Entry);
        this.#expire(entry as Entry);
        // Expiring one entry may end others; a neighbour that was taken out can no longer lead on.
        entry = next.wheelDue === 0 && next !== slot ? (slot.wheelNext as WheelEntry) : next;
      } else entry = next;
    }
  }
}

function newSlot(): WheelEntry {
  const slot: WheelEntry = { wheelPrevious: null, wheelNext: null, wheelDue: 0 };
  slot.wheelPrevious = slot;
  slot.wheelNext = slot;
  return slot;
}
