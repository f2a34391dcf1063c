/**
 * The directory that doors at the registry use: the store itself, with real addresses. What a door publishes belongs to a session of
 * its own without a connection; the door's own sessions decide how long it lives.
 */
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type {
  CatalogueEntry,
  Directory,
  InstanceSet,
  Publication,
  PublishOptions,
  Watch,
} from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { parseServiceText } from "@dualmesh/model/service";
import { zeroRevision } from "@dualmesh/wire/stream/messages";
import type { Revision } from "@dualmesh/wire/stream/payload";
import { decodeInstance, encodeInstance, encodeInstanceKey } from "@dualmesh/wire/stream/record";
import { type Instances, leaseText } from "./instance.ts";
import type { RegistryJournal } from "./persist.ts";
import type { Pusher, Subscriber } from "./push.ts";
import type { FeedName, InstanceRow, Store } from "./store.ts";

export interface LocalDirectoryOptions {
  readonly store: Store;
  readonly instances: Instances;
  readonly journal: RegistryJournal;
  readonly pusher: Pusher;
  readonly clock: Clock;
  /** The session that owns what is published here. */
  readonly session: Revision;
}

export class LocalDirectory implements Directory {
  readonly #options: LocalDirectoryOptions;
  readonly #publications = new Map<string, LocalPublication>();
  /** Decoded rows, so that an unchanged instance stays the same object. */
  readonly #decoded = new WeakMap<InstanceRow, Instance>();

  constructor(options: LocalDirectoryOptions) {
    this.#options = options;
  }

  async publish(
    instance: Instance,
    options: PublishOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<Publication> {
    options.signal?.throwIfAborted();
    const lease = leaseText(instance.service, encodeInstanceKey(instance).toString("latin1"));
    const publication = new LocalPublication(lease, options.onSuperseded);
    this.#register(publication, instance, true);
    this.#end(this.#publications.get(lease));
    this.#publications.set(lease, publication);
    options.onAccepted?.();
    return {
      update: async (next, updateOptions) => {
        if (updateOptions?.onSuperseded !== undefined) publication.onSuperseded = updateOptions.onSuperseded;
        if (publication.over) throw new MeshError("registry.superseded", `${next.service} has another owner now`);
        this.#register(publication, next, false);
      },
      withdraw: () => this.#withdraw(publication),
    };
  }

  watch(service: string, listener: (set: InstanceSet) => void): Watch {
    const { store, clock } = this.#options;
    return this.#watch({ kind: "service", name: service }, () => {
      const instances = [...store.rowsOf(service)].map((row) => this.#decode(row));
      listener({
        service,
        instances,
        // The store is the source: what was handed out last is right until the next call.
        get freshSince() {
          return clock.wall();
        },
      });
    });
  }

  watchCatalogue(pattern: string, listener: (entries: readonly CatalogueEntry[]) => void): Watch {
    return this.#watch({ kind: "catalogue", name: pattern }, () => {
      const rows = [...this.#options.store.services(pattern)];
      listener(rows.map(({ service, applications }) => ({ service, applications })));
    });
  }

  /** Another owner registered a key that was published here. */
  superseded(row: InstanceRow): void {
    const lease = leaseText(row.service, row.key);
    const publication = this.#publications.get(lease);
    this.#publications.delete(lease);
    this.#end(publication);
  }

  /** The publication has a successor, here or elsewhere. */
  #end(publication: LocalPublication | undefined): void {
    if (publication === undefined) return;
    publication.over = true;
    publication.onSuperseded?.();
  }

  #register(publication: LocalPublication, instance: Instance, claim: boolean): void {
    if (parseServiceText(instance.service) === undefined)
      throw new MeshError("registry.refused", `not a canonical service: ${instance.service}`);
    const record = encodeInstance(instance);
    const { session, instances } = this.#options;
    const held = zeroRevision;
    const outcome = instances.register({ session, service: instance.service, record, claim, held, forDoor: true });
    if (outcome.kind === "limit") throw new MeshError("registry.limit", outcome.text);
    if (outcome.kind === "superseded")
      throw new MeshError("registry.superseded", `${instance.service} has another owner now`);
    publication.row = outcome.row;
  }

  async #withdraw(publication: LocalPublication): Promise<void> {
    const { row } = publication;
    if (publication.over || row === undefined || this.#publications.get(publication.lease) !== publication) return;
    publication.over = true;
    this.#publications.delete(publication.lease);
    const { instances, session, journal } = this.#options;
    instances.deregister(session, row.incarnation, row.service, row.key);
    // A door answers only what cannot come back after a crash.
    await journal.flushed();
  }

  #watch(feed: FeedName, tell: () => void): Watch {
    const { pusher, clock } = this.#options;
    let open = true;
    let scheduled = false;
    const run = (): void => {
      if (scheduled) return;
      scheduled = true;
      clock.after(0, () => {
        scheduled = false;
        if (open) tell();
      });
    };
    const subscriber: Subscriber = { changed: run };
    pusher.subscribe(feed, subscriber);
    run(); // never synchronously
    return {
      close() {
        if (!open) return;
        open = false;
        pusher.unsubscribe(feed, subscriber);
      },
    };
  }

  #decode(row: InstanceRow): Instance {
    let instance = this.#decoded.get(row);
    if (instance === undefined) {
      instance = decodeInstance(row.service, row.record);
      this.#decoded.set(row, instance);
    }
    return instance;
  }
}

class LocalPublication {
  readonly lease: string;
  onSuperseded: (() => void) | undefined;
  row: InstanceRow | undefined;
  over = false;

  constructor(lease: string, onSuperseded: (() => void) | undefined) {
    this.lease = lease;
    this.onSuperseded = onSuperseded;
  }
}
