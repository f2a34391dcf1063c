/**
 * The client's copy of one feed. A change is applied only when it fits what is held and leads to the digest that it promises, so that
 * a copy is right or known to be wrong. Values that did not change stay the same objects.
 */
import {
  addDigests,
  type Digest,
  emptyDigest,
  equalDigests,
  recordHash,
  subtractDigests,
} from "@dualmesh/wire/stream/digest";
import { compareRevisions, type Delta, type Snapshot } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";

export interface ReplicaEntry<Value> {
  readonly value: Value;
  readonly hash: Digest;
}

export type Entries<Value> = Map<string, ReplicaEntry<Value>>;

/** How the bytes of a feed's records are read. Raises FrameError when they are malformed. */
export interface RecordReader<Value> {
  key(record: Buffer): Buffer;
  value(record: Buffer): Value;
}

/** What came of a message. `gap`: a delta from elsewhere; `mismatch`: the digest says that the copy would be wrong. */
export type Applied = "applied" | "nothing-new" | "more" | "gap" | "mismatch";

/** A key with its record, or without one when it was removed. */
export type ReplicaChange = readonly [key: string, record: Buffer | undefined];

export class Replica<Value> {
  readonly #reader: RecordReader<Value>;
  entries: Entries<Value> = new Map();
  digest: Digest = emptyDigest;
  /** Undefined until anything is known. */
  revision: Revision | undefined;
  /** What the last applied delta changed. */
  changes: readonly ReplicaChange[] = [];
  #incoming: { entries: Entries<Value>; digest: Digest; revision: Revision } | undefined;

  constructor(reader: RecordReader<Value>) {
    this.#reader = reader;
  }

  /** Takes in an entry from disk, before anything came from the registry. */
  load(record: Buffer): void {
    const hash = recordHash(record);
    this.entries.set(this.#reader.key(record).toString("latin1"), { value: this.#reader.value(record), hash });
    this.digest = addDigests(this.digest, hash);
  }

  /** Forgets a snapshot that came in part: its connection is gone. */
  abandon(): void {
    this.#incoming = undefined;
  }

  applySnapshot(chunk: Snapshot): Applied {
    if (chunk.first) this.#incoming = { entries: new Map(), digest: emptyDigest, revision: chunk.revision };
    const incoming = this.#incoming;
    if (incoming === undefined || compareRevisions(incoming.revision, chunk.revision) !== 0) return "gap";
    for (const record of chunk.records) this.#takeIn(incoming, record);
    if (incoming.entries.size > chunk.total) return "mismatch";
    if (!chunk.last) return "more";
    this.#incoming = undefined;
    if (incoming.entries.size !== chunk.total || !equalDigests(incoming.digest, chunk.digest)) return "mismatch";
    this.entries = incoming.entries;
    this.digest = incoming.digest;
    this.revision = incoming.revision;
    return "applied";
  }

  #takeIn(incoming: { entries: Entries<Value>; digest: Digest }, record: Buffer): void {
    const key = this.#reader.key(record).toString("latin1");
    const hash = recordHash(record);
    const known = this.entries.get(key);
    const same = known !== undefined && equalDigests(known.hash, hash);
    incoming.entries.set(key, same ? known : { value: this.#reader.value(record), hash });
    incoming.digest = addDigests(incoming.digest, hash);
  }

  applyDelta(delta: Delta): Applied {
    const { revision } = this;
    if (revision === undefined || compareRevisions(delta.from, revision) !== 0) {
      // One that was seen already, as after a reconnect, proves nothing and harms nothing.
      const seen = revision?.epoch === delta.to.epoch && compareRevisions(delta.to, revision) <= 0;
      return seen ? "nothing-new" : "gap";
    }
    const next = this.#next(delta);
    if (!equalDigests(next.digest, delta.digest)) return "mismatch";
    for (const [key, entry] of next.entries) {
      if (entry === undefined) this.entries.delete(key);
      else this.entries.set(key, entry);
    }
    this.digest = next.digest;
    this.revision = delta.to;
    this.changes = next.changes;
    return next.changes.length === 0 ? "nothing-new" : "applied";
  }

  /** What the delta leads to, without touching what is held. */
  #next(delta: Delta): {
    entries: Map<string, ReplicaEntry<Value> | undefined>;
    changes: ReplicaChange[];
    digest: Digest;
  } {
    let { digest } = this;
    const entries = new Map<string, ReplicaEntry<Value> | undefined>();
    const changes: ReplicaChange[] = [];
    const before = (key: string): ReplicaEntry<Value> | undefined =>
      entries.has(key) ? entries.get(key) : this.entries.get(key);
    for (const record of [...delta.added, ...delta.changed]) {
      const key = this.#reader.key(record).toString("latin1");
      const known = before(key);
      const hash = recordHash(record);
      if (known !== undefined) digest = subtractDigests(digest, known.hash);
      digest = addDigests(digest, hash);
      entries.set(key, { value: this.#reader.value(record), hash });
      changes.push([key, record]);
    }
    for (const { key: bytes } of delta.removed) {
      const key = bytes.toString("latin1");
      const known = before(key);
      if (known !== undefined) digest = subtractDigests(digest, known.hash);
      entries.set(key, undefined);
      changes.push([key, undefined]);
    }
    return { entries, changes, digest };
  }
}
