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
    while (at < end) {
      if (this.#stage === stage.line) {
        this.#nameStart = at;
        this.#stage = bytes[at] === cr ? stage.lastLf : stage.name;
        if (this.#stage === stage.lastLf && ++at === end) return -1;
      }
      if (this.#stage === stage.name) {
        while (at < end && tokenBytes[bytes[at] as number] === 1) at++;
        if (at === end) return -1;
        if (bytes[at] !== colon || at === this.#nameStart) throw this.#badName(bytes, at);
        this.#nameEnd = at++;
        this.#stage = stage.before;
      }
      if (this.#stage === stage.before) {
        while (at < end && (bytes[at] === space || bytes[at] === tab)) at++;
        if (at === end) return -1;
        this.#valueStart = at;
        this.#stage = stage.value;
      }
      if (this.#stage === stage.value) {
        while (at < end && valueBytes[bytes[at] as number] === 1) at++;
        if (at === end) return -1;
        if (bytes[at] !== cr) throw new Http1Error(400, at, badInValue(bytes[at] as number));
        this.#valueEnd = at++;
        this.#stage = stage.valueLf;
        if (at === end) return -1;
      }
      if (bytes[at] !== lf) throw new Http1Error(400, at, "a bare CR in a field line");
      at++;
      if (this.#stage === stage.lastLf) return at;
      this.#push(bytes);
      this.#stage = stage.line;
    }
    return -1;
  }

  #push(bytes: Uint8Array): void {
    const fields = this.#fields;
    if (fields.count === this.#maxCount) {
      throw new Http1Error(431, this.#nameStart, `more than ${this.#maxCount} fields (limit ${this.#countLimit})`);
    }
    const valueStart = this.#valueStart;
    const last = bytes[this.#valueEnd - 1];
    const valueEnd = last === space || last === tab ? trimmedEnd(bytes, valueStart, this.#valueEnd) : this.#valueEnd;
    const id = fieldIdOf(bytes, this.#nameStart, this.#nameEnd);
    fields.add(this.#nameStart, this.#nameEnd, valueStart, valueEnd, id);
  }

  #badName(bytes: Uint8Array, at: number): Http1Error {
    const byte = bytes[at];
    const first = at === this.#nameStart;
    if (first && (byte === space || byte === tab)) return new Http1Error(400, at, "a folded field line");
    if (byte === space || byte === tab) return new Http1Error(400, at, "space between a field's name and its colon");
    if (byte === lf) return new Http1Error(400, at, "a bare LF in a field line");
    if (byte === cr) return new Http1Error(400, at, "a field line without a colon");
    if (byte === colon) return new Http1Error(400, at, "a field without a name");
    return new Http1Error(400, at, "a character that no field name has");
  }
}

function badInValue(byte: number): string {
  if (byte === lf) return "a bare LF in a field line";
  return "a control character in a field's value";
}
