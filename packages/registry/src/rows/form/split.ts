/**
 * An instance's record in two: what it shares with others, and what is its own. Instances of one application differ in host, ports, times and the numbers that stand
 * in their texts (a process id, a time of start, an id); all else is equal byte for byte, and is kept once. The two together give the
 * record back exactly, whatever its publisher wrote (join.ts).
 */
import { int32, uint16 } from "@dualmesh/wire/bytes";
import { maxRecordBytes } from "@dualmesh/wire/stream/limits";
import { op } from "./ops.ts";

/** Fewer digits than these are rarely one instance's own. */
const fewestDigits = 4;
/** Of a decimal number that is exact. */
const mostDigits = 15;
/** A word of letters and digits with so many digits is an id. */
const shortestWord = 8;
const longestWord = 255;
const scratchBytes = maxRecordBytes * 2;

export interface Split {
  /** Views of memory that the next call uses again. */
  readonly shared: Buffer;
  readonly own: Buffer;
}

/** Where a text stands in the record that is read, or in the one that is written. */
interface Span {
  from: number;
  to: number;
}

export class Splitter {
  readonly #shared: Buffer = Buffer.alloc(scratchBytes);
  readonly #own: Buffer = Buffer.alloc(scratchBytes);
  #sharedSize = 0;
  #ownSize = 0;
  /** Where the length of the literal that is being written stands in the shared part; -1 for none. */
  #literalAt = -1;
  readonly #host: Span = { from: 0, to: 0 };
  readonly #address: Span = { from: 0, to: 0 };
  #appPort = "";
  #port = "";

  /** `record` is canonical (`decodeInstance` takes it). */
  split(record: Buffer): Split {
    this.#sharedSize = 0;
    this.#ownSize = 0;
    this.#literalAt = -1;
    this.#host.to = this.#host.from = this.#address.to = this.#address.from = 0;
    this.#appPort = this.#port = "";
    let at = this.#hostText(record, 0);
    at = this.#text(record, at);
    const appPort = uint16(record, at);
    this.#ownPort(record, at, -1);
    at = this.#addressText(record, at + 2);
    const port = uint16(record, at);
    this.#ownPort(record, at, appPort);
    this.#appPort = numberText(appPort);
    this.#port = port === appPort ? "" : numberText(port);
    this.#literal(record, at + 2, at + 8); // weight and warm-up
    at += 8;
    this.#time(record, at);
    this.#incarnation(record, at + 8, at);
    this.#literal(record, at + 16, at + 18); // mode and security
    at += 18;
    for (let text = 0; text < 3; text++) at = this.#text(record, at);
    const labels = uint16(record, at);
    this.#literal(record, at, at + 2);
    at += 2;
    for (let label = 0; label < labels * 2; label++) at = this.#text(record, at);
    at = this.#text(record, at);
    at = this.#text(record, at);
    this.#literal(record, at, record.length); // what later versions add
    return { shared: this.#shared.subarray(0, this.#sharedSize), own: this.#own.subarray(0, this.#ownSize) };
  }

  #hostText(record: Buffer, at: number): number {
    const end = at + 2 + uint16(record, at);
    const host = readAddress(record, at + 2, end);
    if (host === undefined) this.#text(record, at);
    else {
      this.#op(op.address);
      this.#own.writeUInt32BE(host, this.#ownSize);
      this.#ownSize += 4;
    }
    this.#host.from = at + 2;
    this.#host.to = end;
    return end;
  }

  #addressText(record: Buffer, at: number): number {
    const end = at + 2 + uint16(record, at);
    const { from, to } = this.#host;
    if (record.compare(record, from, to, at + 2, end) === 0) {
      this.#op(op.host);
      return end;
    }
    const address = readAddress(record, at + 2, end);
    if (address === undefined) this.#text(record, at);
    else {
      this.#op(op.address);
      this.#own.writeUInt32BE(address, this.#ownSize);
      this.#ownSize += 4;
    }
    this.#address.from = at + 2;
    this.#address.to = end;
    return end;
  }

  #ownPort(record: Buffer, at: number, same: number): void {
    if (uint16(record, at) === same) return this.#op(op.samePort);
    this.#op(op.port);
    this.#takeOwn(record, at, at + 2);
  }

  #time(record: Buffer, at: number): void {
    const isNone = int32(record, at) === 0 && int32(record, at + 4) === 0;
    if (isNone || uint16(record, at) !== 0) return this.#literal(record, at, at + 8);
    this.#op(op.time);
    this.#takeOwn(record, at + 2, at + 8);
  }

  /** Often the time of the start. */
  #incarnation(record: Buffer, at: number, startedAt: number): void {
    if (record.compare(record, startedAt, startedAt + 8, at, at + 8) === 0) return this.#op(op.sameTime);
    if (uint16(record, at) === 0) {
      this.#op(op.time);
      this.#takeOwn(record, at + 2, at + 8);
    } else {
      this.#op(op.long);
      this.#takeOwn(record, at, at + 8);
    }
  }

  /** A text behind its length; returns where it ends. */
  #text(record: Buffer, at: number): number {
    const from = at + 2;
    const end = from + uint16(record, at);
    let kept = from;
    let isOpen = false;
    for (let word = from; word < end; ) {
      if (!isWordByte[record[word] as number]) {
        word++;
        continue;
      }
      const size = this.#ownWord(record, word, end);
      if (size < 0) {
        word -= size;
        continue;
      }
      if (!isOpen) this.#op(op.text);
      isOpen = true;
      // The part itself was put to its op by `#ownWord` only after this literal.
      this.#literal(record, kept, word);
      this.#part(record, word, size);
      word += size;
      kept = word;
    }
    if (!isOpen) {
      this.#literal(record, at, end);
      return end;
    }
    this.#literal(record, kept, end);
    this.#op(op.endOfText);
    return end;
  }

  #kind: number = op.literal;

  /** How long the instance's own word at `at` is, whose kind it notes; minus the length of one that is not its own. */
  #ownWord(record: Buffer, at: number, end: number): number {
    for (const [span, kind] of [
      [this.#host, op.partHost],
      [this.#address, op.partAddress],
    ] as const) {
      const size = span.to - span.from;
      if (size < fewestDigits || !isWhole(record, at, at + size, end)) continue;
      if (record[span.from] !== record[at] || record.compare(record, span.from, span.to, at, at + size) !== 0) continue;
      this.#kind = kind;
      return size;
    }
    let to = at;
    let digits = 0;
    let isHex = true;
    for (; to < end; to++) {
      const kind = isWordByte[record[to] as number] as number;
      if (kind === 0) break;
      if (kind === digit) digits++;
      else if (kind !== hexLetter) isHex = false;
    }
    const size = to - at;
    if (digits < fewestDigits || size > longestWord) return -size;
    if (digits === size) {
      if (isText(record, at, to, this.#appPort)) this.#kind = op.partAppPort;
      else if (isText(record, at, to, this.#port)) this.#kind = op.partPort;
      else if (size <= mostDigits && record[at] !== zero) this.#kind = op.partNumber;
      else this.#kind = size % 2 === 0 ? op.partHex : op.partRaw;
      return size;
    }
    if (size < shortestWord) return -size;
    this.#kind = isHex && size % 2 === 0 ? op.partHex : op.partRaw;
    return size;
  }

  #part(record: Buffer, at: number, size: number): void {
    const kind = this.#kind;
    this.#op(kind);
    if (kind === op.partNumber) this.#number(record, at, at + size);
    else if (kind === op.partHex) {
      this.#own[this.#ownSize++] = size / 2;
      for (let index = at; index < at + size; index += 2)
        this.#own[this.#ownSize++] = (hexValue(record[index]) << 4) | hexValue(record[index + 1]);
    } else if (kind === op.partRaw) {
      this.#own[this.#ownSize++] = size;
      this.#takeOwn(record, at, at + size);
    }
  }

  /** Seven bits a byte, the highest says that another follows; the lowest come first. */
  #number(record: Buffer, from: number, to: number): void {
    let value = 0;
    for (let at = from; at < to; at++) value = value * 10 + (record[at] as number) - zero;
    while (value >= 0x80) {
      this.#own[this.#ownSize++] = 0x80 | (value % 0x80);
      value = Math.floor(value / 0x80);
    }
    this.#own[this.#ownSize++] = value;
  }

  #takeOwn(record: Buffer, from: number, to: number): void {
    record.copy(this.#own, this.#ownSize, from, to);
    this.#ownSize += to - from;
  }

  #op(code: number): void {
    this.#shared[this.#sharedSize++] = code;
    this.#literalAt = -1;
  }

  /** Goes on with the literal before it, if that is the last thing. */
  #literal(record: Buffer, from: number, to: number): void {
    if (from === to) return;
    if (this.#literalAt < 0) {
      this.#op(op.literal);
      this.#literalAt = this.#sharedSize;
      this.#shared.writeUInt16BE(0, this.#sharedSize);
      this.#sharedSize += 2;
    }
    record.copy(this.#shared, this.#sharedSize, from, to);
    this.#sharedSize += to - from;
    this.#shared.writeUInt16BE(this.#sharedSize - this.#literalAt - 2, this.#literalAt);
  }
}

const zero = 0x30;
const digit = 1;
const hexLetter = 2;
const letter = 3;

/** By byte: 0 for what stands between words. */
const isWordByte: Uint8Array = Uint8Array.from({ length: 256 }, (_, code) => {
  const text = String.fromCharCode(code);
  if (/[0-9]/.test(text)) return digit;
  if (/[a-f]/.test(text)) return hexLetter;
  return /[g-zA-Z]/.test(text) ? letter : 0;
});

/** Whether what stands there begins and ends with its words. */
function isWhole(record: Buffer, from: number, to: number, end: number): boolean {
  return to <= end && (to === end || isWordByte[record[to] as number] === 0) && from < to;
}

function isText(record: Buffer, from: number, to: number, text: string): boolean {
  if (text.length !== to - from) return false;
  for (let at = from; at < to; at++) if (record[at] !== text.charCodeAt(at - from)) return false;
  return true;
}

/** Only texts that are long enough to be looked for. */
function numberText(port: number): string {
  return port >= 1_000 ? String(port) : "";
}

function hexValue(code: number | undefined): number {
  const value = code as number;
  return value <= 0x39 ? value - zero : value - 0x57;
}

/** A canonical IPv4 address as a number; undefined for any other text. */
function readAddress(record: Buffer, from: number, to: number): number | undefined {
  let address = 0;
  let parts = 0;
  let part = -1;
  for (let at = from; at < to; at++) {
    const code = record[at] as number;
    if (code === 0x2e) {
      if (part < 0 || ++parts > 3) return undefined;
      address = address * 256 + part;
      part = -1;
    } else if (code >= zero && code <= 0x39) {
      if (part === 0) return undefined; // a zero that leads
      part = Math.max(part, 0) * 10 + code - zero;
      if (part > 255) return undefined;
    } else return undefined;
  }
  return parts === 3 && part >= 0 ? address * 256 + part : undefined;
}
