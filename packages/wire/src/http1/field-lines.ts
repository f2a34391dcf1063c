/**
 * Why this exists: reads field lines (RFC 9112 section 5) into a table, of a head or of trailers. It stops wherever the bytes end and
 * goes on from there, so that no byte is looked at twice however slowly they come.
 */
import { cr, lf, space, tab, tokenBytes, valueBytes } from "./chars.ts";
import type { Fields } from "./head.ts";
import { Http1Error } from "./limits.ts";
import { trimmedEnd } from "./lists.ts";
import { fieldIdOf } from "./names.ts";

const colon = 0x3a;

/** Where in a line the bytes ended. */
const stage = { line: 0, name: 1, before: 2, value: 3, valueLf: 4, lastLf: 5 } as const;

export class FieldLines {
  readonly #fields: Fields;
  readonly #maxCount: number;
  readonly #countLimit: string;
  #stage: number = stage.line;
  #nameStart = 0;
  #nameEnd = 0;
  #valueStart = 0;
  #valueEnd = 0;

  constructor(fields: Fields, maxCount: number, countLimit: string) {
    this.#fields = fields;
    this.#maxCount = maxCount;
    this.#countLimit = countLimit;
  }

  begin(): void {
    this.#fields.clear();
    this.#stage = stage.line;
  }

  /** The bytes have moved `by` to the left. */
  move(by: number): void {
    this.#nameStart -= by;
    this.#nameEnd -= by;
    this.#valueStart -= by;
    this.#valueEnd -= by;
  }

  /** Reads on in `bytes[at, end)`. Returns where the empty line ends that ends them all; -1 when it is still to come. */
  scan(bytes: Uint8Array, from: number, end: number): number {
    let at = from;
    // The numbers of a line live in variables: this loop is half of what reading a head costs.
    let now = this.#stage;
    let nameStart = this.#nameStart;
    let nameEnd = this.#nameEnd;
    let valueStart = this.#valueStart;
    let valueEnd = this.#valueEnd;
    while (at < end) {
      if (now === stage.line) {
        nameStart = at;
        now = bytes[at] === cr ? stage.lastLf : stage.name;
        if (now === stage.lastLf && ++at === end) break;
      }
      if (now === stage.name) {
        while (at < end && tokenBytes[bytes[at] as number] === 1) at++;
        if (at === end) break;
        if (bytes[at] !== colon || at === nameStart) throw badName(bytes, at, at === nameStart);
        nameEnd = at++;
        now = stage.before;
      }
      if (now === stage.before) {
        while (at < end && (bytes[at] === space || bytes[at] === tab)) at++;
        if (at === end) break;
        valueStart = at;
        now = stage.value;
      }
      if (now === stage.value) {
        while (at < end && valueBytes[bytes[at] as number] === 1) at++;
        if (at === end) break;
        if (bytes[at] !== cr) throw new Http1Error(400, at, badInValue(bytes[at] as number));
        valueEnd = at++;
        now = stage.valueLf;
        if (at === end) break;
      }
      if (bytes[at] !== lf) throw new Http1Error(400, at, "a bare CR in a field line");
      at++;
      if (now === stage.lastLf) return at;
      this.#push(bytes, nameStart, nameEnd, valueStart, valueEnd);
      now = stage.line;
    }
    this.#stage = now;
    this.#nameStart = nameStart;
    this.#nameEnd = nameEnd;
    this.#valueStart = valueStart;
    this.#valueEnd = valueEnd;
    return -1;
  }

  #push(bytes: Uint8Array, nameStart: number, nameEnd: number, valueStart: number, end: number): void {
    const fields = this.#fields;
    if (fields.count === this.#maxCount) {
      throw new Http1Error(431, nameStart, `more than ${this.#maxCount} fields (limit ${this.#countLimit})`);
    }
    const last = bytes[end - 1];
    const valueEnd = last === space || last === tab ? trimmedEnd(bytes, valueStart, end) : end;
    fields.add(nameStart, nameEnd, valueStart, valueEnd, fieldIdOf(bytes, nameStart, nameEnd));
  }
}

function badName(bytes: Uint8Array, at: number, first: boolean): Http1Error {
  const byte = bytes[at];
  if (first && (byte === space || byte === tab)) return new Http1Error(400, at, "a folded field line");
  if (byte === space || byte === tab) return new Http1Error(400, at, "space between a field's name and its colon");
  if (byte === lf) return new Http1Error(400, at, "a bare LF in a field line");
  if (byte === cr) return new Http1Error(400, at, "a field line without a colon");
  if (byte === colon) return new Http1Error(400, at, "a field without a name");
  return new Http1Error(400, at, "a character that no field name has");
}

function badInValue(byte: number): string {
  if (byte === lf) return "a bare LF in a field line";
  return "a control character in a field's value";
}
