/**
 * Which services exist and which applications provide them, kept as the instances change, with one feed for each pattern that
 * somebody watches. A catalogue names and never lists instances, so that a client that wants everything costs little.
 */
import { servicePattern } from "@dualmesh/model/service";
import type { Revision } from "@dualmesh/wire/stream/payload";
import { encodeCatalogueEntry, encodeCatalogueKey } from "@dualmesh/wire/stream/record";
import { Feed } from "./feed.ts";
import type { CatalogueRow } from "./store.ts";

interface PatternFeed {
  readonly feed: Feed;
  readonly matches: (service: string) => boolean;
}

export class Catalogue {
  /** Service to application to the number of its instances. */
  readonly #services = new Map<string, Map<string, number>>();
  readonly #patterns = new Map<string, PatternFeed>();

  get serviceCount(): number {
    return this.#services.size;
  }

  *rows(): IterableIterator<CatalogueRow> {
    for (const [service, counts] of this.#services) {
      let instances = 0;
      for (const count of counts.values()) instances += count;
      yield { service, applications: [...counts.keys()].sort(), instances };
    }
  }

  /** An instance of `application` came (`step` 1) or went (-1). `nextRevision` is asked only when a watched entry changes. */
  count(service: string, application: string, step: 1 | -1, nextRevision: () => Revision): readonly Feed[] {
    let counts = this.#services.get(service);
    if (counts === undefined) {
      counts = new Map();
      this.#services.set(service, counts);
    }
    const count = (counts.get(application) ?? 0) + step;
    const appeared = step === 1 && count === 1;
    if (count > 0) counts.set(application, count);
    else counts.delete(application);
    if (counts.size === 0) this.#services.delete(service);
    return appeared || count <= 0 ? this.#touch(service, nextRevision) : [];
  }

  /** The feed of a pattern, built when the first watcher asks for it. */
  open(pattern: string, revision: Revision): Feed {
    const known = this.#patterns.get(pattern);
    if (known !== undefined) return known.feed;
    const entry = { feed: new Feed("catalogue", pattern, revision), matches: servicePattern(pattern) };
    for (const service of this.#services.keys()) {
      if (entry.matches(service)) this.#set(entry.feed, service, revision);
    }
    entry.feed.seal();
    this.#patterns.set(pattern, entry);
    return entry.feed;
  }

  get(pattern: string): Feed | undefined {
    return this.#patterns.get(pattern)?.feed;
  }

  drop(pattern: string): void {
    this.#patterns.delete(pattern);
  }

  *feeds(): IterableIterator<Feed> {
    for (const { feed } of this.#patterns.values()) yield feed;
  }

  #touch(service: string, nextRevision: () => Revision): readonly Feed[] {
    const touched: Feed[] = [];
    for (const { feed, matches } of this.#patterns.values()) {
      if (!matches(service)) continue;
      const revision = nextRevision();
      if (this.#services.has(service)) this.#set(feed, service, revision);
      else feed.delete(encodeCatalogueKey(service).toString("latin1"), revision, "withdrawn");
      touched.push(feed);
    }
    return touched;
  }

  #set(feed: Feed, service: string, revision: Revision): void {
    const applications = [...(this.#services.get(service)?.keys() ?? [])].sort();
    const key = encodeCatalogueKey(service).toString("latin1");
    const record = encodeCatalogueEntry({ service, applications });
    if (!feed.holds(key, record)) feed.set(key, record, revision);
  }
}

/** A pattern that can be watched: a canonical text in which `*` may stand anywhere. White space is in no canonical text. */
export function isPattern(text: string): boolean {
  return text !== "" && !/\s/.test(text);
}
