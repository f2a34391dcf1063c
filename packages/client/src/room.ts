/**
 * Room among a client's subscriptions: how many there are, which may go because nobody watches them, and which wait until one goes. An
 * application can ask for as many names as it likes, so that no question here is answered by looking at all of them.
 */
import type { FeedKind } from "@dualmesh/wire/stream/messages";
import type { Feed } from "./feed.ts";

export class Room {
  readonly #count: Record<FeedKind, number> = { service: 0, catalogue: 0 };
  /** Longest idle first. */
  readonly #idle: Readonly<Record<FeedKind, Set<Feed>>> = { service: new Set(), catalogue: new Set() };
  readonly #refused: Readonly<Record<FeedKind, Set<Feed>>> = { service: new Set(), catalogue: new Set() };

  count(kind: FeedKind): number {
    return this.#count[kind];
  }

  added(feed: Feed): void {
    this.#count[feed.kind]++;
  }

  removed(feed: Feed): void {
    this.#count[feed.kind]--;
    this.#idle[feed.kind].delete(feed);
    this.#refused[feed.kind].delete(feed);
  }

  watched(feed: Feed): void {
    this.#idle[feed.kind].delete(feed);
  }

  unwatched(feed: Feed): void {
    this.#idle[feed.kind].add(feed);
  }

  /** A feed that nobody watches, of this kind or of any. */
  idle(kind: FeedKind | undefined): Feed | undefined {
    return kind === undefined ? (first(this.#idle.service) ?? first(this.#idle.catalogue)) : first(this.#idle[kind]);
  }

  refuse(feed: Feed, refused: boolean): void {
    feed.refused = refused;
    if (refused) this.#refused[feed.kind].add(feed);
    else this.#refused[feed.kind].delete(feed);
  }

  /** A feed that fits where one of this kind was: a pattern counts as a subscription too, but not the other way round. */
  waiting(gone: FeedKind): Feed | undefined {
    return first(this.#refused.service) ?? (gone === "catalogue" ? first(this.#refused.catalogue) : undefined);
  }
}

function first(feeds: ReadonlySet<Feed>): Feed | undefined {
  for (const feed of feeds) return feed;
  return undefined;
}
