/**
 * The way of an instance, from top to bottom: it is registered by a session, which then owns its key; the session's lease keeps it;
 * each change makes a revision in the store; the push side turns revisions into deltas for the subscribers; and it ends when its
 * owner takes it back, when the lease ends, or when another owner registers the same key. Where callers connect (its endpoint) is
 * an attribute of the instance, so that a move between modes is a change and never a removal.
 */
import type { RemovalReason } from "@dualmesh/wire/stream/messages";
import { compareRevisions, revisionText } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import { decodeInstance, instanceKeyOf } from "@dualmesh/wire/stream/record";
import type { RegistryJournal } from "./persist.ts";
import type { InstanceRow, Store } from "./store.ts";

export interface Registration {
  readonly session: Revision;
  readonly service: string;
  /** Canonical bytes; copied here. */
  readonly record: Buffer;
  /** Take the key whoever owns it. */
  readonly claim: boolean;
  /** The stamp under which this publisher last held the key, or zero. */
  readonly held: Revision;
  /** It comes from a session of a door, of which all share one here: the door bounds each of its own. */
  readonly forDoor?: boolean;
}

export type RegisterOutcome =
  | { readonly kind: "accepted"; readonly row: InstanceRow; readonly revision: Revision }
  | { readonly kind: "superseded"; readonly owner: InstanceRow }
  | { readonly kind: "limit"; readonly text: string };

export interface InstanceLimits {
  readonly sessionInstances: number;
  readonly instances: number;
  readonly services: number;
}

export interface InstancesOptions {
  readonly store: Store;
  readonly journal: RegistryJournal;
  readonly epoch: number;
  readonly limits: InstanceLimits;
}

export class Instances {
  readonly #options: InstancesOptions;
  readonly #store: Store;
  /** What each session owns, by session text, then service and key. */
  readonly #leases = new Map<string, Map<string, InstanceRow>>();
  #stamps = 0;
  /** Tells a former owner that it lost a key to a later register. Set once there are owners who can be told. */
  onSuperseded: (former: InstanceRow, owner: InstanceRow) => void = () => {};
  /** Since the start, for the metrics page. */
  readonly counts = {
    registered: 0,
    unchanged: 0,
    superseded: 0,
    withdrawn: 0,
    expired: 0,
    lateDeletes: 0,
    refused: 0,
  };

  constructor(options: InstancesOptions) {
    this.#options = options;
    this.#store = options.store;
  }

  /** 0. After a restart: what was on disk is there before anybody can ask, owned by the sessions that owned it. */
  load(rows: Iterable<InstanceRow>): void {
    for (const row of rows) {
      this.#store.put(row);
      this.#lease(row);
    }
  }

  /** 1. A session registers. The last register that is accepted owns the key; the former owner is told. */
  register(registration: Registration): RegisterOutcome {
    const { session, service } = registration;
    const key = instanceKeyOf(registration.record).toString("latin1");
    const before = this.#store.get(service, key);
    const same = before !== undefined && compareRevisions(before.session, session) === 0;
    if (before !== undefined && !same && !mayTake(before, registration)) {
      this.counts.superseded++;
      return { kind: "superseded", owner: before };
    }
    const refusal = before === undefined || !same ? this.#beyondLimit(registration, before) : undefined;
    if (refusal !== undefined) {
      this.counts.refused++;
      return { kind: "limit", text: refusal };
    }
    if (same && before.record.equals(registration.record)) {
      this.counts.unchanged++;
      return { kind: "accepted", row: before, revision: this.#store.put(before) };
    }
    return this.#accept(registration, key, before, same);
  }

  #accept(
    registration: Registration,
    key: string,
    before: InstanceRow | undefined,
    same: boolean,
  ): RegisterOutcome & { kind: "accepted" } {
    const { session, service } = registration;
    // The frame's bytes are reused after this call; an equal record keeps the bytes that are there.
    const equal = before?.record.equals(registration.record) ?? false;
    const record = equal ? (before as InstanceRow).record : Buffer.from(registration.record);
    const { incarnation } = decodeInstance(service, record);
    const stamp = same ? (before as InstanceRow).stamp : { epoch: this.#options.epoch, counter: ++this.#stamps };
    const row: InstanceRow = { service, key, record, incarnation, session, stamp };
    if (before !== undefined) this.#unlease(before);
    // 2. The lease: the instance lives as long as the session that owns it (session.ts).
    this.#lease(row);
    // 3. The revision: the store gives one if the value differs. 4. Delta and 5. push follow from it (feed.ts, push.ts).
    const revision = this.#store.put(row);
    this.#options.journal.putRow(row);
    this.counts.registered++;
    if (before !== undefined && !same) this.onSuperseded(before, row);
    return { kind: "accepted", row, revision };
  }

  /**
   * 6. The end in order. Only what this session registered as this incarnation goes: a late delete touches neither a successor at
   * the same key nor what another session owns.
   */
  deregister(session: Revision, incarnation: number, service: string, key: string): boolean {
    const row = this.#store.get(service, key);
    if (row === undefined || compareRevisions(row.session, session) !== 0 || row.incarnation !== incarnation) {
      this.counts.lateDeletes++;
      return false;
    }
    this.#remove(row, "withdrawn");
    return true;
  }

  /** 7. The end of a lease: the session said goodbye (`withdrawn`) or did not come back in time (`expired`). */
  endSession(session: Revision, reason: RemovalReason): number {
    const rows = [...this.ownedBy(session)];
    for (const row of rows) this.#remove(row, reason);
    this.#leases.delete(revisionText(session));
    return rows.length;
  }

  /** Ends what the session owns but for `keep` (texts of `leaseText`): it has reported all that it publishes. */
  keepOnly(session: Revision, keep: ReadonlySet<string>): number {
    const rows = [...this.ownedBy(session)].filter((row) => !keep.has(leaseText(row.service, row.key)));
    for (const row of rows) this.#remove(row, "withdrawn");
    return rows.length;
  }

  ownedBy(session: Revision): Iterable<InstanceRow> {
    return this.#leases.get(revisionText(session))?.values() ?? [];
  }

  countOf(session: Revision): number {
    return this.#leases.get(revisionText(session))?.size ?? 0;
  }

  /** Sessions that own something, for what a restart left without a session. */
  owners(): Iterable<string> {
    return this.#leases.keys();
  }

  #remove(row: InstanceRow, reason: RemovalReason): void {
    this.#unlease(row);
    this.#store.remove(row.service, row.key, reason);
    this.#options.journal.deleteRow(row.service, row.key);
    this.counts[reason]++;
  }

  #lease(row: InstanceRow): void {
    const session = revisionText(row.session);
    let leases = this.#leases.get(session);
    if (leases === undefined) {
      leases = new Map();
      this.#leases.set(session, leases);
    }
    leases.set(leaseText(row.service, row.key), row);
  }

  #unlease(row: InstanceRow): void {
    const session = revisionText(row.session);
    const leases = this.#leases.get(session);
    leases?.delete(leaseText(row.service, row.key));
    if (leases?.size === 0) this.#leases.delete(session);
  }

  #beyondLimit({ session, service, forDoor }: Registration, before: InstanceRow | undefined): string | undefined {
    const { limits } = this.#options;
    if (forDoor !== true && this.countOf(session) >= limits.sessionInstances)
      return `a session may publish ${limits.sessionInstances} instances`;
    if (before !== undefined) return undefined;
    if (this.#store.instanceCount >= limits.instances)
      return `this registry holds at most ${limits.instances} instances`;
    const known = !this.#store.rowsOf(service)[Symbol.iterator]().next().done;
    if (!known && this.#store.serviceCount >= limits.services)
      return `this registry holds at most ${limits.services} services`;
    return undefined;
  }
}

/** A claim takes any key; a repeated register only a key that nobody was given since. */
function mayTake(owner: InstanceRow, { claim, held }: Registration): boolean {
  return claim || compareRevisions(owner.stamp, held) <= 0;
}

export function leaseText(service: string, key: string): string {
  return `${service}\0${key}`;
}
