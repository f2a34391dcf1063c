/**
 * Entries of applications that this door has taken back at the ensemble, kept so that they can be put there again after a restart of
 * the door, while their session lives.
 */
import type { Journal } from "@dualmesh/base/state/journal";
import type { Acl } from "@dualmesh/wire/jute/request";
import type { Entry } from "./own-node.ts";
import type { SessionNodes } from "./own-nodes.ts";
import { lastSegment, parentOf } from "./paths.ts";

interface Kept {
  /** Base64; null when the node had none. */
  readonly data: string | null;
  readonly acl: readonly Acl[];
  readonly wanted: boolean;
}

const prefix = "withdrawn/";
const keyOf = (session: bigint, path: string): string => `${prefix}${session.toString(16)}${path}`;

export class KeptEntries {
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** Resolves when it is on disk. */
  keep(session: bigint, { path, withdrawn, wanted }: Entry): Promise<void> {
    if (withdrawn === undefined) this.#journal.delete(keyOf(session, path));
    else {
      const { data, acl } = withdrawn;
      const kept: Kept = { data: data?.toString("base64") ?? null, acl, wanted };
      this.#journal.put(keyOf(session, path), JSON.stringify(kept));
    }
    return this.#journal.flushed();
  }

  /** Gives a session back what was taken back for it; what stands at the ensemble all the same was never taken away. */
  restore(session: bigint, nodes: SessionNodes, owned: readonly string[]): void {
    const start = keyOf(session, "/");
    for (const [key, value] of [...this.#journal.entries()]) {
      if (!key.startsWith(start)) continue;
      const path = key.slice(start.length - 1);
      if (owned.includes(path)) {
        this.#journal.delete(key);
        continue;
      }
      const entry = nodes.addEntry(path, lastSegment(parentOf(path)));
      if (entry === undefined || entry.withdrawn !== undefined) continue;
      const { data, acl, wanted } = JSON.parse(value.toString()) as Kept;
      entry.withdrawn = { data: data === null ? undefined : Buffer.from(data, "base64"), acl };
      entry.wanted = wanted;
    }
  }

  /** The session is over, and its entries with it. */
  forget(session: bigint): void {
    const start = keyOf(session, "/");
    for (const [key] of [...this.#journal.entries()]) if (key.startsWith(start)) this.#journal.delete(key);
  }
}
