/** The applications whose providers stand in the lists of interfaces, as far as this door has seen them. */

/** At one more, the one that was seen first is forgotten until it is seen again. */
const maxApplications = 50_000;

export class Applications {
  readonly #names = new Set<string>();

  has(name: string): boolean {
    return this.#names.has(name);
  }

  add(name: string): void {
    if (this.#names.has(name)) return;
    const [oldest] = this.#names;
    if (this.#names.size >= maxApplications && oldest !== undefined) this.#names.delete(oldest);
    this.#names.add(name);
  }
}
