/**
 * The subscriptions of a client: what it holds of each feed, who listens, whether it is proven to be fresh, and what is shown while
 * the registry is out of reach or not to be believed yet. Nothing shrinks by accident: what an answer lacks, if it
 * is all or most of what was known and the registry has just restarted, stays until that registry says that nobody is missing.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import { FrameError } from "@dualmesh/wire/codec";
import { addDigests, type Digest, emptyDigest, equalDigests, summaryTerm } from "@dualmesh/wire/stream/digest";
import {
  type Delta,
  type FeedKind,
  type HelloAck,
  type Ping,
  type Snapshot,
  type StreamMessage,
  zeroRevision,
} from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import {
  encodeCatalogueEntry,
  encodeInstance,
  type StreamCatalogueEntry,
  type StreamInstance,
} from "@dualmesh/wire/stream/record";
import { Feed, type FeedListener, type FeedValue } from "./feed.ts";
import { feedText, type Keep, type KeptFeed } from "./keep.ts";
import type { Applied, Entries } from "./replica.ts";
import { Room } from "./room.ts";

/** A set of at least this many is sharply shrunk when less than half is left. */
const smallestSharpSet = 4;
/** A copy that was found wrong is asked for again within this, so that not all clients ask at once. */
const resyncJitterMs = 1_000;
/** The limits of subscriptions and of patterns among them that are assumed before the registry has said its own. */
const usualLimit = 10_000;
/** How often the time up to which sets were proven is written to disk. */
const saveFreshMs = 60_000;
/** A feed that nobody watches any more is kept for this, since owners come and go at restarts and upgrades. */
const forgetMs = 600_000;

export interface FeedsOptions {
  readonly keep: Keep;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly send: (message: StreamMessage) => void;
  /** A feed was answered. */
  readonly onAnswered: () => void;
}

export class Feeds {
  readonly #options: FeedsOptions;
  readonly #feeds = new Map<string, Feed>();
  readonly #room = new Room();
  /** Those that were on disk and have no answer on this connection yet. */
  readonly #awaited = new Set<Feed>();
  #ack: HelloAck | undefined;
  #saved: Timer;
  /** A ping whose summary differs is believed only if nothing was asked for since the one before, which differed too. */
  #suspicion = 0;
  #applied: Revision = zeroRevision;
  readonly counts = { resyncs: 0, gaps: 0, mismatches: 0, summaryMismatches: 0, heldAnswers: 0, malformed: 0 };

  constructor(options: FeedsOptions) {
    this.#options = options;
    for (const kept of options.keep.feeds()) this.#restore(kept);
    this.#saved = options.clock.every(saveFreshMs, () => this.#saveFreshness());
  }

  get all(): Iterable<Feed> {
    return this.#feeds.values();
  }

  get size(): number {
    return this.#feeds.size;
  }

  /** The registry is past its restart. */
  get settled(): boolean {
    return this.#ack?.settled ?? false;
  }

  /** Something was on disk. */
  get anyRemembered(): boolean {
    for (const feed of this.#feeds.values()) if (feed.remembered) return true;
    return false;
  }

  /** Every feed that was on disk has been answered on this connection. */
  get rememberedAnswered(): boolean {
    return this.#awaited.size === 0;
  }

  watch(kind: FeedKind, name: string, listener: FeedListener): () => void {
    let feed = this.#feeds.get(feedText(kind, name));
    if (feed === undefined) {
      this.#makeRoom(kind);
      feed = this.#add(new Feed(kind, name, undefined));
      this.#subscribe(feed);
    }
    const known = feed;
    known.forget?.cancel();
    known.forget = undefined;
    known.listeners.add(listener);
    this.#room.watched(known);
    if (known.deliverable) {
      queueMicrotask(() => {
        if (known.listeners.has(listener)) this.#tell(known, listener);
      });
    }
    return () => {
      if (!known.listeners.delete(listener) || known.listeners.size > 0) return;
      this.#room.unwatched(known);
      known.forget = this.#options.clock.after(forgetMs, () => this.#drop(known));
    };
  }

  onOpen(ack: HelloAck, sameRegistry: boolean): void {
    this.#ack = ack;
    this.#suspicion = 0;
    for (const feed of this.#feeds.values()) {
      feed.answered = false;
      this.#room.refuse(feed, false);
      if (!sameRegistry && feed.replica.revision !== undefined) feed.replica.revision = zeroRevision;
    }
    this.#refuseTooMany();
    this.#awaited.clear();
    for (const feed of this.#asked()) this.#subscribe(feed);
    if (ack.settled) this.#releaseHeld();
  }

  onDown(): void {
    this.#ack = undefined;
    for (const feed of this.#feeds.values()) {
      feed.answered = false;
      feed.replica.abandon();
      feed.resync?.cancel();
      feed.resync = undefined;
    }
  }

  onSnapshot(message: Snapshot): void {
    const feed = this.#feeds.get(feedText(message.feed, message.name));
    if (feed === undefined) return; // unsubscribed meanwhile
    const before = feed.replica.revision;
    const outcome = this.#apply(feed, () => feed.replica.applySnapshot(message));
    if (outcome !== "applied") return;
    const restarted = before !== undefined && before.epoch !== this.#ack?.epoch;
    this.#show(feed, (restarted || feed.held) && this.#ack?.settled === false);
    this.#answered(feed);
  }

  onDelta(message: Delta): void {
    const feed = this.#feeds.get(feedText(message.feed, message.name));
    if (feed === undefined || feed.resync !== undefined) return;
    const outcome = this.#apply(feed, () => feed.replica.applyDelta(message));
    if (outcome === "applied") this.#showChanges(feed, message);
    if (outcome === "applied" || outcome === "nothing-new") this.#answered(feed);
  }

  /** Returns what the pong says. */
  onPing(ping: Ping): { applied: Revision; subscriptions: number; summary: Digest } {
    if (ping.settled && this.#ack !== undefined && !this.#ack.settled) {
      this.#ack = { ...this.#ack, settled: true };
      this.#releaseHeld();
    }
    let summary = emptyDigest;
    let whole = true;
    let subscriptions = 0;
    for (const feed of this.#asked()) {
      subscriptions++;
      if (!feed.answered) whole = false;
      summary = addDigests(summary, summaryTerm(feed.nameHash, feed.replica.digest));
    }
    const equal = whole && ping.subscriptions === subscriptions && equalDigests(ping.summary, summary);
    if (equal) this.#proven(ping.revision);
    else if (whole && ++this.#suspicion > 1) this.#resyncAll();
    return { applied: this.#applied, subscriptions, summary };
  }

  close(): void {
    this.#saved.cancel();
    for (const feed of this.#feeds.values()) feed.cancelTimers();
  }

  #restore(kept: KeptFeed): void {
    try {
      this.#add(new Feed(kept.kind, kept.name, kept));
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#options.log.warn({ feed: kept.name, error: error.message }, "a set on disk could not be read");
      this.#options.keep.forgetFeed(kept.kind, kept.name, []);
    }
  }

  #add(feed: Feed): Feed {
    this.#feeds.set(feedText(feed.kind, feed.name), feed);
    this.#room.added(feed);
    if (feed.remembered) {
      this.#room.unwatched(feed);
      // What was on disk is what watchers were told last: they go on from there until the registry answers.
      feed.deliverable = true;
      feed.forget = this.#options.clock.after(forgetMs, () => this.#drop(feed));
    }
    return feed;
  }

  /** One subscription too many would cost the connection: a feed that nobody watches goes, or the watcher is refused. */
  #makeRoom(kind: FeedKind): void {
    const subscriptions = this.#ack?.limits.subscriptions ?? usualLimit;
    const patterns = this.#ack?.limits.patterns ?? usualLimit;
    if (kind === "catalogue" && this.#room.count(kind) >= patterns && !this.#dropIdle(kind)) {
      const text = `a client may watch ${patterns} patterns of the catalogue`;
      throw new MeshError("registry.limit", text, { limit: patterns });
    }
    if (this.#feeds.size >= subscriptions && !this.#dropIdle(undefined)) {
      const text = `a client may watch ${subscriptions} services and patterns`;
      throw new MeshError("registry.limit", text, { limit: subscriptions });
    }
  }

  /** What was watched before the registry had told its limits may be more than it takes. */
  #refuseTooMany(): void {
    const { subscriptions, patterns } = this.#ack?.limits ?? { subscriptions: usualLimit, patterns: usualLimit };
    while (this.#room.count("catalogue") > patterns && this.#dropIdle("catalogue"));
    while (this.#feeds.size > subscriptions && this.#dropIdle(undefined));
    let [all, catalogues, refused] = [0, 0, 0];
    for (const feed of this.#feeds.values()) {
      const isPattern = feed.kind === "catalogue";
      this.#room.refuse(feed, all >= subscriptions || (isPattern && catalogues >= patterns));
      if (feed.refused) refused++;
      else {
        all++;
        if (isPattern) catalogues++;
      }
    }
    const fields = { refused, subscriptions, patterns };
    if (refused > 0) this.#options.log.error(fields, "more is watched than the registry takes, and stays unanswered");
  }

  /** Drops a feed that nobody watches; false when there is none. */
  #dropIdle(kind: FeedKind | undefined): boolean {
    const feed = this.#room.idle(kind);
    if (feed !== undefined) this.#drop(feed);
    return feed !== undefined;
  }

  /** The feeds that the registry is asked for. */
  *#asked(): Generator<Feed> {
    for (const feed of this.#feeds.values()) if (!feed.refused) yield feed;
  }

  #drop(feed: Feed): void {
    feed.cancelTimers();
    this.#feeds.delete(feedText(feed.kind, feed.name));
    this.#room.removed(feed);
    this.#awaited.delete(feed);
    this.#suspicion = 0;
    this.#options.keep.forgetFeed(feed.kind, feed.name, feed.shown.keys());
    if (feed.refused) return;
    this.#options.send({ type: "unsubscribe", feed: feed.kind, name: feed.name });
    const waiting = this.#room.waiting(feed.kind);
    if (waiting === undefined) return;
    this.#room.refuse(waiting, false);
    this.#subscribe(waiting);
  }

  #subscribe(feed: Feed): void {
    const { revision, digest } = feed.replica;
    this.#suspicion = 0;
    if (feed.remembered) this.#awaited.add(feed);
    const from = revision === undefined ? undefined : { revision, digest };
    this.#options.send({ type: "subscribe", feed: feed.kind, name: feed.name, from });
  }

  /** Applies, and repairs what turns out wrong by one resync. */
  #apply(feed: Feed, apply: () => Applied): Applied {
    try {
      const outcome = apply();
      if (outcome === "gap") this.counts.gaps++;
      if (outcome === "mismatch") this.counts.mismatches++;
      if (outcome === "gap" || outcome === "mismatch") this.#resync(feed, outcome, undefined);
      return outcome;
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.counts.malformed++;
      this.#resync(feed, messageOf(error), undefined);
      return "mismatch";
    }
  }

  /** Asks again, once, a random while later. With `from` the registry answers only if it differs. */
  #resync(feed: Feed, reason: string, from: { revision: Revision; digest: Digest } | undefined): void {
    if (feed.resync !== undefined) return;
    const { clock, random, log, send } = this.#options;
    this.counts.resyncs++;
    log.warn({ feed: feed.name, reason }, "a copy differs from the registry and is asked for again");
    feed.answered = false;
    if (feed.remembered) this.#awaited.add(feed);
    feed.resync = clock.after(random.next() * resyncJitterMs, () => {
      feed.resync = undefined;
      feed.replica.abandon();
      this.#suspicion = 0;
      send({ type: "subscribe", feed: feed.kind, name: feed.name, from });
    });
  }

  #resyncAll(): void {
    this.counts.summaryMismatches++;
    this.#suspicion = 0;
    for (const feed of this.#asked()) {
      const { revision, digest } = feed.replica;
      this.#resync(feed, "summary", revision === undefined ? undefined : { revision, digest });
    }
  }

  /** Shows what the replica holds; a suspicious answer only adds to what is shown, until the registry has settled. */
  #show(feed: Feed, mayHold: boolean): void {
    const next = feed.replica.entries;
    if (mayHold && isSuspicious(feed.shown, next)) {
      if (!feed.held) this.counts.heldAnswers++;
      feed.held = true;
      const fields = { feed: feed.name, known: feed.shown.size, answered: next.size };
      this.#options.log.warn(
        fields,
        "a registry that restarted knows far fewer; what was known stays until it has settled",
      );
      this.#addToShown(feed, next);
      return;
    }
    const before = feed.shown;
    feed.shown = next;
    feed.held = false;
    this.#saveDifference(feed, before);
    this.#notify(feed);
  }

  /** Replaces the map, since what is shown must not change with the replica. */
  #addToShown(feed: Feed, next: Entries<FeedValue>): void {
    const before = feed.shown;
    feed.shown = new Map([...before, ...next]);
    if ([...next].every(([key, entry]) => before.get(key) === entry)) return;
    this.#saveDifference(feed, before);
    this.#notify(feed);
  }

  /** A delta: changes and explicit removals pass, also while an answer is held back. */
  #showChanges(feed: Feed, delta: Delta): void {
    const { keep } = this.#options;
    for (const [key, record] of feed.replica.changes) {
      if (record === undefined) {
        if (feed.held) feed.shown.delete(key);
        keep.deleteEntry(feed.kind, feed.name, key);
      } else {
        const entry = feed.replica.entries.get(key);
        if (feed.held && entry !== undefined) feed.shown.set(key, entry);
        keep.putEntry(feed.kind, feed.name, key, record);
      }
    }
    if (feed.held && !isSuspicious(feed.shown, feed.replica.entries)) return this.#show(feed, false);
    if (!feed.held) keep.putFeed(feed.kind, feed.name, delta.to, this.#options.clock.wall());
    this.#notify(feed);
  }

  #saveDifference(feed: Feed, before: Entries<FeedValue>): void {
    const { keep, clock } = this.#options;
    const { kind, name } = feed;
    for (const key of before.keys()) if (!feed.shown.has(key)) keep.deleteEntry(kind, name, key);
    for (const [key, entry] of feed.shown) {
      const known = before.get(key);
      if (known === undefined || !equalDigests(known.hash, entry.hash))
        keep.putEntry(kind, name, key, encode(kind, entry.value));
    }
    keep.putFeed(kind, name, feed.replica.revision ?? zeroRevision, clock.wall());
  }

  #releaseHeld(): void {
    for (const feed of this.#feeds.values()) {
      if (feed.held && feed.answered) this.#show(feed, false);
    }
  }

  #answered(feed: Feed): void {
    const first = !feed.answered;
    feed.answered = true;
    this.#awaited.delete(feed);
    feed.freshSince = this.#options.clock.wall();
    if (!feed.deliverable) {
      feed.deliverable = true;
      this.#notify(feed);
    }
    if (first) {
      // Also an unchanged answer is kept: the list of subscriptions must survive a restart.
      if (!feed.held)
        this.#options.keep.putFeed(feed.kind, feed.name, feed.replica.revision ?? zeroRevision, feed.freshSince);
      this.#options.onAnswered();
    }
  }

  #proven(revision: Revision): void {
    this.#suspicion = 0;
    this.#applied = revision;
    const wall = this.#options.clock.wall();
    for (const feed of this.#asked()) feed.freshSince = wall;
  }

  #saveFreshness(): void {
    for (const feed of this.#feeds.values()) {
      const { kind, name, freshSince, replica } = feed;
      if (feed.answered && !feed.held)
        this.#options.keep.putFeed(kind, name, replica.revision ?? zeroRevision, freshSince);
    }
  }

  /** Tells the listeners once for all that one read brought. */
  #notify(feed: Feed): void {
    if (!feed.deliverable || feed.notifying) return;
    feed.notifying = true;
    queueMicrotask(() => {
      feed.notifying = false;
      for (const listener of [...feed.listeners]) this.#tell(feed, listener);
    });
  }

  #tell(feed: Feed, listener: FeedListener): void {
    try {
      listener(feed);
    } catch (error) {
      this.#options.log.error({ feed: feed.name, error: messageOf(error) }, "a listener of a feed failed");
    }
  }
}

/** Nothing of what was known is left, or less than half of a set that is not small. */
function isSuspicious(known: Entries<FeedValue>, next: Entries<FeedValue>): boolean {
  if (known.size === 0) return false;
  let left = 0;
  for (const key of known.keys()) if (next.has(key)) left++;
  return left === 0 || (known.size >= smallestSharpSet && left * 2 < known.size);
}

function encode(kind: FeedKind, value: FeedValue): Buffer {
  return kind === "catalogue"
    ? encodeCatalogueEntry(value as StreamCatalogueEntry)
    : encodeInstance(value as StreamInstance);
}
