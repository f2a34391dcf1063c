/** A file system in memory for tests: it can be full, tear writes, refuse to sync, and it can lose power. */
import type { Files, StateFile } from "./files.ts";

export class MemoryFiles implements Files {
  readonly contents = new Map<string, Buffer>();
  /** Bytes that all files together may still take; a write that does not fit is done in part and refused. */
  free = Number.POSITIVE_INFINITY;
  refuseSync = false;
  refuseRename = false;
  refuseDirectorySync = false;
  syncs = 0;
  #open = 0;

  /** Handles that nobody closed. */
  get openFiles(): number {
    return this.#open;
  }

  async read(path: string): Promise<Buffer | undefined> {
    const bytes = this.contents.get(path);
    return bytes === undefined ? undefined : Buffer.from(bytes);
  }

  async open(path: string, how: "new" | "existing"): Promise<StateFile> {
    if (how === "new") this.contents.set(path, Buffer.alloc(0));
    const opened = this.contents.get(path);
    if (opened === undefined) throw new Error(`ENOENT: ${path}`);
    this.#open++;
    let bytes = opened;
    // As with a real descriptor, the file is followed when it is renamed, and goes on without a name when it is replaced.
    const store = (next: Buffer): void => {
      for (const [name, held] of this.contents) if (held === bytes) this.contents.set(name, next);
      bytes = next;
    };
    return {
      write: async (piece, position) => {
        const growth = Math.max(0, position + piece.length - bytes.length);
        const fits = growth <= this.free ? piece.length : Math.max(0, piece.length - (growth - this.free));
        const next = Buffer.alloc(Math.max(bytes.length, position + fits));
        bytes.copy(next);
        next.set(piece.subarray(0, fits), position);
        this.free -= Math.max(0, next.length - bytes.length);
        store(next);
        if (fits < piece.length) throw new Error("ENOSPC: no space left on device");
      },
      sync: async () => {
        this.syncs++;
        if (this.refuseSync) throw new Error("EIO: i/o error");
      },
      truncate: async (size) => {
        this.free += bytes.length - size;
        store(Buffer.from(bytes.subarray(0, size)));
      },
      close: async () => {
        this.#open--;
      },
    };
  }

  async rename(from: string, to: string): Promise<void> {
    if (this.refuseRename) throw new Error("EROFS: read-only file system");
    const bytes = this.contents.get(from);
    if (bytes === undefined) throw new Error(`ENOENT: ${from}`);
    this.free += this.contents.get(to)?.length ?? 0;
    this.contents.set(to, bytes);
    this.contents.delete(from);
  }

  async syncDirectory(): Promise<void> {
    if (this.refuseDirectorySync) throw new Error("EIO: i/o error");
  }

  async remove(path: string): Promise<void> {
    this.free += this.contents.get(path)?.length ?? 0;
    this.contents.delete(path);
  }
}
