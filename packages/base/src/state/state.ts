/**
 * Where a part keeps what must outlive it: a directory of its own (0700) with a lock, journals, small documents, and an epoch
 * that grows at every opening, so that what one life of the process numbered is never confused with what the next one does.
 */
import { chmod, mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, systemClock } from "../clock.ts";
import { MeshError, messageOf } from "../errors.ts";
import { type Log, silentLog } from "../log.ts";
import { readDocument, writeDocument } from "./document.ts";
import { type Files, systemFiles } from "./files.ts";
import { type Journal, openJournal } from "./journal.ts";
import { takeLock } from "./lock.ts";

export interface StateDirectory extends AsyncDisposable {
  readonly path: string;
  /** `registry`, `sidecar`, … */
  readonly part: string;
  /** Larger by 1 than at the opening before, and on disk; the first is 1. */
  readonly epoch: number;
  /** Opens the journal `name` (a file `name.journal`); closing the directory closes it. Each can be open once at a time. */
  journal(name: string): Promise<Journal>;
  /** What `writeDocument` wrote last, or undefined. The caller parses it as it parses anything foreign. */
  readDocument(name: string): Promise<unknown>;
  /** Replaces the JSON document `name` (a file `name.document`) in one step; on disk when it resolves. */
  writeDocument(name: string, value: unknown): Promise<void>;
  /** Closes the journals, then gives the lock back. A second call does nothing. */
  close(): Promise<void>;
}

export interface StateOptions {
  readonly path: string;
  readonly part: string;
  readonly clock?: Clock;
  readonly log?: Log;
  readonly files?: Files;
}

const epochDocument = "epoch";

/** Opens the directory at `path`, making it when there is none; throws `state.locked` while another process has it. */
export async function openState(options: StateOptions): Promise<StateDirectory> {
  const { path, part, clock = systemClock, files = systemFiles } = options;
  await makePrivate(path, options.log ?? silentLog);
  const lock = await takeLock(path, clock);
  try {
    const epoch = await nextEpoch(files, path, part);
    return new OpenState(options, epoch, () => lock.release());
  } catch (error) {
    await lock.release();
    throw error;
  }
}

class OpenState implements StateDirectory {
  readonly path: string;
  readonly part: string;
  readonly epoch: number;
  readonly #options: StateOptions;
  readonly #release: () => Promise<void>;
  readonly #journals = new Map<string, Promise<Journal>>();
  /** Documents are written one after the other, so that two writes of one name cannot mix. */
  #writing: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(options: StateOptions, epoch: number, release: () => Promise<void>) {
    this.path = options.path;
    this.part = options.part;
    this.epoch = epoch;
    this.#options = options;
    this.#release = release;
  }

  journal(name: string): Promise<Journal> {
    this.#check(name);
    if (this.#journals.has(name)) {
      throw new MeshError("state.in-use", `the journal ${name} of ${this.path} is open already`, { name });
    }
    const { clock = systemClock, log = silentLog, files = systemFiles } = this.#options;
    const opening = openJournal({ path: join(this.path, `${name}.journal`), clock, log, files });
    this.#journals.set(name, opening);
    opening.catch(() => this.#journals.delete(name)); // the caller has the error
    return opening;
  }

  async readDocument(name: string): Promise<unknown> {
    this.#check(name);
    return readDocument(this.#options.files ?? systemFiles, documentPath(this.path, name));
  }

  writeDocument(name: string, value: unknown): Promise<void> {
    this.#check(name);
    const write = (): Promise<void> =>
      writeDocument(this.#options.files ?? systemFiles, documentPath(this.path, name), value);
    const written = this.#writing.then(write);
    this.#writing = written.catch(() => {}); // the caller has the error, and the next write goes on
    return written;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const ends = await Promise.allSettled(
      [...this.#journals.values()].map(async (opening) => (await opening)[Symbol.asyncDispose]()),
    );
    await this.#writing;
    await this.#release();
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  #check(name: string): void {
    if (this.#closed !== undefined) {
      throw new MeshError("state.closed", `the state directory ${this.path} is closed`, { path: this.path });
    }
    if (name === epochDocument || !/^[a-z][a-z0-9-]{0,63}$/.test(name)) {
      throw new MeshError(
        "state.bad-name",
        `a name in the state directory is of a-z, 0-9 and -, and not ${epochDocument}`,
        { name },
      );
    }
  }
}

async function makePrivate(path: string, log: Log): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const { mode } = await stat(path);
    if ((mode & 0o077) === 0) return;
    const names = await readdir(path);
    if (names.length > 0 && !names.includes(`${epochDocument}.document`)) {
      throw new Error("it holds files of others and is open to other users");
    }
    await chmod(path, 0o700);
    log.warn({ path, mode: (mode & 0o777).toString(8) }, "the state directory was open to others and is 0700 now");
  } catch (error) {
    throw new MeshError(
      "state.open-failed",
      `cannot use ${path} as state directory: ${messageOf(error)}; give a directory of its own that this user may write with --state`,
      { path },
      { cause: error },
    );
  }
}

async function nextEpoch(files: Files, path: string, part: string): Promise<number> {
  const file = documentPath(path, epochDocument);
  const known = await readDocument(files, file);
  let epoch = 1;
  if (known !== undefined) {
    const last = known as { readonly part?: unknown; readonly epoch?: unknown } | null;
    if (typeof last?.epoch !== "number" || !Number.isSafeInteger(last.epoch) || last.epoch < 1) {
      throw new MeshError("state.damaged", `${file} holds no epoch: restore it from a backup`, { path: file });
    }
    if (last.part !== part) {
      throw new MeshError(
        "state.other-part",
        `${path} belongs to a ${String(last.part)}, not to a ${part}: give each part a directory of its own with --state`,
        { path, part: last.part },
      );
    }
    epoch = last.epoch + 1;
  }
  await writeDocument(files, file, { part, epoch });
  return epoch;
}

function documentPath(path: string, name: string): string {
  return join(path, `${name}.document`);
}
