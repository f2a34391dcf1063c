/**
 * What holds the instances. The rows belong to the way of an instance (instance.ts); the push side (push.ts) gets nothing from here
 * but names of feeds, revisions, digests and frames that are encoded once and never change, so that pushing can move to other
 * threads and the inside of the store can be replaced for scale.
 */
import type { Digest } from "@dualmesh/wire/stream/digest";
import type { FeedKind, RemovalReason } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";

/** An instance with its owner. */
export interface InstanceRow {
  readonly service: string;
  /** The bytes of the record's key, one character each. */
  readonly key: string;
  /** The instance's canonical bytes as its publisher encoded them. */
  readonly record: Buffer;
  readonly incarnation: number;
  /** The session that owns it. */
  readonly session: Revision;
  /** When that session's register was accepted; orders the owners of a key. */
  readonly stamp: Revision;
}

/** What a subscriber holds. */
export interface FeedPosition {
  readonly revision: Revision;
  readonly digest: Digest;
}

export interface FeedUpdate extends FeedPosition {
  /** Whole frames to send in this order. */
  readonly frames: readonly Buffer[];
  /** What the feed adds to the summary of a ping. */
  readonly term: Digest;
}

export interface FeedName {
  readonly kind: FeedKind;
  readonly name: string;
}

export interface CatalogueRow {
  readonly service: string;
  readonly applications: readonly string[];
  readonly instances: number;
}

export interface Store {
  /** The newest revision of all. */
  readonly revision: Revision;
  readonly instanceCount: number;
  readonly serviceCount: number;

  get(service: string, key: string): InstanceRow | undefined;
  /** Adds or replaces. A row with the same record makes no revision. Returns the service's newest revision. */
  put(row: InstanceRow): Revision;
  remove(service: string, key: string, reason: RemovalReason): Revision;
  rowsOf(service: string): Iterable<InstanceRow>;
  /** The services that a catalogue pattern matches; all without one. */
  services(pattern?: string): Iterable<CatalogueRow>;

  /** A feed is kept up to date while someone holds it; each `hold` needs one `release`. */
  hold(feed: FeedName): void;
  release(feed: FeedName): void;
  /** What brings a holder from `from` to the newest state: nothing new, deltas, or a snapshot in chunks. */
  update(feed: FeedName, from: FeedPosition | undefined): FeedUpdate;
  /** Encodes what changed since the last call, once, and names the feeds that are held and changed. */
  seal(): readonly FeedName[];
  /** Calls `listener` when `seal` has something to do again, and at once when it has already. One listener. */
  onPending(listener: () => void): void;
  /** Forgets encoded snapshots; they are made again when needed. */
  dropSnapshots(): void;
}

/** A feed as one text, for maps. */
export function feedText(feed: FeedName): string {
  return feed.kind === "service" ? `s${feed.name}` : `c${feed.name}`;
}
