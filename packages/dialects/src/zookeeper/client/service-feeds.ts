/**
 * The services that are watched: each is gathered from the lists of its interface, told whole whenever it changes, and remembered on disk
 * together with what was last known of it.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { InstanceSet } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import { parseServiceText } from "@dualmesh/model/service";
import type { Layout } from "../layout.ts";
import type { InterfaceList } from "./interface-list.ts";
import type { InterfaceLists } from "./interface-lists.ts";
import type { ZooKeeperKeep } from "./keep.ts";
import { layoutsOf } from "./published-name.ts";

const maxFeeds = 10_000;
/** A service that nobody watches any more is kept for this, since owners come and go at restarts and upgrades. */
const forgetMs = 600_000;
/** How often the time up to which sets were proven is written to disk. */
const saveFreshMs = 60_000;

export type SetListener = (set: InstanceSet) => void;

export interface ServiceFeedsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly layouts: readonly Layout[];
  readonly lists: InterfaceLists;
  readonly keep: ZooKeeperKeep;
}

interface ServiceFeed {
  readonly service: string;
  readonly lists: readonly InterfaceList[];
  readonly listeners: Set<SetListener>;
  /** Was on disk when the client started. */
  readonly remembered: boolean;
  /** From disk, until the lists say better. */
  readonly freshBefore: number;
  instances: readonly Instance[];
  notifying: boolean;
  forget: Timer | undefined;
}

export interface FeedState {
  readonly service: string;
  readonly size: number;
  readonly freshSince: number;
  readonly answered: boolean;
  readonly held: boolean;
}

export class ServiceFeeds {
  readonly #options: ServiceFeedsOptions;
  readonly #feeds = new Map<string, ServiceFeed>();
  readonly #byPath = new Map<string, Set<ServiceFeed>>();
  readonly #saving: Timer;

  constructor(options: ServiceFeedsOptions) {
    this.#options = options;
    this.#saving = options.clock.every(saveFreshMs, () => this.#saveFreshness());
  }

  get size(): number {
    return this.#feeds.size;
  }

  /** Takes up what was on disk: watchers are told of it at once, and it is asked for again. */
  restore(): void {
    const { keep, log } = this.#options;
    for (const [service, freshSince] of keep.feeds()) {
      try {
        const feed = this.#open(service, true, freshSince);
        this.#forgetLater(feed);
      } catch (error) {
        log.warn({ service, error: messageOf(error) }, "a service on disk cannot be watched any more");
        keep.deleteFeed(service);
      }
    }
  }

  get anyRemembered(): boolean {
    return this.#remembered().some(() => true);
  }

  /** Every service that was on disk has been answered on this connection. */
  get rememberedAnswered(): boolean {
    return this.#remembered().every((feed) => isAnswered(feed));
  }

  watch(service: string, listener: SetListener): () => void {
    const feed = this.#feeds.get(service) ?? this.#open(service, false, 0);
    feed.forget?.cancel();
    feed.forget = undefined;
    feed.listeners.add(listener);
    if (isDeliverable(feed)) {
      queueMicrotask(() => {
        if (feed.listeners.has(listener)) this.#tell(feed, listener);
      });
    }
    return () => {
      if (feed.listeners.delete(listener) && feed.listeners.size === 0) this.#forgetLater(feed);
    };
  }

  /** A list has been read, or has changed. */
  changed(list: InterfaceList): void {
    for (const feed of this.#byPath.get(list.path) ?? []) {
      feed.instances = gathered(feed);
      if (isDeliverable(feed)) this.#notify(feed);
    }
  }

  states(): readonly FeedState[] {
    return [...this.#feeds.values()].map((feed) => ({
      service: feed.service,
      size: feed.instances.length,
      freshSince: freshSinceOf(feed),
      answered: isAnswered(feed),
      held: feed.lists.some((list) => list.isHeld(feed.service)),
    }));
  }

  close(): void {
    this.#saving.cancel();
    this.#saveFreshness();
    for (const feed of this.#feeds.values()) feed.forget?.cancel();
    this.#feeds.clear();
    this.#byPath.clear();
  }

  #remembered(): ServiceFeed[] {
    return [...this.#feeds.values()].filter(({ remembered }) => remembered);
  }

  #open(service: string, remembered: boolean, freshBefore: number): ServiceFeed {
    const { layouts, lists, keep } = this.#options;
    const possible = layoutsOf(service, layouts);
    const name = parseServiceText(service)?.name ?? "";
    if (name.includes("/")) throw new MeshError("registry.refused", `${service} cannot be in ZooKeeper`, { service });
    if (this.#feeds.size >= maxFeeds && !this.#dropIdle())
      throw new MeshError("registry.limit", `a sidecar watches at most ${maxFeeds} services`, { limit: maxFeeds });
    const feed: ServiceFeed = {
      service,
      lists: possible.map((layout) => lists.open(layout, name, true)),
      listeners: new Set(),
      remembered,
      freshBefore,
      instances: [],
      notifying: false,
      forget: undefined,
    };
    feed.instances = gathered(feed);
    this.#feeds.set(service, feed);
    for (const { path } of feed.lists) this.#byPath.set(path, (this.#byPath.get(path) ?? new Set()).add(feed));
    keep.putFeed(service, freshBefore);
    return feed;
  }

  #forgetLater(feed: ServiceFeed): void {
    feed.forget?.cancel();
    feed.forget = this.#options.clock.after(forgetMs, () => this.#drop(feed));
  }

  #dropIdle(): boolean {
    for (const feed of this.#feeds.values()) {
      if (feed.listeners.size > 0) continue;
      this.#drop(feed);
      return true;
    }
    return false;
  }

  #drop(feed: ServiceFeed): void {
    feed.forget?.cancel();
    this.#feeds.delete(feed.service);
    this.#options.keep.deleteFeed(feed.service);
    for (const list of feed.lists) {
      const feeds = this.#byPath.get(list.path);
      feeds?.delete(feed);
      if (feeds?.size === 0) this.#byPath.delete(list.path);
      this.#options.lists.release(list);
    }
  }

  #saveFreshness(): void {
    for (const feed of this.#feeds.values()) {
      const freshSince = freshSinceOf(feed);
      if (freshSince > 0) this.#options.keep.putFeed(feed.service, freshSince);
    }
  }

  /** Tells the listeners once for all that one turn brought. */
  #notify(feed: ServiceFeed): void {
    if (feed.notifying) return;
    feed.notifying = true;
    queueMicrotask(() => {
      feed.notifying = false;
      for (const listener of [...feed.listeners]) this.#tell(feed, listener);
    });
  }

  #tell(feed: ServiceFeed, listener: SetListener): void {
    const { service, instances } = feed;
    try {
      listener({
        service,
        instances,
        get freshSince() {
          return freshSinceOf(feed);
        },
      });
    } catch (error) {
      this.#options.log.error({ service, error: messageOf(error) }, "a listener of a service failed");
    }
  }
}

function isAnswered({ lists }: ServiceFeed): boolean {
  return lists.every(({ children }) => children.answered);
}

/** What two layouts might have is told as soon as one of them has something. */
function isDeliverable({ lists, instances }: ServiceFeed): boolean {
  return instances.length > 0 || lists.every(({ deliverable }) => deliverable);
}

function freshSinceOf({ lists, freshBefore }: ServiceFeed): number {
  return Math.max(freshBefore, Math.min(...lists.map(({ freshSince }) => freshSince)));
}

/**
 * One instance may be at several nodes: in a move between modes, or while a dead process' node still stands. The later process wins, and of
 * one process the sidecar's address; what cannot be told apart is shown at each of its addresses.
 */
function gathered({ service, lists }: Pick<ServiceFeed, "service" | "lists">): readonly Instance[] {
  const best = new Map<string, Instance[]>();
  for (const { shown } of lists) {
    for (const instance of shown.get(service)?.values() ?? []) {
      const key = instanceKeyText(instance);
      const [other] = best.get(key) ?? [];
      const order = other === undefined ? 1 : compared(instance, other);
      if (order > 0) best.set(key, [instance]);
      else if (order === 0) best.get(key)?.push(instance);
    }
  }
  return [...best.values()].flatMap(withoutTwins);
}

function compared(one: Instance, other: Instance): number {
  if (one.incarnation !== other.incarnation) return one.incarnation - other.incarnation;
  return Number(one.mode === "mesh") - Number(other.mode === "mesh");
}

/** Two nodes of one address differ in what they say of it only. */
function withoutTwins(instances: readonly Instance[]): readonly Instance[] {
  if (instances.length === 1) return instances;
  return [...new Map(instances.map((one) => [`${one.address}:${one.port}`, one])).values()];
}
