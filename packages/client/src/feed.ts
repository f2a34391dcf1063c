/** One subscription of a client: what it holds, what it shows of it, and up to when that was proven to be right. */
import type { Timer } from "@dualmesh/base/clock";
import { type Digest, recordHash } from "@dualmesh/wire/stream/digest";
import type { FeedKind } from "@dualmesh/wire/stream/messages";
import {
  catalogueKeyOf,
  decodeCatalogueEntry,
  decodeInstance,
  instanceKeyOf,
  type StreamCatalogueEntry,
  type StreamInstance,
} from "@dualmesh/wire/stream/record";
import type { KeptFeed } from "./keep.ts";
import { type Entries, type RecordReader, Replica } from "./replica.ts";

export type FeedValue = StreamInstance | StreamCatalogueEntry;

export type FeedListener = (feed: Feed) => void;

export class Feed {
  readonly kind: FeedKind;
  readonly name: string;
  readonly nameHash: Digest;
  readonly replica: Replica<FeedValue>;
  /** What listeners see; the replica's own entries unless an answer is held back. */
  shown: Entries<FeedValue>;
  held = false;
  /** Was on disk when the client started. */
  readonly remembered: boolean;
  /** Answered on this connection. */
  answered = false;
  /** There is something to show: an answer, or what was on disk. */
  deliverable = false;
  freshSince: number;
  readonly listeners = new Set<FeedListener>();
  notifying = false;
  /** The registry takes no further subscription of this kind: what is on disk is shown until there is room. */
  refused = false;
  resync: Timer | undefined;
  forget: Timer | undefined;

  constructor(kind: FeedKind, name: string, kept: KeptFeed | undefined) {
    this.kind = kind;
    this.name = name;
    this.nameHash = recordHash(Buffer.from(`${kind === "service" ? "\x01" : "\x02"}${name}`));
    this.replica = new Replica(readerOf(kind, name));
    this.remembered = kept !== undefined;
    this.freshSince = kept?.freshSince ?? 0;
    for (const record of kept?.records ?? []) this.replica.load(record);
    if (kept !== undefined) this.replica.revision = kept.revision;
    this.shown = this.replica.entries;
  }

  cancelTimers(): void {
    this.resync?.cancel();
    this.forget?.cancel();
  }
}

function readerOf(kind: FeedKind, name: string): RecordReader<FeedValue> {
  if (kind === "catalogue") return { key: catalogueKeyOf, value: decodeCatalogueEntry };
  return { key: instanceKeyOf, value: (record) => decodeInstance(name, record) };
}
