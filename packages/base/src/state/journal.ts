/**
 * A keyed map that survives: changes go to an append file, which is rewritten as a snapshot when it has grown.
 * The registry's sessions, the doors' sessions and the sidecar's port tables are kept in journals.
 */
import { type Clock, systemClock, type Timer } from "../clock.ts";
import { MeshError, messageOf } from "../errors.ts";
import { type Log, silentLog } from "../log.ts";
import { type Files, type StateFile, systemFiles } from "./files.ts";
import { checkHeader, fileHeader, headerSize, maxPayloadSize, payloadAt, record, recordHeadSize } from "./format.ts";

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

export interface JournalOptions {
  readonly path: string;
  readonly clock?: Clock;
  readonly log?: Log;
  /** How long changes are gathered before they are written together. */
  readonly flushEveryMs?: number;
  /** The file is rewritten when it is larger than this and than four times what is live. */
  readonly compactAtBytes?: number;
  readonly files?: Files;
}

/** How long after a refused batch the next one is tried when nothing new asks for it. */
const retryAfterMs = 1_000;
/** Deletes that wait for a refusing disk; beyond, the file is rewritten whole instead, since a snapshot needs no deletes. */
const maxWaitingDeletes = 10_000;
const chunkSize = 256 * 1024;
const maxKeySize = 65_535;

/** Opens the journal at `path`, making it when there is none. What follows the last whole record is cut off, with a warning. */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const { path, files = systemFiles, log = silentLog } = options;
  try {
    const bytes = await files.read(path);
    const live = new Map<string, Buffer>();
    if (bytes === undefined || bytes.length < headerSize) {
      if (bytes !== undefined) checkHeader(bytes, "journal", path);
      const { file, size } = await writeSnapshot(files, path, []);
      await files.syncDirectory(path);
      return new AppendJournal(options, live, file, size);
    }
    checkHeader(bytes, "journal", path);
    const end = replay(bytes, live);
    const file = await files.open(path, "existing");
    if (end < bytes.length) {
      log.warn({ path, kept: end, cutOff: bytes.length - end }, "a journal ended in a torn record, which was cut off");
      await file.truncate(end);
      await file.sync();
    }
    return new AppendJournal(options, live, file, end);
  } catch (error) {
    if (error instanceof MeshError) throw error;
    throw new MeshError(
      "state.open-failed",
      `cannot open ${path}: ${messageOf(error)}; see that the directory exists, is writable and has space`,
      { path },
      { cause: error },
    );
  }
}

interface Batch {
  /** The number of the last change in it. */
  readonly upTo: number;
  readonly settled: PromiseWithResolvers<void>;
}

class AppendJournal implements Journal {
  readonly #path: string;
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #flushEveryMs: number;
  readonly #compactAtBytes: number;
  readonly #live: Map<string, Buffer>;
  /** The newest change of each key that is not on disk; undefined is a delete. */
  #pending = new Map<string, Buffer | undefined>();
  #file: StateFile;
  #size: number;
  #liveBytes = headerSize;
  /** Bytes of a refused batch may lie behind `#size`. */
  #torn = false;
  /** What the file holds is not certain (a sync failed), or too much waits: the next batch is a snapshot. */
  #rewrite = false;
  /** After a failed compaction, the size at which the next is tried. */
  #compactNext = 0;
  #changes = 0;
  #durable = 0;
  /** Who waits for the next batch. */
  #waiting: PromiseWithResolvers<void> | undefined;
  #inFlight: Batch | undefined;
  #running: Promise<void> | undefined;
  #timer: Timer | undefined;
  #timerIsRetry = false;
  #failing = false;
  #closed: Promise<void> | undefined;

  constructor(options: JournalOptions, live: Map<string, Buffer>, file: StateFile, size: number) {
    this.#path = options.path;
    this.#files = options.files ?? systemFiles;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#flushEveryMs = options.flushEveryMs ?? 5;
    this.#compactAtBytes = options.compactAtBytes ?? 1024 * 1024;
    this.#live = live;
    this.#file = file;
    this.#size = size;
    for (const [key, value] of live) this.#liveBytes += recordSize(key, value);
  }

  entries(): IterableIterator<[string, Buffer]> {
    return this.#live.entries();
  }

  get(key: string): Buffer | undefined {
    return this.#live.get(key);
  }

  put(key: string, value: Uint8Array | string): void {
    const copy = Buffer.from(value as Uint8Array);
    const keySize = Buffer.byteLength(key);
    if (keySize > maxKeySize || 3 + keySize + copy.length > maxPayloadSize) {
      throw new MeshError("state.too-large", "a key is at most 65,535 bytes, and a key with its value 16 MiB", {
        path: this.#path,
        size: copy.length,
      });
    }
    this.#forget(key);
    this.#live.set(key, copy);
    this.#liveBytes += recordSize(key, copy);
    this.#change(key, copy);
  }

  delete(key: string): void {
    if (!this.#live.has(key)) return;
    this.#forget(key);
    this.#live.delete(key);
    this.#change(key, undefined);
  }

  flushed(): Promise<void> {
    if (this.#durable === this.#changes) return Promise.resolve();
    if (this.#inFlight?.upTo === this.#changes) return this.#inFlight.settled.promise;
    this.#waiting ??= unheard();
    this.#schedule(this.#flushEveryMs);
    return this.#waiting.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#timer?.cancel();
    try {
      await this.#running;
      const last = this.flushed();
      if (this.#durable !== this.#changes) await this.#writeBatch();
      await last;
    } finally {
      await this.#file.close();
    }
  }

  #forget(key: string): void {
    const old = this.#live.get(key);
    if (old !== undefined) this.#liveBytes -= recordSize(key, old);
  }

  #change(key: string, value: Buffer | undefined): void {
    if (this.#closed !== undefined) {
      throw new MeshError("state.closed", "the journal is closed: end what writes to it first", { path: this.#path });
    }
    this.#changes++;
    this.#pending.set(key, value);
    if (this.#pending.size > this.#live.size + maxWaitingDeletes) {
      this.#pending.clear();
      this.#rewrite = true;
    }
    this.#schedule(this.#failing ? retryAfterMs : this.#flushEveryMs);
  }

  /** Sees that a batch is written after `delayMs` at the latest. While the disk refuses, only who waits brings the retry forward. */
  #schedule(delayMs: number): void {
    if (this.#running !== undefined || this.#closed !== undefined) return;
    const isRetry = delayMs === retryAfterMs;
    if (this.#timer !== undefined) {
      if (!this.#timerIsRetry || isRetry) return;
      this.#timer.cancel();
    }
    this.#timerIsRetry = isRetry;
    this.#timer = this.#clock.after(delayMs, () => this.#start(), !isRetry);
  }

  #start(): void {
    this.#timer = undefined;
    this.#running = this.#writeBatch().then(() => {
      this.#running = undefined;
      if (this.#durable === this.#changes) return;
      this.#schedule(this.#failing && this.#waiting === undefined ? retryAfterMs : this.#flushEveryMs);
    });
  }

  /** Never rejects: who waits is told, and the log is told when the disk begins to refuse and when it takes writes again. */
  async #writeBatch(): Promise<void> {
    const batch: Batch = { upTo: this.#changes, settled: this.#waiting ?? unheard() };
    const changes = this.#pending;
    this.#waiting = undefined;
    this.#pending = new Map();
    this.#inFlight = batch;
    try {
      if (this.#rewrite) await this.#compact();
      else await this.#append(changes);
      this.#durable = batch.upTo;
      if (this.#failing) this.#log.info({ path: this.#path }, "a journal can be written again");
      this.#failing = false;
      batch.settled.resolve();
    } catch (error) {
      for (const [key, value] of this.#pending) changes.set(key, value);
      this.#pending = changes;
      this.#refused(error, batch);
    }
    this.#inFlight = undefined;
    if (!this.#failing) await this.#compactWhenGrown();
  }

  #refused(error: unknown, batch: Batch): void {
    if (!this.#failing) {
      const text = "a journal cannot be written; changes are kept in memory and tried again";
      this.#log.error({ path: this.#path, error: messageOf(error) }, text);
    }
    this.#failing = true;
    batch.settled.reject(
      new MeshError(
        "state.write-failed",
        `cannot write ${this.#path}: ${messageOf(error)}; make room on the disk or make it writable`,
        { path: this.#path },
        { cause: error },
      ),
    );
  }

  async #compactWhenGrown(): Promise<void> {
    if (this.#size <= Math.max(this.#compactAtBytes, 4 * this.#liveBytes, this.#compactNext)) return;
    try {
      await this.#compact();
    } catch (error) {
      this.#compactNext = this.#size * 2;
      const text = "a journal could not be rewritten and goes on growing";
      this.#log.warn({ path: this.#path, error: messageOf(error) }, text);
    }
  }

  async #append(batch: Map<string, Buffer | undefined>): Promise<void> {
    if (this.#torn) {
      await this.#file.truncate(this.#size);
      this.#torn = false;
    }
    let at = this.#size;
    this.#torn = true;
    for (const chunk of chunks(batch)) {
      await this.#file.write(chunk, at);
      at += chunk.length;
    }
    try {
      await this.#file.sync();
    } catch (error) {
      // After a failed sync the system may count the pages as written: only a new file is certain.
      this.#rewrite = true;
      throw error;
    }
    this.#torn = false;
    this.#size = at;
  }

  /** Writes what is live to a new file. A change made meanwhile is in the next batch too, where it does no harm. */
  async #compact(): Promise<void> {
    const needed = this.#rewrite;
    this.#rewrite = false; // before the first wait, since a change made meanwhile may ask for it again
    try {
      const { file, size } = await writeSnapshot(this.#files, this.#path, [...this.#live]);
      const old = this.#file;
      this.#file = file;
      this.#size = size;
      this.#torn = false;
      this.#compactNext = 0;
      await old.close();
    } catch (error) {
      this.#rewrite ||= needed;
      throw error;
    }
    try {
      await this.#files.syncDirectory(this.#path);
    } catch (error) {
      this.#rewrite = true; // after a power cut the old file might be back in place
      throw error;
    }
  }
}

function unheard(): PromiseWithResolvers<void> {
  const deferred = Promise.withResolvers<void>();
  deferred.promise.catch(() => {}); // whoever waits hears of it; that nobody waits is no error, and the log has it
  return deferred;
}

/** Puts a new file with what is `live` at `path`; the caller then syncs the directory. When it fails, the old file is as it was. */
async function writeSnapshot(
  files: Files,
  path: string,
  live: Iterable<[string, Buffer]>,
): Promise<{ file: StateFile; size: number }> {
  const fresh = `${path}.new`;
  const file = await files.open(fresh, "new");
  try {
    await file.write(fileHeader("journal"), 0);
    let size = headerSize;
    for (const chunk of chunks(live)) {
      await file.write(chunk, size);
      size += chunk.length;
    }
    await file.sync();
    await files.rename(fresh, path);
    return { file, size };
  } catch (error) {
    await file.close();
    await files.remove(fresh);
    throw error;
  }
}

/** Encodes changes into pieces of about `chunkSize`, so that a large batch is never twice in memory. */
function* chunks(changes: Iterable<[string, Buffer | undefined]>): Generator<Buffer> {
  let parts: Buffer[] = [];
  let size = 0;
  for (const [key, value] of changes) {
    const part = record(payloadOf(key, value));
    parts.push(part);
    size += part.length;
    if (size < chunkSize) continue;
    yield Buffer.concat(parts, size);
    parts = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(parts, size);
}

function payloadOf(key: string, value: Buffer | undefined): Buffer {
  const name = Buffer.from(key);
  const head = Buffer.alloc(3);
  head.writeUInt8(value === undefined ? 2 : 1, 0);
  head.writeUInt16BE(name.length, 1);
  return Buffer.concat(value === undefined ? [head, name] : [head, name, value]);
}

function recordSize(key: string, value: Buffer): number {
  return recordHeadSize + 3 + Buffer.byteLength(key) + value.length;
}

/** Applies the records of `bytes` to `live`; returns where the last whole and right one ends. */
function replay(bytes: Buffer, live: Map<string, Buffer>): number {
  let offset = headerSize;
  for (;;) {
    const payload = payloadAt(bytes, offset);
    if (payload === undefined || payload.length < 3) return offset;
    const operation = payload.readUInt8(0);
    const valueAt = 3 + payload.readUInt16BE(1);
    if (valueAt > payload.length || (operation !== 1 && operation !== 2)) return offset;
    const key = payload.toString("utf8", 3, valueAt);
    if (operation === 1) live.set(key, Buffer.from(payload.subarray(valueAt)));
    else live.delete(key);
    offset += recordHeadSize + payload.length;
  }
}
