/**
 * Descriptors that traffic may not have. The system gives the lowest number that is free, so that a connection whose number comes near
 * the process's limit says that nearly all are used. Callers are turned away first, then no further endpoint is dialled; what is left
 * serves the disk, the checks of the applications' health, the control socket and the admin port, which therefore answer while there is
 * no room for anybody else. It costs a comparison for each connection and looks at nothing in between.
 */
import { readFileSync } from "node:fs";
import type net from "node:net";

/** What a connection is for: somebody who called a port for traffic, or an endpoint that was dialled. */
export type DescriptorUse = "caller" | "endpoint";

/** How many of the last numbers each may not have; a process that may have few keeps a quarter, and an eighth, of them. */
const keptBack: Readonly<Record<DescriptorUse, { readonly most: number; readonly part: number }>> = {
  caller: { most: 64, part: 4 },
  endpoint: { most: 32, part: 8 },
};

export type TellScarcity = (use: DescriptorUse, openFiles: number) => void;

/** Read at the start: when it matters, there is no descriptor left to read it with. */
const limit = openFilesLimit();
let tell: TellScarcity = () => {};

/** Whether this freshly opened socket holds a descriptor that is kept back from its use: it is to be destroyed at once. */
export function isReserved(socket: net.Socket, use: DescriptorUse = "caller"): boolean {
  const { _handle: handle } = socket as net.Socket & { readonly _handle: { readonly fd?: number } | null };
  if ((handle?.fd ?? -1) < firstReserved(limit, use)) return false;
  tell(use, limit);
  return true;
}

/** Has each connection told of that is turned away for want of descriptors. They belong to the process, and so does who is told. */
export function onScarceDescriptors(listener: TellScarcity): void {
  tell = listener;
}

/** The first number that a process which may have `openFiles` keeps back from `use`. */
export function firstReserved(openFiles: number, use: DescriptorUse): number {
  const { most, part } = keptBack[use];
  return openFiles - Math.min(most, Math.floor(openFiles / part));
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
