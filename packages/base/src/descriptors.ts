/**
 * Descriptors that no caller may have. The system gives the lowest number that is free, so that a connection whose number comes near the
 * process's limit says that nearly all are used: it is turned away, and what is left serves endpoints, the disk and the admin port.
 */
import { readFileSync } from "node:fs";
import type net from "node:net";

const reserved = 64;

/** The first number that is kept back; a process that may have few keeps a quarter. */
function firstReserved(limit: number): number {
  return limit - Math.min(reserved, Math.floor(limit / 4));
}

let first: number | undefined;

/** Whether this freshly accepted socket holds a descriptor that is kept back. */
export function isReserved(socket: net.Socket): boolean {
  first ??= firstReserved(openFilesLimit());
  const { _handle: handle } = socket as net.Socket & { readonly _handle: { readonly fd?: number } | null };
  return (handle?.fd ?? -1) >= first;
}

/** How many files this process may have open; where the system does not say it, there is nothing to go by. */
function openFilesLimit(): number {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"));
    return line === null ? Number.POSITIVE_INFINITY : Number(line[1]);
  } catch {
    return Number.POSITIVE_INFINITY; // not Linux
  }
}
