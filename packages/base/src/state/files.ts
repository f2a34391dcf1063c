/**
 * The little that state needs of a file system, as an argument, so that tests can fill the disk, tear a write or refuse a sync.
 * Directory entries are synced after each rename: a file is there after a power cut only when its directory says so.
 */
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

export interface StateFile {
  /** Writes all of `bytes` at `position`; a short write is an error. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Contents on disk (fdatasync). */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export interface Files {
  /** The whole content, or undefined when there is no such file. */
  read(path: string): Promise<Buffer | undefined>;
  /** Opens for writing: a new, empty file with mode 0600 (replacing an old one), or an existing one as it is. */
  open(path: string, how: "new" | "existing"): Promise<StateFile>;
  /** Puts `from` in the place of `to`. */
  rename(from: string, to: string): Promise<void>;
  /** Makes the entries of the directory that `path` is in durable. */
  syncDirectory(path: string): Promise<void>;
  /** Removes a file if it is there. */
  remove(path: string): Promise<void>;
}

export const systemFiles: Files = {
  async read(path) {
    try {
      // Not what a link leads to, and no pipe that would be waited for: whoever reads may do so for somebody else's directory.
      await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      if (!(await file.stat()).isFile()) throw new Error(`${path} is no file`);
      return await file.readFile();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  },
  async open(path, how) {
    return stateFile(await open(path, how === "new" ? "w" : "r+", 0o600));
  },
  rename,
  async syncDirectory(path) {
    const directory = await open(dirname(path), "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
  remove: (path) => rm(path, { force: true }),
};

function stateFile(handle: FileHandle): StateFile {
  return {
    async write(bytes, position) {
      let written = 0;
      while (written < bytes.length) {
        const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
        if (bytesWritten === 0) throw new Error("the file took no bytes");
        written += bytesWritten;
      }
    },
    sync: () => handle.datasync(),
    truncate: (size) => handle.truncate(size),
    close: () => handle.close(),
  };
}
