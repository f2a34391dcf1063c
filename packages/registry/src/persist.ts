/**
 * What a registry keeps on disk: who it is, its sessions (tokens as hashes only) and the instances with their owners.
 * A stream session's changes may be behind on disk by a batch, since its owner reports again after a restart.
 */
import type { Random } from "@dualmesh/base/random";
import type { Journal } from "@dualmesh/base/state/journal";
import { FrameError } from "@dualmesh/wire/codec";
import { maxRecordBytes, maxServiceBytes, registryIdBytes } from "@dualmesh/wire/stream/limits";
import { type NodeKind, nodeKinds, revisionText } from "@dualmesh/wire/stream/messages";
import { PayloadReader, PayloadWriter, type Revision } from "@dualmesh/wire/stream/payload";
import { decodeInstance, instanceKeyOf } from "@dualmesh/wire/stream/record";
import type { InstanceRow } from "./store.ts";

export interface StoredSession {
  readonly id: Revision;
  readonly tokenHash: Buffer;
  readonly kind: NodeKind;
  readonly nodeId: string;
}

export interface Loaded {
  readonly registryId: Buffer;
  readonly sessions: readonly StoredSession[];
  readonly rows: readonly InstanceRow[];
  /** The run before had settled, so that its sessions on disk are all that were there. */
  readonly complete: boolean;
  /** Entries that could not be read and were left out. */
  readonly damaged: number;
}

const identityKey = "registry";
const settledKey = "settled";
const sessionPrefix = "session/";
const instancePrefix = "instance/";
const hashBytes = 32;

export class RegistryJournal {
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** Reads everything. A registry that has no name yet gets one, on disk when this resolves. */
  async load(random: Random, epoch: number): Promise<Loaded> {
    const sessions: StoredSession[] = [];
    const rows: InstanceRow[] = [];
    let damaged = 0;
    for (const [key, value] of this.#journal.entries()) {
      try {
        if (key.startsWith(sessionPrefix)) sessions.push(readSession(value));
        else if (key.startsWith(instancePrefix)) rows.push(readRow(value));
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        damaged++;
      }
    }
    const settled = this.#journal.get(settledKey);
    const complete = damaged === 0 && settled?.length === 4 && settled.readUInt32BE(0) === epoch - 1;
    const known = this.#journal.get(identityKey);
    if (known?.length === registryIdBytes) return { registryId: Buffer.from(known), sessions, rows, complete, damaged };
    const registryId = random.bytes(registryIdBytes);
    this.#journal.put(identityKey, registryId);
    await this.#journal.flushed();
    return { registryId, sessions, rows, complete, damaged };
  }

  putSettled(epoch: number): void {
    this.#journal.put(settledKey, new PayloadWriter(4).u32(epoch).take());
  }

  putSession(session: StoredSession): void {
    const writer = new PayloadWriter(128).revision(session.id).block(session.tokenHash, hashBytes);
    writer.u8(nodeKinds.indexOf(session.kind)).text(session.nodeId, 255);
    this.#journal.put(sessionPrefix + revisionText(session.id), writer.take());
  }

  deleteSession(id: Revision): void {
    this.#journal.delete(sessionPrefix + revisionText(id));
  }

  putRow(row: InstanceRow): void {
    const writer = new PayloadWriter(row.record.length + 128).revision(row.session).revision(row.stamp);
    writer.text(row.service, maxServiceBytes).block(row.record, maxRecordBytes);
    this.#journal.put(rowKey(row.service, row.key), writer.take());
  }

  deleteRow(service: string, key: string): void {
    this.#journal.delete(rowKey(service, key));
  }

  flushed(): Promise<void> {
    return this.#journal.flushed();
  }
}

function rowKey(service: string, key: string): string {
  return `${instancePrefix}${service}/${Buffer.from(key, "latin1").toString("base64url")}`;
}

function readSession(value: Buffer): StoredSession {
  const reader = new PayloadReader(value, 0, 0, value.length);
  const id = reader.revision();
  const tokenHash = Buffer.from(reader.block(hashBytes));
  const kind = nodeKinds[reader.u8()] ?? reader.fail("unknown kind of node");
  return { id, tokenHash, kind, nodeId: reader.text(255) };
}

function readRow(value: Buffer): InstanceRow {
  const reader = new PayloadReader(value, 0, 0, value.length);
  const session = reader.revision();
  const stamp = reader.revision();
  const service = reader.text(maxServiceBytes);
  const record = Buffer.from(reader.block(maxRecordBytes));
  const { incarnation } = decodeInstance(service, record);
  return { service, key: instanceKeyOf(record).toString("latin1"), record, incarnation, session, stamp };
}
