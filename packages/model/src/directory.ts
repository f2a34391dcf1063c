/**
 * All that a door or a sidecar knows of where instances come from and go to. The dualmesh registry, an existing ZooKeeper and xDS
 * implement it; nothing here speaks of leases, digests or revisions.
 */
import type { Instance } from "./instance.ts";

export interface InstanceSet {
  readonly service: string;
  /** The whole, newest set, in no order. */
  readonly instances: readonly Instance[];
  /** Wall time in milliseconds up to which the set was last proven to be right; 0 when the source has not answered yet. */
  readonly freshSince: number;
}

export interface CatalogueEntry {
  readonly service: string;
  /** The applications that provide it, sorted. */
  readonly applications: readonly string[];
}

export interface Publication {
  /** Replaces what is published (same key). Resolves when it is in force. */
  update(instance: Instance, options?: PublishOptions): Promise<void>;
  /** Takes it back in order. Resolves when that is in force; a second call does nothing. */
  withdraw(): Promise<void>;
}

export interface PublishOptions {
  /**
   * Leave what is published under this key where it is and show the new address beside it, until the next `update` without
   * `alongside`. A directory whose instances carry a key of their own needs no such step and takes the new address at once.
   */
  readonly alongside?: boolean;
  /**
   * Called once when the directory has taken the instance on: from then on it is kept and tried until it is in force, whether the source
   * can be reached or not. What can be refused without the source (a limit, an address that cannot be used) is refused before.
   */
  readonly onAccepted?: () => void;
  /** Called when another owner registered the same key later: this publication is over and must not be made again by itself. */
  readonly onSuperseded?: () => void;
}

export interface Watch {
  close(): void;
}

export interface Directory {
  /**
   * Resolves when the instance is in force at the source; while the source is out of reach it is kept and tried again, and the
   * promise stays pending. `signal` gives it up: the instance is then withdrawn as well.
   */
  publish(instance: Instance, options?: PublishOptions & { readonly signal?: AbortSignal }): Promise<Publication>;
  /** Calls `listener` with whole sets, first as soon as the source (or the state kept on disk) has answered. Never synchronously. */
  watch(service: string, listener: (set: InstanceSet) => void): Watch;
  /** Calls `listener` with the whole list of services whose canonical text matches `pattern` (`servicePattern`). */
  watchCatalogue(pattern: string, listener: (entries: readonly CatalogueEntry[]) => void): Watch;
}
