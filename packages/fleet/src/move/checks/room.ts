/**
 * Whether there is room for what a move writes: its record before each step, and all that a sidecar of the mover's own keeps. A move that finds the
 * disk full on its way is taken back; it is better not begun.
 */
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import type { Checks } from "./check.ts";

/** What is free on the file system of a directory, for a user without privileges. */
export interface Room {
  readonly bytes: number;
  /** Undefined on a file system that has as many files as there is room for. */
  readonly files: number | undefined;
}

interface Need {
  readonly bytes: number;
  readonly files: number;
}

const mebibyte = 1024 * 1024;
/** A record is some kilobytes, and is written beside the former one. */
const forRecords: Need = { bytes: 4 * mebibyte, files: 32 };
/** Code cache (3.4 MB), log, journals and their next versions. */
const forSidecar: Need = { bytes: 32 * mebibyte, files: 128 };

/** Undefined when it cannot be known. */
export async function roomAt(path: string): Promise<Room | undefined> {
  for (let at = path; ; at = dirname(at)) {
    try {
      const { bavail, bsize, files, ffree } = await statfs(at);
      return { bytes: bavail * bsize, files: files === 0 ? undefined : ffree };
    } catch (error) {
      // What is not there yet will be where those above it are.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || at === dirname(at)) return undefined;
    }
  }
}

export function sayRoom(room: Room | undefined, moves: string, startsSidecar: boolean, checks: Checks): void {
  if (room === undefined) return;
  const needed = startsSidecar ? forSidecar : forRecords;
  const what = startsSidecar
    ? "for the record of the move and the sidecar that is started"
    : "for the record of the move";
  const free = `${(room.bytes / mebibyte).toFixed(0)} MiB`;
  if (room.bytes < needed.bytes) {
    const text = `${free} are free for ${moves}, and ${needed.bytes / mebibyte} MiB are needed ${what}`;
    checks.stop("room", `${text}: make room there, or name a directory on another disk with --moves`);
  } else if (room.files !== undefined && room.files < needed.files) {
    const text = `${room.files} more files can be made below ${moves}, and ${needed.files} are needed ${what}`;
    checks.stop("room", `${text}: remove some on that disk, or name a directory on another one with --moves`);
  } else checks.ok("room", `${free} are free for ${moves}`);
}
