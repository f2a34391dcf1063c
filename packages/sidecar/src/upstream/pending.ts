/**
 * The requests in flight on one upstream connection, by the id that they have there. Ids grow one by one and wrap; a slot that is still
 * taken after a wrap is passed over. Looking up a reply is an index and a comparison, so that late, doubled and invented replies find nothing.
 */
export interface InFlight {
  /** The id on the upstream connection. */
  upstreamId: number;
}

const firstSlots = 64;

export class PendingTable<Item extends InFlight> {
  #slots: (Item | null)[] = new Array<Item | null>(firstSlots).fill(null);
  #mask = firstSlots - 1;
  #next: number;
  #size = 0;
  readonly #limit: number;

  /** At most `limit` items; ids start at `firstId`. */
  constructor(limit: number, firstId = 1) {
    this.#limit = limit;
    this.#next = firstId >>> 0;
  }

  get size(): number {
    return this.#size;
  }

  get full(): boolean {
    return this.#size >= this.#limit;
  }

  /** Gives `item` an id and keeps it. The table must not be full. Ids are unsigned 32-bit and never 0. */
  add(item: Item): number {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    for (;;) {
      const id = this.#next;
      this.#next = (id + 1) >>> 0;
      if (id === 0 || this.#slots[id & this.#mask] !== null) continue;
      this.#slots[id & this.#mask] = item;
      this.#size++;
      item.upstreamId = id;
      return id;
    }
  }

  /** An id that belongs to nobody: for a oneway or a heartbeat. */
  skip(): number {
    let id = this.#next;
    while (id === 0 || this.#slots[id & this.#mask] !== null) id = (id + 1) >>> 0;
    this.#next = (id + 1) >>> 0;
    return id;
  }

  /** Takes out and returns the item with this id. */
  take(id: number): Item | undefined {
    const item = this.#slots[id & this.#mask];
    if (item === null || item === undefined || item.upstreamId !== id) return undefined;
    this.#slots[id & this.#mask] = null;
    this.#size--;
    return item;
  }

  /** Takes out everything. */
  drain(): Item[] {
    const items = this.#slots.filter((item) => item !== null);
    this.#slots.fill(null);
    this.#size = 0;
    return items;
  }

  /** Doubles: ids that differ modulo the old length differ modulo the new one, so that nobody loses a slot. */
  #grow(): void {
    const length = this.#slots.length * 2;
    const slots = new Array<Item | null>(length).fill(null);
    for (const item of this.#slots) if (item !== null) slots[item.upstreamId & (length - 1)] = item;
    this.#slots = slots;
    this.#mask = length - 1;
  }
}
