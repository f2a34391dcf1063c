/**
 * The push side. Each connection has a set of feeds that changed since it was written to (its dirty set), which is flushed at most
 * once a tick and never before the last flush has left: one write per connection and tick, the newest state wins. Nothing is queued
 * for a slow consumer but the names of feeds; when it has drained it gets deltas, or a snapshot where the deltas are gone.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import type { Channel } from "@dualmesh/wire/stream/channel";
import { addDigests, type Digest, emptyDigest, subtractDigests } from "@dualmesh/wire/stream/digest";
import { type FeedName, type FeedPosition, feedText, type Store } from "./store.ts";

/** What one flush hands to a socket at most, in bytes; the rest waits for the socket to drain. */
const flushBytes = 1024 * 1024;
/** Frames from this size on are sent where they lie, shared by all connections; smaller ones are copied into one write. */
const sharedFrameBytes = 32 * 1024;

/** Who is told that a feed changed: a connection, or a door's directory. */
export interface Subscriber {
  changed(feed: FeedName): void;
}

/** Wakes up a tick after the first change, seals, and tells the subscribers of what changed. */
export class Pusher {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #subscribers = new Map<string, Set<Subscriber>>();
  readonly #toFlush = new Set<PushQueue>();
  #timer: Timer | undefined;
  #closed = false;
  readonly counts = { ticks: 0, flushes: 0, frames: 0, bytes: 0 };

  constructor(store: Store, clock: Clock, tickMs: number) {
    this.#store = store;
    this.#clock = clock;
    this.#tickMs = tickMs;
    store.onPending(() => this.wake());
  }

  subscribe(feed: FeedName, subscriber: Subscriber): void {
    this.#store.hold(feed);
    const text = feedText(feed);
    const subscribers = this.#subscribers.get(text);
    if (subscribers === undefined) this.#subscribers.set(text, new Set([subscriber]));
    else subscribers.add(subscriber);
  }

  unsubscribe(feed: FeedName, subscriber: Subscriber): void {
    const text = feedText(feed);
    const subscribers = this.#subscribers.get(text);
    if (!subscribers?.delete(subscriber)) return;
    if (subscribers.size === 0) this.#subscribers.delete(text);
    this.#store.release(feed);
  }

  get subscriptions(): number {
    let count = 0;
    for (const subscribers of this.#subscribers.values()) count += subscribers.size;
    return count;
  }

  /** The queue is flushed with the next tick. */
  enqueue(queue: PushQueue): void {
    this.#toFlush.add(queue);
    this.wake();
  }

  forget(queue: PushQueue): void {
    this.#toFlush.delete(queue);
  }

  wake(): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = this.#clock.after(this.#tickMs, () => this.#tick());
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #tick(): void {
    this.#timer = undefined;
    this.counts.ticks++;
    for (const feed of this.#store.seal()) {
      for (const subscriber of this.#subscribers.get(feedText(feed)) ?? []) subscriber.changed(feed);
    }
    const queues = [...this.#toFlush];
    this.#toFlush.clear();
    for (const queue of queues) queue.flush();
  }
}

/** One subscription of one connection. */
interface Subscription {
  readonly feed: FeedName;
  /** What the connection was sent, whole; undefined before its first answer. */
  position: FeedPosition | undefined;
  /** What `position` adds to the summary of a ping. */
  term: Digest;
  /** An update of which a part has been sent: the rest must follow before anything else of this feed. */
  rest: readonly Buffer[];
  next: number;
}

/** The dirty set of one connection, and what proves to the peer that it is fresh. */
export class PushQueue implements Subscriber {
  readonly #pusher: Pusher;
  readonly #store: Store;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #onUpToDate: () => void;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #dirty = new Set<Subscription>();
  /** The sum of the terms of all subscriptions. */
  summary: Digest = emptyDigest;
  #blocked = false;
  #blockedBytes = 0;
  #progressAt = 0;

  constructor(pusher: Pusher, store: Store, channel: Channel, clock: Clock, onUpToDate: () => void) {
    this.#pusher = pusher;
    this.#store = store;
    this.#channel = channel;
    this.#clock = clock;
    this.#onUpToDate = onUpToDate;
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  has(feed: FeedName): boolean {
    return this.#subscriptions.has(feedText(feed));
  }

  get feeds(): Iterable<FeedName> {
    return [...this.#subscriptions.values()].map((subscription) => subscription.feed);
  }

  /** Everything that concerns the connection has been handed to its socket. */
  get upToDate(): boolean {
    return this.#dirty.size === 0 && this.#channel.queuedBytes === 0;
  }

  /** Subscribes, or answers again from what the peer says that it holds. */
  subscribe(feed: FeedName, from: FeedPosition | undefined): void {
    const text = feedText(feed);
    let subscription = this.#subscriptions.get(text);
    if (subscription === undefined) {
      subscription = { feed, position: from, term: emptyDigest, rest: [], next: 0 };
      this.#subscriptions.set(text, subscription);
      this.#pusher.subscribe(feed, this);
    } else {
      this.summary = subtractDigests(this.summary, subscription.term);
      Object.assign(subscription, { position: from, term: emptyDigest, rest: [], next: 0 });
    }
    this.#dirty.add(subscription);
    this.#pusher.enqueue(this);
  }

  unsubscribe(feed: FeedName): void {
    const text = feedText(feed);
    const subscription = this.#subscriptions.get(text);
    if (subscription === undefined) return;
    this.#subscriptions.delete(text);
    this.#dirty.delete(subscription);
    this.summary = subtractDigests(this.summary, subscription.term);
    this.#pusher.unsubscribe(feed, this);
  }

  changed(feed: FeedName): void {
    const subscription = this.#subscriptions.get(feedText(feed));
    if (subscription === undefined) return;
    this.#dirty.add(subscription);
    this.#pusher.enqueue(this);
  }

  /** The socket took everything. */
  drained(): void {
    this.#blocked = false;
    if (this.#dirty.size > 0) this.flush();
    else this.#onUpToDate();
  }

  /** True when the socket has taken nothing for `ms`. Asked regularly. */
  stuck(ms: number): boolean {
    const queued = this.#channel.queuedBytes;
    if (queued === 0) this.#blocked = false;
    else if (!this.#blocked || queued < this.#blockedBytes) {
      this.#blocked = true;
      this.#progressAt = this.#clock.now();
    }
    this.#blockedBytes = queued;
    return this.#blocked && this.#clock.now() - this.#progressAt >= ms;
  }

  flush(): void {
    if (this.#dirty.size === 0 || this.#channel.queuedBytes > 0) return; // `drained` comes back here
    const frames: Buffer[] = [];
    let bytes = 0;
    for (const subscription of this.#dirty) {
      bytes += this.#take(subscription, frames, flushBytes - bytes);
      if (subscription.next < subscription.rest.length || bytes >= flushBytes) break;
    }
    this.#pusher.counts.flushes++;
    this.#pusher.counts.frames += frames.length;
    this.#pusher.counts.bytes += bytes;
    sendTogether(this.#channel, frames);
    if (this.#channel.queuedBytes > 0) return;
    // A socket that took it all at once tells nothing; what is left goes with the next tick.
    if (this.#dirty.size > 0) this.#pusher.enqueue(this);
    else this.#onUpToDate();
  }

  close(): void {
    this.#pusher.forget(this);
    for (const { feed } of this.#subscriptions.values()) this.#pusher.unsubscribe(feed, this);
    this.#subscriptions.clear();
    this.#dirty.clear();
  }

  /** Moves frames of the subscription's update to `frames`, at least one. A whole update takes it out of the dirty set. */
  #take(subscription: Subscription, frames: Buffer[], room: number): number {
    if (subscription.next >= subscription.rest.length) {
      const update = this.#store.update(subscription.feed, subscription.position);
      this.summary = addDigests(subtractDigests(this.summary, subscription.term), update.term);
      subscription.position = { revision: update.revision, digest: update.digest };
      subscription.term = update.term;
      subscription.rest = update.frames;
      subscription.next = 0;
      // What changes from here on marks it dirty again; `rest` goes out first.
      this.#dirty.delete(subscription);
    }
    let bytes = 0;
    while (subscription.next < subscription.rest.length && (bytes === 0 || bytes < room)) {
      const frame = subscription.rest[subscription.next++] as Buffer;
      frames.push(frame);
      bytes += frame.length;
    }
    if (subscription.next < subscription.rest.length) this.#dirty.add(subscription);
    else subscription.rest = [];
    return bytes;
  }
}

/** Small frames are copied into one buffer, large ones stay shared. */
function sendTogether(channel: Channel, frames: readonly Buffer[]): void {
  let small: Buffer[] = [];
  const flushSmall = (): void => {
    if (small.length > 0) channel.send(small.length === 1 ? (small[0] as Buffer) : Buffer.concat(small));
    small = [];
  };
  for (const frame of frames) {
    if (frame.length < sharedFrameBytes) small.push(frame);
    else {
      flushSmall();
      channel.send(frame);
    }
  }
  flushSmall();
}
