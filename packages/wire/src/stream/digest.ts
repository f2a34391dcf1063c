/**
 * What proves that two peers hold the same set: the sum modulo 2^64 of a hash of each record. Sums do not care for order and can be
 * kept up to date with each change. The hash is FNV-1a 64 followed by the finaliser of MurmurHash3 (fmix64), since sums of bare
 * FNV values of similar records collide too easily. 64-bit numbers are pairs of unsigned 32-bit halves: BigInt allocates.
 */
export interface Digest {
  readonly high: number;
  readonly low: number;
}

export const emptyDigest: Digest = { high: 0, low: 0 };

export function equalDigests(one: Digest, other: Digest): boolean {
  return one.high === other.high && one.low === other.low;
}

export function addDigests(one: Digest, other: Digest): Digest {
  const low = one.low + other.low;
  return { high: (one.high + other.high + (low > 0xffff_ffff ? 1 : 0)) >>> 0, low: low >>> 0 };
}

export function subtractDigests(one: Digest, other: Digest): Digest {
  const low = one.low - other.low;
  return { high: (one.high - other.high - (low < 0 ? 1 : 0)) >>> 0, low: low >>> 0 };
}

/** Sixteen hexadecimal digits, to show. */
export function digestText(digest: Digest): string {
  return digest.high.toString(16).padStart(8, "0") + digest.low.toString(16).padStart(8, "0");
}

/** The hash of one record, `bytes[start, end)`. */
export function recordHash(bytes: Uint8Array, start = 0, end: number = bytes.length): Digest {
  return finalise(fnv1a(bytes, start, end));
}

/**
 * What one feed adds to the summary of a ping: its name and its digest mixed, so that two feeds that swapped their contents differ.
 * `nameHash` is `recordHash` of the kind's byte followed by the name.
 */
export function summaryTerm(nameHash: Digest, digest: Digest): Digest {
  return finalise(addDigests(nameHash, digest));
}

/** FNV-1a 64 (offset basis cbf29ce484222325, prime 2^40 + 1b3). */
export function fnv1a(bytes: Uint8Array, start: number, end: number): Digest {
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (let at = start; at < end; at++) {
    low = (low ^ (bytes[at] as number)) >>> 0;
    const product = low * 0x1b3;
    // The prime's 2^40 moves the lower half eight bits into the upper one.
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 0x1_0000_0000) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  return { high, low };
}

/** fmix64 of MurmurHash3. */
export function finalise(value: Digest): Digest {
  const first = multiply(shiftXor(value), 0xff51afd7, 0xed558ccd);
  const second = multiply(shiftXor(first), 0xc4ceb9fe, 0x1a85ec53);
  return shiftXor(second);
}

/** value ^ (value >>> 33) */
function shiftXor(value: Digest): Digest {
  return { high: value.high, low: (value.low ^ (value.high >>> 1)) >>> 0 };
}

function multiply(value: Digest, factorHigh: number, factorLow: number): Digest {
  const low0 = value.low & 0xffff;
  const low1 = value.low >>> 16;
  const factor0 = factorLow & 0xffff;
  const factor1 = factorLow >>> 16;
  const cross = low1 * factor0 + Math.floor((low0 * factor0) / 0x1_0000);
  const other = (cross % 0x1_0000) + low0 * factor1;
  const carried = low1 * factor1 + Math.floor(cross / 0x1_0000) + Math.floor(other / 0x1_0000);
  const high = Math.imul(value.high, factorLow) + Math.imul(value.low, factorHigh) + (carried % 0x1_0000_0000);
  return { high: high >>> 0, low: Math.imul(value.low, factorLow) >>> 0 };
}
