/**
 * A keyed map that survives: changes go to an append file, which is rewritten as a snapshot when it has grown.
 * The registry's sessions, the doors' sessions and the sidecar's port tables are kept in journals.
 */
export interface Journal extends AsyncDisposable {
  /** What is live now: at opening, what the file held. Values must not be modified. */
  entries(): IterableIterator<[string, Buffer]>;
  get(key: string): Buffer | undefined;
  /** In force in memory at once; on disk with the next batch. */
  put(key: string, value: Uint8Array | string): void;
  delete(key: string): void;
  /**
   * Resolves when everything put or deleted before the call is on disk. Rejects with `state.write-failed` while the disk refuses
   * (full, read-only); what was refused is kept in memory and tried again with the next batch.
   */
  flushed(): Promise<void>;
}
