/**
 * What the HTTP door's clients watch: one watch of the directory for each service or pattern, whoever asks for it and however often. A
 * revision grows with every change of what is shown and is never given twice, so that a client that comes back can say what it has.
 */
import type { Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { CatalogueEntry, InstanceSet, Watch } from "@dualmesh/model/directory";
import { parseServiceText } from "@dualmesh/model/service";
import type { DoorContext, StandIn } from "../door.ts";
import { type ShownInstance, shownInstance, shownStandIn } from "./layout.ts";
import { busy } from "./problem.ts";

export interface ShownService {
  readonly service: string;
  readonly protocol: string;
  readonly name: string;
  readonly version: string;
  readonly group: string;
  readonly applications: readonly string[];
}

export interface Shown<T> {
  readonly revision: string;
  /** By key, in the order of keys. */
  readonly items: ReadonlyMap<string, T>;
}

export interface Feed<T> {
  /** A service, or a pattern of services. */
  readonly name: string;
  /** Undefined while nothing is known. */
  readonly shown: Shown<T> | undefined;
  /** Wall time up to which it was last proven to be right; 0 when the source has not answered yet, or does not say. */
  readonly freshSince: number;
  /** Called after each change; the feed stays open while somebody listens. */
  listen(listener: () => void): Watch;
  /** Resolves when something is known, or after `patienceMs`. */
  known(patienceMs: number): Promise<Shown<T> | undefined>;
}

export interface FeedsOptions {
  readonly context: DoorContext;
  readonly maxFeeds: number;
  /** How long a feed stays open after its last use. */
  readonly lingerMs: number;
  /** At a sidecar: the protocols that name no service in a request, so that each of their services has an address of its own. */
  readonly addressNamed: (protocol: string) => boolean;
}

class OpenFeed<T> implements Feed<T> {
  readonly name: string;
  readonly #onIdle: () => void;
  readonly #context: DoorContext;
  readonly #nextRevision: () => string;
  readonly listeners = new Set<() => void>();
  shown: Shown<T> | undefined;
  #text = "";
  proof: () => number = () => 0;
  watch: Watch | undefined;
  linger: Timer | undefined;

  constructor(name: string, context: DoorContext, nextRevision: () => string, onIdle: () => void) {
    this.name = name;
    this.#context = context;
    this.#nextRevision = nextRevision;
    this.#onIdle = onIdle;
  }

  get freshSince(): number {
    return this.proof();
  }

  show(items: ReadonlyMap<string, T>): void {
    const ordered = new Map([...items].sort(([one], [other]) => (one < other ? -1 : 1)));
    const text = JSON.stringify([...ordered.values()]);
    if (this.shown !== undefined && text === this.#text) return;
    this.#text = text;
    this.shown = { revision: this.#nextRevision(), items: ordered };
    for (const listener of [...this.listeners]) listener();
  }

  listen(listener: () => void): Watch {
    this.listeners.add(listener);
    this.linger?.cancel();
    return {
      close: () => {
        if (this.listeners.delete(listener) && this.listeners.size === 0) this.#onIdle();
      },
    };
  }

  known(patienceMs: number): Promise<Shown<T> | undefined> {
    return new Promise((resolve) => {
      const settle = (): void => {
        timer?.cancel();
        watch.close();
        resolve(this.shown);
      };
      const watch = this.listen(settle);
      const timer = this.shown === undefined ? this.#context.clock.after(patienceMs, settle) : undefined;
      if (timer === undefined) settle();
    });
  }
}

export class Feeds {
  readonly #options: FeedsOptions;
  readonly #services = new Map<string, OpenFeed<ShownInstance>>();
  readonly #catalogues = new Map<string, OpenFeed<ShownService>>();
  #revision = 0;

  constructor(options: FeedsOptions) {
    this.#options = options;
  }

  /** Throws a `Problem` at the limit, or what the directory says. */
  service(service: string): Feed<ShownInstance> {
    return this.#open(this.#services, service, (feed) => this.#watchService(feed));
  }

  catalogue(pattern: string): Feed<ShownService> {
    return this.#open(this.#catalogues, pattern, (feed) => {
      feed.watch = this.#options.context.directory.watchCatalogue(pattern, (entries) => {
        feed.show(new Map(entries.map((entry) => [entry.service, shownService(entry)])));
      });
    });
  }

  close(): void {
    for (const feeds of [this.#services, this.#catalogues]) {
      for (const feed of feeds.values()) {
        feed.watch?.close();
        feed.linger?.cancel();
      }
      feeds.clear();
    }
  }

  #open<T>(feeds: Map<string, OpenFeed<T>>, name: string, begin: (feed: OpenFeed<T>) => void): OpenFeed<T> {
    const known = feeds.get(name);
    if (known !== undefined) return known;
    if (this.#services.size + this.#catalogues.size >= this.#options.maxFeeds) this.#makeRoom();
    const { context, lingerMs } = this.#options;
    const nextRevision = (): string => {
      this.#revision += 1;
      return `${context.epoch}-${this.#revision}`;
    };
    const linger = (): void => {
      feed.linger?.cancel();
      feed.linger = context.clock.after(lingerMs, () => end(feeds, feed));
    };
    const feed = new OpenFeed<T>(name, context, nextRevision, linger);
    begin(feed); // first, since it may be refused
    feeds.set(name, feed);
    linger();
    return feed;
  }

  #makeRoom(): void {
    for (const feeds of [this.#services, this.#catalogues] as readonly Map<string, OpenFeed<unknown>>[]) {
      for (const feed of feeds.values()) if (feed.listeners.size === 0) return end(feeds, feed);
    }
    throw busy(
      "too-many-services",
      `clients of this door watch ${this.#options.maxFeeds} services, which is as many as it takes`,
    );
  }

  #watchService(feed: OpenFeed<ShownInstance>): void {
    const { context, addressNamed } = this.#options;
    const protocol = feed.name.slice(0, feed.name.indexOf("/"));
    const { standIn } = context;
    let stands: StandIn | undefined;
    const needsStandIn = standIn !== undefined && addressNamed(protocol);
    let decided = !needsStandIn;
    let set: InstanceSet | undefined;
    const show = (): void => {
      if (!decided) return;
      if (stands !== undefined) {
        const { address, port } = stands;
        feed.show(new Map([["", shownStandIn(feed.name, address, port)]]));
      } else if (needsStandIn) {
        // Without an address of its own nothing that the sidecar carries can be called; what it does not carry can.
        const direct = set?.instances.filter(({ mode }) => mode === "sdk") ?? [];
        if (set !== undefined && direct.length > 0) feed.show(instancesOf({ ...set, instances: direct }));
      } else if (set !== undefined && (set.freshSince > 0 || set.instances.length > 0)) feed.show(instancesOf(set));
    };
    feed.proof = () => set?.freshSince ?? 0;
    // Where there is a stand-in the watch is kept all the same: it keeps the endpoints behind it at hand.
    feed.watch = context.directory.watch(feed.name, (newest) => {
      set = newest;
      show();
    });
    if (decided) return;
    const decide = (found: StandIn | undefined): void => {
      stands = found;
      decided = true;
      show();
    };
    standIn?.(feed.name).then(decide, (error: unknown) => {
      context.log.warn({ service: feed.name, error: messageOf(error) }, "a service was given no address of its own");
      decide(undefined);
    });
  }
}

function end<T>(feeds: Map<string, OpenFeed<T>>, feed: OpenFeed<T>): void {
  if (feeds.get(feed.name) === feed) feeds.delete(feed.name);
  feed.watch?.close();
  feed.linger?.cancel();
}

function instancesOf({ instances }: InstanceSet): ReadonlyMap<string, ShownInstance> {
  return new Map(
    instances.map((instance) => [
      `${instance.host}|${instance.application}|${instance.appPort}`,
      shownInstance(instance),
    ]),
  );
}

function shownService({ service, applications }: CatalogueEntry): ShownService {
  const { protocol = "", name = service, version = "", group = "" } = parseServiceText(service) ?? {};
  return { service, protocol, name, version, group, applications };
}
