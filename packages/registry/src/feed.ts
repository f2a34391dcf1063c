/**
 * One set that can be subscribed to (the instances of a service, the catalogue of a pattern): its records, its digest, the deltas
 * that led here, and a snapshot when somebody needs one. Changes gather until they are sealed; then they are encoded once for all
 * subscribers. A key that changed twice in between appears once, with its newest value.
 */
import {
  addDigests,
  type Digest,
  emptyDigest,
  equalDigests,
  recordHash,
  subtractDigests,
  summaryTerm,
} from "@dualmesh/wire/stream/digest";
import { encodeMessage } from "@dualmesh/wire/stream/encode";
import { chunkBytes } from "@dualmesh/wire/stream/limits";
import { compareRevisions, type FeedKind, type Removal, type RemovalReason } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import type { FeedPosition, FeedUpdate } from "./store.ts";

/** Deltas kept for subscribers that come back after a short gap; beyond either limit, or the set's own size, the oldest go. */
const maxRingDeltas = 256;
const maxRingBytes = 512 * 1024;

interface Entry {
  readonly record: Buffer;
  readonly hash: Digest;
}

interface PendingChange {
  /** What the subscribers hold under this key. */
  readonly before: Entry | undefined;
  /** Of the newest change of the key. */
  readonly revision: Revision;
  readonly reason: RemovalReason;
}

interface SealedDelta {
  readonly from: Revision;
  readonly to: Revision;
  readonly frame: Buffer;
}

export class Feed {
  readonly kind: FeedKind;
  readonly name: string;
  readonly #nameHash: Digest;
  readonly #entries = new Map<string, Entry>();
  #recordBytes = 0;
  /** In order of the newest change. */
  readonly #pending = new Map<string, PendingChange>();
  readonly #ring: SealedDelta[] = [];
  #ringBytes = 0;
  #snapshot: readonly Buffer[] | undefined;
  #revision: Revision;
  #sealed: FeedPosition;
  #term: Digest;
  /** How many hold the feed. */
  holders = 0;

  constructor(kind: FeedKind, name: string, revision: Revision) {
    this.kind = kind;
    this.name = name;
    this.#nameHash = recordHash(Buffer.from(`${kind === "service" ? "\x01" : "\x02"}${name}`));
    this.#revision = revision;
    this.#sealed = { revision, digest: emptyDigest };
    this.#term = summaryTerm(this.#nameHash, emptyDigest);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Of the newest change, sealed or not. */
  get revision(): Revision {
    return this.#revision;
  }

  get pending(): boolean {
    return this.#pending.size > 0;
  }

  /** True when the bytes under `key` are these already. */
  holds(key: string, record: Buffer): boolean {
    return this.#entries.get(key)?.record.equals(record) ?? false;
  }

  set(key: string, record: Buffer, revision: Revision): void {
    const before = this.#entries.get(key);
    this.#entries.set(key, { record, hash: recordHash(record) });
    this.#recordBytes += record.length - (before?.record.length ?? 0);
    this.#changed(key, before, revision, "withdrawn");
  }

  delete(key: string, revision: Revision, reason: RemovalReason): void {
    const before = this.#entries.get(key);
    if (before === undefined) return;
    this.#entries.delete(key);
    this.#recordBytes -= before.record.length;
    this.#changed(key, before, revision, reason);
  }

  #changed(key: string, before: Entry | undefined, revision: Revision, reason: RemovalReason): void {
    const known = this.#pending.get(key);
    this.#pending.delete(key); // to its end, so that pending changes stay in order of their revisions
    this.#pending.set(key, { before: known === undefined ? before : known.before, revision, reason });
    this.#revision = revision;
  }

  /** Encodes what is pending. A feed that nobody holds keeps no deltas. */
  seal(): void {
    if (this.#pending.size === 0) return;
    if (this.holders === 0) this.#forgetDeltas();
    else this.#encodePending();
    this.#pending.clear();
    this.#snapshot = undefined;
    this.#term = summaryTerm(this.#nameHash, this.#sealed.digest);
  }

  #encodePending(): void {
    let batch = new DeltaBatch(this.#sealed.digest);
    for (const [key, change] of this.#pending) {
      batch.add(key, change, this.#entries.get(key));
      if (batch.bytes < chunkBytes) continue;
      this.#append(batch, change.revision);
      batch = new DeltaBatch(this.#sealed.digest);
    }
    if (compareRevisions(this.#sealed.revision, this.#revision) < 0) this.#append(batch, this.#revision);
  }

  #append(batch: DeltaBatch, to: Revision): void {
    const from = this.#sealed.revision;
    const frame = batch.encode(this.kind, this.name, from, to);
    this.#sealed = { revision: to, digest: batch.digest };
    this.#ring.push({ from, to, frame });
    this.#ringBytes += frame.length;
    // Deltas larger than the whole are of no use; up to there they are cheaper, also when much changes at once.
    const limit = Math.max(maxRingBytes, this.#recordBytes + chunkBytes);
    while (this.#ring.length > maxRingDeltas || (this.#ringBytes > limit && this.#ring.length > 1)) {
      this.#ringBytes -= (this.#ring.shift() as SealedDelta).frame.length;
    }
  }

  #forgetDeltas(): void {
    let digest = this.#sealed.digest;
    for (const [key, { before }] of this.#pending) {
      const now = this.#entries.get(key);
      if (before !== undefined) digest = subtractDigests(digest, before.hash);
      if (now !== undefined) digest = addDigests(digest, now.hash);
    }
    this.#ring.length = 0;
    this.#ringBytes = 0;
    this.#sealed = { revision: this.#revision, digest };
  }

  /** What brings a subscriber from `from` to the newest state. Seals first, so that a subscriber reads its own writes. */
  update(from: FeedPosition | undefined): FeedUpdate {
    this.seal();
    const { revision, digest } = this.#sealed;
    return { frames: this.#framesSince(from), revision, digest, term: this.#term };
  }

  #framesSince(from: FeedPosition | undefined): readonly Buffer[] {
    if (from === undefined) return this.#snapshotFrames();
    if (equalDigests(from.digest, this.#sealed.digest)) return [this.#nothingNew(from.revision)];
    return this.#deltasSince(from.revision) ?? this.#snapshotFrames();
  }

  /** The deltas from `from` on, if they are kept and smaller than the whole. */
  #deltasSince(from: Revision): readonly Buffer[] | undefined {
    const first = this.#ring.findIndex((delta) => compareRevisions(delta.from, from) === 0);
    if (first < 0) return undefined;
    const frames = this.#ring.slice(first).map((delta) => delta.frame);
    if (frames.length === 1) return frames;
    const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
    return bytes <= this.#recordBytes + chunkBytes ? frames : undefined;
  }

  #nothingNew(from: Revision): Buffer {
    return new DeltaBatch(this.#sealed.digest).encode(this.kind, this.name, from, this.#sealed.revision);
  }

  dropSnapshot(): void {
    this.#snapshot = undefined;
  }

  #snapshotFrames(): readonly Buffer[] {
    this.#snapshot ??= this.#encodeSnapshot();
    return this.#snapshot;
  }

  #encodeSnapshot(): Buffer[] {
    const chunks: Buffer[][] = [[]];
    let bytes = 0;
    for (const { record } of this.#entries.values()) {
      if (bytes >= chunkBytes) {
        chunks.push([]);
        bytes = 0;
      }
      (chunks[chunks.length - 1] as Buffer[]).push(record);
      bytes += record.length + 2;
    }
    return chunks.map((records, index) =>
      encodeMessage({
        type: "snapshot",
        feed: this.kind,
        name: this.name,
        revision: this.#sealed.revision,
        digest: this.#sealed.digest,
        first: index === 0,
        last: index === chunks.length - 1,
        total: this.#entries.size,
        records,
      }),
    );
  }
}

/** Changes that go into one delta, and the digest that they lead to. */
class DeltaBatch {
  readonly #added: Buffer[] = [];
  readonly #changed: Buffer[] = [];
  readonly #removed: Removal[] = [];
  digest: Digest;
  bytes = 0;

  constructor(digest: Digest) {
    this.digest = digest;
  }

  add(key: string, change: PendingChange, now: Entry | undefined): void {
    const { before } = change;
    if (before === undefined && now === undefined) return; // came and went between two pushes
    if (before !== undefined) this.digest = subtractDigests(this.digest, before.hash);
    if (now !== undefined) this.digest = addDigests(this.digest, now.hash);
    if (now === undefined) this.#removed.push({ key: Buffer.from(key, "latin1"), reason: change.reason });
    else if (before === undefined) this.#added.push(now.record);
    else if (!before.record.equals(now.record)) this.#changed.push(now.record);
    this.bytes += now === undefined ? key.length : now.record.length;
  }

  encode(feed: FeedKind, name: string, from: Revision, to: Revision): Buffer {
    const { digest } = this;
    const [added, changed, removed] = [this.#added, this.#changed, this.#removed];
    return encodeMessage({ type: "delta", feed, name, from, to, digest, added, changed, removed });
  }
}
