/** The store in plain maps: simple and right. Its inside will be replaced for scale; `Store` will not. */
import type { RemovalReason } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import { decodeInstanceKey, instanceKeyOf } from "@dualmesh/wire/stream/record";
import { Catalogue } from "./catalogue.ts";
import { Feed } from "./feed.ts";
import type { CatalogueRow, FeedName, FeedPosition, FeedUpdate, InstanceRow, Store } from "./store.ts";

interface Service {
  readonly feed: Feed;
  readonly rows: Map<string, InstanceRow>;
}

export class MemoryStore implements Store {
  readonly #epoch: number;
  #counter = 0;
  #instances = 0;
  readonly #services = new Map<string, Service>();
  readonly #catalogue = new Catalogue();
  readonly #pending = new Set<Feed>();
  #onPending: () => void = () => {};

  constructor(epoch: number) {
    this.#epoch = epoch;
  }

  get revision(): Revision {
    return { epoch: this.#epoch, counter: this.#counter };
  }

  get instanceCount(): number {
    return this.#instances;
  }

  get serviceCount(): number {
    return this.#catalogue.serviceCount;
  }

  get(service: string, key: string): InstanceRow | undefined {
    return this.#services.get(service)?.rows.get(key);
  }

  put(row: InstanceRow): Revision {
    const service = this.#open(row.service);
    const before = service.rows.get(row.key);
    service.rows.set(row.key, row);
    if (before?.record.equals(row.record)) return service.feed.revision;
    if (before === undefined) this.#count(row, 1);
    const revision = this.#next();
    service.feed.set(row.key, row.record, revision);
    this.#mark(service.feed);
    return revision;
  }

  remove(service: string, key: string, reason: RemovalReason): Revision {
    const known = this.#services.get(service);
    const row = known?.rows.get(key);
    if (known === undefined || row === undefined) return this.revision;
    known.rows.delete(key);
    this.#count(row, -1);
    const revision = this.#next();
    known.feed.delete(key, revision, reason);
    this.#mark(known.feed);
    this.#closeIfUnused(service, known);
    return revision;
  }

  rowsOf(service: string): Iterable<InstanceRow> {
    return this.#services.get(service)?.rows.values() ?? [];
  }

  services(pattern = "*"): Iterable<CatalogueRow> {
    return this.#catalogue.rows(pattern);
  }

  hold(feed: FeedName): void {
    this.#feed(feed).holders++;
  }

  release(name: FeedName): void {
    const feed = this.#feed(name);
    feed.holders--;
    if (feed.holders > 0) return;
    this.#pending.delete(feed);
    feed.seal();
    feed.dropSnapshot();
    if (name.kind === "catalogue") this.#catalogue.drop(name.name);
    else this.#closeIfUnused(name.name, this.#open(name.name));
  }

  update(feed: FeedName, from: FeedPosition | undefined): FeedUpdate {
    return this.#feed(feed).update(from);
  }

  seal(): readonly FeedName[] {
    const changed: FeedName[] = [];
    for (const feed of this.#pending) {
      feed.seal();
      if (feed.holders > 0) changed.push(feed);
    }
    this.#pending.clear();
    return changed;
  }

  /** Only the first of several pending changes is told: whoever begins to listen must hear of one that came before. */
  onPending(listener: () => void): void {
    this.#onPending = listener;
    if (this.#pending.size > 0) listener();
  }

  dropSnapshots(): void {
    for (const { feed } of this.#services.values()) feed.dropSnapshot();
    for (const feed of this.#catalogue.feeds()) feed.dropSnapshot();
  }

  #feed({ kind, name }: FeedName): Feed {
    if (kind === "service") return this.#open(name).feed;
    return this.#catalogue.open(name, this.revision);
  }

  #open(name: string): Service {
    let service = this.#services.get(name);
    if (service === undefined) {
      service = { feed: new Feed("service", name, this.revision), rows: new Map() };
      this.#services.set(name, service);
    }
    return service;
  }

  #closeIfUnused(name: string, service: Service): void {
    if (service.rows.size > 0 || service.feed.holders > 0) return;
    this.#services.delete(name);
    this.#pending.delete(service.feed);
  }

  #count(row: InstanceRow, step: 1 | -1): void {
    this.#instances += step;
    const { application } = decodeInstanceKey(instanceKeyOf(row.record));
    for (const feed of this.#catalogue.count(row.service, application, step, () => this.#next())) this.#mark(feed);
  }

  #next(): Revision {
    this.#counter++;
    return this.revision;
  }

  #mark(feed: Feed): void {
    const first = this.#pending.size === 0;
    this.#pending.add(feed);
    if (first) this.#onPending();
  }
}
