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

/** What doors watch: an interface in whatever protocol, version and group. There are many of them, so that they are found by name. */
const ofOneName = /^\*\/([^/:*]+):\*:\*$/;

export class Catalogue {
  /** Service to application to the number of its instances. */
  readonly #services = new Map<string, Map<string, number>>();
  /** The services of each name. */
  readonly #byName = new Map<string, Set<string>>();
  readonly #patterns = new Map<string, PatternFeed>();
  /** Those of `#patterns` that are not of one name. */
  readonly #broad = new Map<string, PatternFeed>();

  get serviceCount(): number {
    return this.#services.size;
  }

  /** The services that a pattern matches. */
  *rows(pattern: string): IterableIterator<CatalogueRow> {
    for (const service of this.#matching(pattern)) {
      const counts = this.#services.get(service) ?? new Map<string, number>();
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
      const name = nameOf(service);
      const named = this.#byName.get(name);
      if (named === undefined) this.#byName.set(name, new Set([service]));
      else named.add(service);
    }
    const count = (counts.get(application) ?? 0) + step;
    const appeared = step === 1 && count === 1;
    if (count > 0) counts.set(application, count);
    else counts.delete(application);
    if (counts.size === 0) this.#remove(service);
    return appeared || count <= 0 ? this.#touch(service, nextRevision) : [];
  }

  /** The feed of a pattern, built when the first watcher asks for it. */
  open(pattern: string, revision: Revision): Feed {
    const known = this.#patterns.get(pattern);
    if (known !== undefined) return known.feed;
    const entry = { feed: new Feed("catalogue", pattern, revision), matches: servicePattern(pattern) };
    for (const service of this.#matching(pattern)) this.#set(entry.feed, service, revision);
    entry.feed.seal();
    this.#patterns.set(pattern, entry);
    if (!ofOneName.test(pattern)) this.#broad.set(pattern, entry);
    return entry.feed;
  }

  get(pattern: string): Feed | undefined {
    return this.#patterns.get(pattern)?.feed;
  }

  drop(pattern: string): void {
    this.#patterns.delete(pattern);
    this.#broad.delete(pattern);
  }

  *feeds(): IterableIterator<Feed> {
    for (const { feed } of this.#patterns.values()) yield feed;
  }

  #touch(service: string, nextRevision: () => Revision): readonly Feed[] {
    const touched: Feed[] = [];
    const named = this.#patterns.get(`*/${nameOf(service)}:*:*`);
    for (const { feed, matches } of named === undefined ? this.#broad.values() : [named, ...this.#broad.values()]) {
      if (!matches(service)) continue;
      const revision = nextRevision();
      if (this.#services.has(service)) this.#set(feed, service, revision);
      else feed.delete(encodeCatalogueKey(service).toString("latin1"), revision, "withdrawn");
      touched.push(feed);
    }
    return touched;
  }

  #matching(pattern: string): Iterable<string> {
    const name = ofOneName.exec(pattern)?.[1];
    if (name !== undefined) return this.#byName.get(name) ?? [];
    const matches = servicePattern(pattern);
    return [...this.#services.keys()].filter(matches);
  }

  #remove(service: string): void {
    this.#services.delete(service);
    const name = nameOf(service);
    const named = this.#byName.get(name);
    named?.delete(service);
    if (named?.size === 0) this.#byName.delete(name);
  }

  #set(feed: Feed, service: string, revision: Revision): void {
    const applications = [...(this.#services.get(service)?.keys() ?? [])].sort();
    const key = encodeCatalogueKey(service).toString("latin1");
    const record = encodeCatalogueEntry({ service, applications });
    if (!feed.holds(key, record)) feed.set(key, record, revision);
  }
}

/** The encoded name of a canonical text. */
function nameOf(service: string): string {
  return service.slice(service.indexOf("/") + 1, service.indexOf(":"));
}

/** A pattern that can be watched: a canonical text in which `*` may stand anywhere. White space is in no canonical text. */
export function isPattern(text: string): boolean {
  return text !== "" && !/\s/.test(text);
}
