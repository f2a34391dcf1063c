/**
 * A directory in memory, shared by several doors of one process: for tests of doors, and as the simplest example of the contract.
 * Every answer comes in a later turn. `answering = false` keeps watchers waiting, as a source out of reach does.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { CatalogueEntry, Directory, Publication, PublishOptions, Watch } from "@dualmesh/model/directory";
import { type Instance, instanceKeyText } from "@dualmesh/model/instance";
import { servicePattern } from "@dualmesh/model/service";

type InstanceListener = Parameters<Directory["watch"]>[1];
type CatalogueListener = Parameters<Directory["watchCatalogue"]>[1];

interface Entry {
  instance: Instance;
  readonly owner: object;
  readonly onSuperseded: (() => void) | undefined;
}

interface Listening {
  readonly tell: () => void;
  readonly concerns: (service: string) => boolean;
  due: boolean;
}

export interface MemoryDirectoryOptions {
  readonly clock: Clock;
  /** What a watcher is given in place of an instance; `undefined` leaves it out. A sidecar puts its own address here. */
  readonly translate?: (instance: Instance) => Instance | undefined;
  /** What is given for a service that is watched although nobody provides it. */
  readonly standIn?: (service: string) => Instance | undefined;
}

export class MemoryDirectory implements Directory {
  readonly #clock: Clock;
  readonly #options: MemoryDirectoryOptions;
  readonly #entries: Map<string, Entry>;
  readonly #everyone: Set<Listening>;
  #answering = true;

  constructor(options: MemoryDirectoryOptions, shared?: MemoryDirectory) {
    this.#clock = options.clock;
    this.#options = options;
    this.#entries = shared === undefined ? new Map() : shared.#entries;
    this.#everyone = shared === undefined ? new Set() : shared.#everyone;
  }

  /** The same instances, seen in another way: what a sidecar's directory is to the registry's. */
  view(options: Omit<MemoryDirectoryOptions, "clock">): MemoryDirectory {
    return new MemoryDirectory({ ...options, clock: this.#clock }, this);
  }

  get answering(): boolean {
    return this.#answering;
  }

  set answering(answering: boolean) {
    this.#answering = answering;
    if (answering) for (const listening of this.#everyone) this.#schedule(listening);
  }

  /** Everything published, untranslated. */
  instances(): readonly Instance[] {
    return [...this.#entries.values()].map((entry) => entry.instance);
  }

  async publish(
    first: Instance,
    options: PublishOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<Publication> {
    options.signal?.throwIfAborted();
    const key = instanceKeyText(first);
    const owner = {};
    const former = this.#entries.get(key);
    const put = (instance: Instance): void => {
      this.#entries.set(key, { instance, owner, onSuperseded: options.onSuperseded });
      this.#changed(instance.service);
    };
    put(first);
    options.onAccepted?.();
    former?.onSuperseded?.();
    return {
      update: async (instance) => {
        if (this.#entries.get(key)?.owner === owner) put(instance);
      },
      withdraw: async () => {
        if (this.#entries.get(key)?.owner !== owner) return;
        this.#entries.delete(key);
        this.#changed(first.service);
      },
    };
  }

  watch(service: string, listener: InstanceListener): Watch {
    return this.#listen(
      (changed) => changed === service,
      () => listener({ service, instances: this.#instancesOf(service), freshSince: this.#clock.wall() }),
    );
  }

  watchCatalogue(pattern: string, listener: CatalogueListener): Watch {
    const matches = servicePattern(pattern);
    return this.#listen(matches, () => listener(this.#catalogue(matches)));
  }

  #instancesOf(service: string): readonly Instance[] {
    const { translate = (instance: Instance) => instance, standIn } = this.#options;
    const own = this.instances().filter((instance) => instance.service === service);
    const seen = own.map(translate).filter((instance) => instance !== undefined);
    const distinct = new Map(seen.map((instance) => [instanceKeyText(instance), instance]));
    if (distinct.size > 0) return [...distinct.values()];
    const placeholder = standIn?.(service);
    return placeholder === undefined ? [] : [placeholder];
  }

  #catalogue(matches: (service: string) => boolean): readonly CatalogueEntry[] {
    const applications = new Map<string, Set<string>>();
    for (const { service, application } of this.instances()) {
      if (!matches(service)) continue;
      const known = applications.get(service);
      if (known === undefined) applications.set(service, new Set([application]));
      else known.add(application);
    }
    return [...applications].map(([service, names]) => ({ service, applications: [...names].sort() }));
  }

  #listen(concerns: (service: string) => boolean, tell: () => void): Watch {
    let open = true;
    const listening: Listening = {
      concerns,
      due: false,
      tell: () => {
        if (open && this.#answering) tell();
      },
    };
    this.#everyone.add(listening);
    this.#schedule(listening);
    return {
      close: () => {
        open = false;
        this.#everyone.delete(listening);
      },
    };
  }

  #changed(service: string): void {
    for (const listening of this.#everyone) if (listening.concerns(service)) this.#schedule(listening);
  }

  #schedule(listening: Listening): void {
    if (listening.due) return;
    listening.due = true;
    queueMicrotask(() => {
      listening.due = false;
      listening.tell();
    });
  }
}
