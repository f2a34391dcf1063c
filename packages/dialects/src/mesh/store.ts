/** What a mesh door keeps on disk: what was published and not taken back, and what was subscribed to. */
import type { Log } from "@dualmesh/base/log";
import type { Journal } from "@dualmesh/base/state/journal";
import { parseServiceText } from "@dualmesh/model/service";

export interface StoredPublication {
  readonly service: string;
  readonly application: string;
  readonly incarnation: number;
  /** The body of the request. */
  readonly text: string;
}

const publicationPrefix = "publish/";
const subscriptionPrefix = "subscribe/";

export class MeshStore {
  readonly #journal: Journal;
  readonly #log: Log;

  constructor(journal: Journal, log: Log) {
    this.#journal = journal;
    this.#log = log;
  }

  publications(): readonly StoredPublication[] {
    const found: StoredPublication[] = [];
    for (const [key, value] of [...this.#journal.entries()]) {
      if (!key.startsWith(publicationPrefix)) continue;
      const stored = readPublication(value);
      if (stored !== undefined && keyOf(stored) === key) found.push(stored);
      else this.#drop(key);
    }
    return found;
  }

  subscriptions(): readonly string[] {
    const found: string[] = [];
    for (const [key] of [...this.#journal.entries()]) {
      if (!key.startsWith(subscriptionPrefix)) continue;
      const service = key.slice(subscriptionPrefix.length);
      if (parseServiceText(service) === undefined) this.#drop(key);
      else found.push(service);
    }
    return found;
  }

  put(stored: StoredPublication): void {
    this.#journal.put(keyOf(stored), JSON.stringify(stored));
  }

  /** True while exactly this publication is what is kept. */
  has(stored: StoredPublication): boolean {
    const kept = this.#journal.get(keyOf(stored));
    return kept !== undefined && readPublication(kept)?.incarnation === stored.incarnation;
  }

  /** Does nothing when a later one has taken its place. */
  delete(stored: StoredPublication): void {
    if (this.has(stored)) this.#journal.delete(keyOf(stored));
  }

  putSubscription(service: string): void {
    this.#journal.put(subscriptionPrefix + service, "");
  }

  deleteSubscription(service: string): void {
    this.#journal.delete(subscriptionPrefix + service);
  }

  flushed(): Promise<void> {
    return this.#journal.flushed();
  }

  #drop(key: string): void {
    this.#log.warn({ key }, "an entry of the mesh door's journal could not be read and is left out");
    this.#journal.delete(key);
  }
}

function keyOf({ service, application }: StoredPublication): string {
  return `${publicationPrefix}${service}|${application}`;
}

function readPublication(value: Buffer): StoredPublication | undefined {
  try {
    const { service, application, incarnation, text } = JSON.parse(value.toString("utf8")) as Record<string, unknown>;
    if (typeof service !== "string" || parseServiceText(service) === undefined) return undefined;
    if (typeof application !== "string" || typeof text !== "string" || typeof incarnation !== "number")
      return undefined;
    return { service, application, incarnation, text };
  } catch {
    return undefined; // the caller says so and goes on without it
  }
}
