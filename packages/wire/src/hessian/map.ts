/**
 * Why this exists: one value out of a Hessian map of texts (Dubbo's attachments), found by comparing keys in place. Nothing is built
 * but the answer, so that colliding or magic keys (`__proto__`) have nothing to collide in.
 */
import { equalAt } from "../texts.ts";
import { type HessianSkipper, intAt, intEnd } from "./skip.ts";
import { headSize, readText, textEnd } from "./text.ts";

/**
 * The value of `key` in the map at `at` as a text, when it is a text or an int; otherwise, or when the map is malformed or
 * cut off, undefined. Of keys that come twice the last counts, as it does for the Java that reads the map. `skipper` knows the classes that were defined before the map.
 */
export function findInMap(
  skipper: HessianSkipper,
  bytes: Buffer,
  at: number,
  end: number,
  key: Buffer,
): string | undefined {
  let next = mapStart(bytes, at, end);
  let found: string | undefined;
  while (next >= 0 && next < end) {
    if (bytes[next] === 0x5a) return found;
    const keyEnd = textEnd(bytes, next, end);
    const valueAt = keyEnd >= 0 ? keyEnd : skipper.skip(bytes, next, end);
    if (valueAt < 0 || valueAt >= end) return undefined;
    if (keyEnd >= 0 && equalAt(key, bytes, next + headSize(bytes[next] as number), keyEnd)) {
      found = readText(bytes, valueAt, end) ?? intText(bytes, valueAt, end);
    }
    next = skipper.skip(bytes, valueAt, end);
  }
  return undefined;
}

/** Where the first key of the map at `at` stands, or -1 when there is no map. */
export function mapStart(bytes: Buffer, at: number, end: number): number {
  if (at < 0 || at >= end) return -1;
  if (bytes[at] === 0x48) return at + 1;
  if (bytes[at] !== 0x4d) return -1;
  const typeEnd = textEnd(bytes, at + 1, end);
  return typeEnd >= 0 ? typeEnd : intEnd(bytes, at + 1, end);
}

function intText(bytes: Buffer, at: number, end: number): string | undefined {
  return intEnd(bytes, at, end) >= 0 ? String(intAt(bytes, at)) : undefined;
}
