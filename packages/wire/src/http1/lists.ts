/** Why this exists: fields whose value is a comma-separated list of tokens (RFC 9110 section 5.6.1). */
import { space, tab, tokenBytes } from "./chars.ts";

/**
 * Walks a list: `next` leaves the next token in `start` and `end`. One walker serves every list, since each walk is over before the
 * next begins.
 */
export class TokenWalk {
  start = 0;
  end = 0;
  /** True when something stood in the list that is no token. */
  broken = false;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #stop = 0;

  over(bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = bytes;
    this.#at = start;
    this.#stop = end;
    this.broken = false;
  }

  /** False at the end of the list, or where it is broken. Empty elements are passed over, as section 5.6.1.2 asks. */
  next(): boolean {
    const bytes = this.#bytes;
    const stop = this.#stop;
    let at = this.#at;
    while (at < stop && (bytes[at] === 0x2c || bytes[at] === space || bytes[at] === tab)) at++;
    this.start = at;
    while (at < stop && tokenBytes[bytes[at] as number] === 1) at++;
    this.end = at;
    while (at < stop && (bytes[at] === space || bytes[at] === tab)) at++;
    this.#at = at;
    if (at < stop && bytes[at] !== 0x2c) {
      this.broken = true;
      return false;
    }
    return this.end > this.start;
  }

  /** Lets go of the bytes. */
  done(): void {
    this.#bytes = empty;
  }
}

const empty: Uint8Array = new Uint8Array(0);

/** The tokens of a list in lower case; what follows one (a parameter, a version after `/`) is dropped. */
export function tokensOf(value: string): string[] {
  return value
    .split(",")
    .map((element) => /^[!#$%&'*+.^_`|~\w-]+/.exec(element.trim())?.[0].toLowerCase() ?? "")
    .filter((token) => token !== "");
}

/** Where `bytes[start, end)` ends without the space behind it. */
export function trimmedEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = end;
  while (at > start && (bytes[at - 1] === space || bytes[at - 1] === tab)) at--;
  return at;
}
