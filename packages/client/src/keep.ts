/**
 * What a client keeps on disk: the session's token, which feeds it subscribed to, and their last good sets, one journal entry for
 * each instance, so that a change costs what changed. A sidecar that starts without a registry serves from here.
 */
import type { Journal } from "@dualmesh/base/state/journal";
import { FrameError } from "@dualmesh/wire/codec";
import { maxServiceBytes, registryIdBytes, tokenBytes } from "@dualmesh/wire/stream/limits";
import type { FeedKind } from "@dualmesh/wire/stream/messages";
import { PayloadReader, PayloadWriter, type Revision } from "@dualmesh/wire/stream/payload";

export interface KeptFeed {
  readonly kind: FeedKind;
  readonly name: string;
  readonly revision: Revision;
  /** Wall time up to which the set was last proven to be right. */
  readonly freshSince: number;
  readonly records: Buffer[];
}

export interface KeptSession {
  readonly token: Buffer;
  readonly registryId: Buffer;
}

const sessionKey = "session";
const feedPrefix = "feed/";
const entryPrefix = "entry/";

export class Keep {
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  session(): KeptSession | undefined {
    const value = this.#journal.get(sessionKey);
    if (value?.length !== tokenBytes + registryIdBytes) return undefined;
    return { token: Buffer.from(value.subarray(0, tokenBytes)), registryId: Buffer.from(value.subarray(tokenBytes)) };
  }

  putSession({ token, registryId }: KeptSession): void {
    this.#journal.put(sessionKey, Buffer.concat([token, registryId]));
  }

  deleteSession(): void {
    this.#journal.delete(sessionKey);
  }

  /** Everything that was kept; what cannot be read is forgotten. */
  feeds(): KeptFeed[] {
    const feeds = new Map<string, KeptFeed>();
    const entries: [string, Buffer][] = [];
    for (const [key, value] of this.#journal.entries()) {
      if (key.startsWith(entryPrefix)) entries.push([key, value]);
      if (!key.startsWith(feedPrefix)) continue;
      const feed = readFeed(key, value);
      if (feed === undefined) this.#journal.delete(key);
      else feeds.set(key.slice(feedPrefix.length), feed);
    }
    for (const [key, value] of entries) {
      const feed = feeds.get(key.slice(entryPrefix.length, key.indexOf("\0")));
      if (feed === undefined) this.#journal.delete(key);
      else feed.records.push(value);
    }
    return [...feeds.values()];
  }

  putFeed(kind: FeedKind, name: string, revision: Revision, freshSince: number): void {
    this.#journal.put(
      feedPrefix + feedText(kind, name),
      new PayloadWriter(32).revision(revision).u64(Math.floor(freshSince)).take(),
    );
  }

  putEntry(kind: FeedKind, name: string, key: string, record: Buffer): void {
    this.#journal.put(entryKey(kind, name, key), Buffer.from(record));
  }

  deleteEntry(kind: FeedKind, name: string, key: string): void {
    this.#journal.delete(entryKey(kind, name, key));
  }

  forgetFeed(kind: FeedKind, name: string, keys: Iterable<string>): void {
    this.#journal.delete(feedPrefix + feedText(kind, name));
    for (const key of keys) this.#journal.delete(entryKey(kind, name, key));
  }

  flushed(): Promise<void> {
    return this.#journal.flushed();
  }
}

/** A feed as one text, for maps and keys. */
export function feedText(kind: FeedKind, name: string): string {
  return `${kind === "service" ? "s" : "c"}${name}`;
}

function entryKey(kind: FeedKind, name: string, key: string): string {
  return `${entryPrefix}${feedText(kind, name)}\0${Buffer.from(key, "latin1").toString("base64url")}`;
}

function readFeed(key: string, value: Buffer): KeptFeed | undefined {
  const text = key.slice(feedPrefix.length);
  const kind = text.startsWith("s") ? "service" : text.startsWith("c") ? "catalogue" : undefined;
  if (kind === undefined || text.length > maxServiceBytes) return undefined;
  try {
    const reader = new PayloadReader(value, 0, 0, value.length);
    return { kind, name: text.slice(1), revision: reader.revision(), freshSince: reader.u64(), records: [] };
  } catch (error) {
    if (error instanceof FrameError) return undefined;
    throw error;
  }
}
