/** Chance as an argument. `seededRandom` makes a simulation repeatable; print its seed. */
import { randomBytes } from "node:crypto";
import { openSync, readSync } from "node:fs";

export interface Random {
  /** A number in [0, 1). */
  next(): number;
  /** `size` bytes; unguessable from `systemRandom`. */
  bytes(size: number): Buffer;
}

export const systemRandom: Random = { next: Math.random, bytes: unguessable };

let kernel: number | undefined;

/**
 * From the kernel, as `node:crypto` would have it; but loading that module costs each sidecar 2 MB (scripts/build.ts loads it on first use).
 * It is asked where the kernel has no such file, or no descriptor is left to open it.
 */
function unguessable(size: number): Buffer {
  try {
    kernel ??= openSync("/dev/urandom", "r");
  } catch {
    return randomBytes(size);
  }
  const bytes = Buffer.alloc(size);
  for (let filled = 0; filled < size; ) filled += readSync(kernel, bytes, filled, size - filled, null);
  return bytes;
}

/** mulberry32: small, fast, good enough for tests and jitter; never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  return { next, bytes: (size) => Buffer.from(Array.from({ length: size }, () => Math.floor(next() * 256))) };
}
