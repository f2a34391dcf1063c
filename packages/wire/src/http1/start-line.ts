/**
 * Why this exists: reads request lines (RFC 9112 section 3) and status lines (section 4) into a head. Like `FieldLines` it goes on where the bytes ended;
 * only the ten bytes of a version may be looked at again.
 */
import { cr, lf, space, targetBytes, tokenBytes, valueBytes } from "./chars.ts";
import { type Http1Head, type Method, method } from "./head.ts";
import { Http1Error, type Http1Limits } from "./limits.ts";

const stage = { first: 0, method: 1, target: 2, version: 3, reason: 4, reasonLf: 5 } as const;

const versionText: Buffer = Buffer.from("HTTP/");

/** Longer methods exist nowhere, and sniffing does not know them either. */
export const maxMethodBytes = 24;

export class StartLine {
  /** Where to go on; where the line ends once it is whole. */
  at = 0;
  readonly #head: Http1Head;
  readonly #targetBytes: number;
  #stage: number = stage.first;
  #skipped = false;

  constructor(head: Http1Head, limits: Http1Limits) {
    this.#head = head;
    this.#targetBytes = limits.targetBytes;
  }

  begin(at: number): void {
    this.at = at;
    this.#stage = stage.first;
    this.#skipped = false;
  }

  move(by: number): void {
    this.at -= by;
  }

  /** Section 2.2: one empty line before a request is passed over, since old clients send one after a body. False when there is no more. */
  skipEmptyLine(bytes: Uint8Array, end: number): boolean {
    if (this.#stage !== stage.first) return true;
    let at = this.at;
    if (at < end && bytes[at] === cr && !this.#skipped) {
      if (at + 1 === end) return false;
      if (bytes[at + 1] !== lf) throw new Http1Error(400, at, "a bare CR before the request");
      this.#skipped = true;
      at += 2;
      this.#head.start = at;
    }
    this.at = at;
    if (at === end) return false;
    this.#stage = stage.method;
    return true;
  }

  /** Reads on up to `end`; true when the line is whole. */
  request(bytes: Uint8Array, end: number): boolean {
    const head = this.#head;
    let at = this.at;
    if (this.#stage === stage.method) {
      while (at < end && tokenBytes[bytes[at] as number] === 1) at++;
      if (at - head.start > maxMethodBytes) throw new Http1Error(501, at, "a method of more than 24 bytes");
      if (at === end) return this.#wait(at);
      if (bytes[at] !== space || at === head.start) throw new Http1Error(400, at, "no method at the beginning");
      head.methodEnd = at++;
      head.targetStart = at;
      this.#stage = stage.target;
    }
    if (this.#stage === stage.target) {
      while (at < end && targetBytes[bytes[at] as number] === 1) at++;
      if (at - head.targetStart > this.#targetBytes) throw this.#longTarget(at);
      if (at === end) return this.#wait(at);
      if (bytes[at] !== space || at === head.targetStart) throw badTarget(bytes, at, head.targetStart);
      head.targetEnd = at++;
      this.#stage = stage.version;
    }
    return this.#requestVersion(bytes, at, end);
  }

  /** The same for a status line. */
  response(bytes: Uint8Array, end: number): boolean {
    const head = this.#head;
    let at = this.at;
    if (this.#stage === stage.first) {
      const minor = readVersion(bytes, at, end);
      if (minor >= 0 && bytes[at + 8] !== space && at + 8 < end)
        throw new Http1Error(400, at, "no status after the version");
      let status = 0;
      for (let digit = at + 9; digit < at + 12 && digit < end; digit++) {
        const value = (bytes[digit] as number) - 0x30;
        if (value < 0 || value > 9) throw new Http1Error(400, digit, "a status that is no number of three digits");
        status = status * 10 + value;
      }
      if (end - at < 13) return this.#wait(at);
      if (minor > 1) throw new Http1Error(505, at, "a version other than HTTP/1.0 and HTTP/1.1");
      if (status < 100) throw new Http1Error(400, at, "a status below 100");
      head.minor = minor;
      head.status = status;
      at += 12;
      // Section 4 wants a space even where no reason follows; servers leave it out, and nothing depends on it.
      head.canonical = bytes[at] === space && minor === 1;
      if (bytes[at] === space) at++;
      else if (bytes[at] !== cr) throw new Http1Error(400, at, "a status that is no number of three digits");
      head.reasonStart = at;
      this.#stage = stage.reason;
    }
    if (this.#stage === stage.reason) {
      while (at < end && valueBytes[bytes[at] as number] === 1) at++;
      if (at === end) return this.#wait(at);
      if (bytes[at] !== cr) throw new Http1Error(400, at, "a control character or a bare LF in the status line");
      head.reasonEnd = at++;
      this.#stage = stage.reasonLf;
    }
    if (at === end) return this.#wait(at);
    if (bytes[at] !== lf) throw new Http1Error(400, at, "a bare CR in the status line");
    this.at = at + 1;
    return true;
  }

  #requestVersion(bytes: Uint8Array, at: number, end: number): boolean {
    const minor = readVersion(bytes, at, end);
    if (at + 8 < end && bytes[at + 8] !== cr) {
      throw new Http1Error(
        400,
        at + 8,
        bytes[at + 8] === lf ? "a bare LF after the request line" : "bytes after the version",
      );
    }
    if (at + 10 > end) return this.#wait(at);
    if (bytes[at + 9] !== lf) throw new Http1Error(400, at + 9, "a bare CR after the request line");
    if (minor > 1) throw new Http1Error(505, at, "a version other than HTTP/1.0 and HTTP/1.1");
    this.#head.minor = minor;
    this.#head.method = methodAt(bytes, this.#head.start, this.#head.methodEnd);
    this.at = at + 10;
    return true;
  }

  /** Where the bytes end, or where the version begins that is not all there. */
  #wait(at: number): false {
    this.at = at;
    return false;
  }

  #longTarget(at: number): Http1Error {
    return new Http1Error(414, at, `a target of more than ${this.#targetBytes} bytes (limit targetBytes)`);
  }
}

/** The minor version of HTTP/1.0 and HTTP/1.1, 2 for any other; -1 when it is not all there. Raises when it is none (section 2.3). */
function readVersion(bytes: Uint8Array, at: number, end: number): number {
  for (let index = 0; index < 5 && at + index < end; index++) {
    if (bytes[at + index] !== versionText[index]) throw new Http1Error(400, at, "no HTTP version");
  }
  const major = at + 5 < end ? digitOf(bytes, at + 5) : 1;
  if (at + 6 < end && bytes[at + 6] !== 0x2e) throw new Http1Error(400, at, "no HTTP version");
  const minor = at + 7 < end ? digitOf(bytes, at + 7) : -1;
  if (minor < 0) return -1;
  return major === 1 && minor <= 1 ? minor : 2;
}

function digitOf(bytes: Uint8Array, at: number): number {
  const digit = (bytes[at] as number) - 0x30;
  if (digit < 0 || digit > 9) throw new Http1Error(400, at, "no HTTP version");
  return digit;
}

const methods: readonly (readonly [Buffer, Method])[] = Object.entries(method)
  .filter(([, id]) => id !== method.other)
  .map(([name, id]) => [Buffer.from(name), id]);

/** Methods are told with case (RFC 9110 section 9.1). */
function methodAt(bytes: Uint8Array, start: number, end: number): Method {
  const length = end - start;
  for (let index = 0; index < methods.length; index++) {
    const [name, id] = methods[index] as readonly [Buffer, Method];
    if (name.length !== length || name[0] !== bytes[start] || name[1] !== bytes[start + 1]) continue;
    let at = 2;
    while (at < length && name[at] === bytes[start + at]) at++;
    if (at === length) return id;
  }
  return method.other;
}

function badTarget(bytes: Uint8Array, at: number, start: number): Http1Error {
  const byte = bytes[at] as number;
  if (byte === cr || byte === lf) return new Http1Error(400, at, "a request line without a version");
  if (byte === 0x23) return new Http1Error(400, at, "a fragment in the target");
  if (at === start && byte === space) return new Http1Error(400, at, "two spaces in the request line");
  return new Http1Error(400, at, "a character that no target has");
}
