/**
 * Why this exists: reads the size lines of a chunked body (RFC 9112 section 7.1) byte by byte, keeping numbers only. Extensions are read
 * for their grammar, counted against limits and then forgotten (section 7.1.1). White space is refused everywhere in the line: the
 * grammar has it only as something to be lenient about, and servers are not equally lenient.
 */
import { cr, hexDigits, lf, tab, tokenBytes, valueBytes } from "./chars.ts";
import { Http1Error, type Http1Limits } from "./limits.ts";

const stage = { size: 0, name: 1, value: 2, quoted: 3, escaped: 4, afterQuoted: 5, lf: 6 } as const;
const semicolon = 0x3b;
const equals = 0x3d;
const quote = 0x22;
const backslash = 0x5c;

export class ChunkLines {
  /** The size in the line that was just read. */
  size = 0;
  readonly #limits: Http1Limits;
  #stage: number = stage.size;
  #digits = 0;
  /** Bytes of the extension's part that is being read, of this line's extensions, and of all those of the message. */
  #part = 0;
  #lineBytes = 0;
  #messageBytes = 0;

  constructor(limits: Http1Limits) {
    this.#limits = limits;
  }

  beginMessage(): void {
    this.#messageBytes = 0;
    this.#beginLine();
  }

  /** Reads on in `bytes[at, end)`. Returns where the line ends; -1 when more of it is to come. */
  scan(bytes: Uint8Array, from: number, end: number): number {
    for (let at = from; at < end; at++) {
      const byte = bytes[at] as number;
      if (this.#stage === stage.lf) {
        if (byte !== lf) throw new Http1Error(400, at, "a bare CR in a chunk line");
        this.#stage = stage.size;
        this.#digits = 0;
        return at + 1;
      }
      if (this.#stage === stage.size) this.#sizeByte(byte, at);
      else this.#extensionByte(byte, at);
    }
    return -1;
  }

  #beginLine(): void {
    this.#stage = stage.size;
    this.#digits = 0;
    this.#lineBytes = 0;
  }

  #sizeByte(byte: number, at: number): void {
    const digit = hexDigits[byte] as number;
    if (digit !== 255) {
      if (this.#digits === 0) {
        this.size = 0;
        this.#lineBytes = 0;
      }
      if (++this.#digits > this.#limits.chunkSizeDigits) {
        throw new Http1Error(
          400,
          at,
          `a chunk size of more than ${this.#limits.chunkSizeDigits} digits (limit chunkSizeDigits)`,
        );
      }
      this.size = this.size * 16 + digit;
      if (this.size > Number.MAX_SAFE_INTEGER) throw new Http1Error(413, at, "a chunk size above 9007199254740991");
      return;
    }
    if (this.#digits === 0) throw new Http1Error(400, at, "a chunk without a size");
    if (byte === cr) this.#stage = stage.lf;
    else if (byte === semicolon) this.#extensionByte(byte, at);
    else throw new Http1Error(400, at, byte === lf ? "a bare LF in a chunk line" : "a chunk size that is no number");
  }

  #extensionByte(byte: number, at: number): void {
    if (byte !== cr || this.#stage === stage.quoted || this.#stage === stage.escaped) this.#count(at);
    switch (this.#stage) {
      case stage.quoted:
        if (byte === quote) this.#stage = stage.afterQuoted;
        else if (byte === backslash) this.#stage = stage.escaped;
        else if (valueBytes[byte] === 0) throw bad(at);
        return;
      case stage.escaped:
        if (valueBytes[byte] === 0 && byte !== tab) throw bad(at);
        this.#stage = stage.quoted;
        return;
      case stage.name:
      case stage.value:
        if (tokenBytes[byte] === 1) {
          this.#part++;
          return;
        }
        if (byte === quote && this.#stage === stage.value && this.#part === 0) {
          this.#stage = stage.quoted;
          return;
        }
        if (this.#part === 0) throw bad(at);
        break;
      default: // at the first semicolon, or after a quoted value
        break;
    }
    if (byte === equals && this.#stage === stage.name) this.#stage = stage.value;
    else if (byte === semicolon) this.#stage = stage.name;
    else if (byte === cr) this.#stage = stage.lf;
    else throw bad(at);
    this.#part = 0;
  }

  #count(at: number): void {
    const limits = this.#limits;
    if (++this.#lineBytes > limits.chunkExtensionBytes) {
      const limit = limits.chunkExtensionBytes;
      throw new Http1Error(400, at, `chunk extensions of more than ${limit} bytes (limit chunkExtensionBytes)`);
    }
    if (++this.#messageBytes > limits.messageExtensionBytes) {
      const limit = limits.messageExtensionBytes;
      throw new Http1Error(
        400,
        at,
        `chunk extensions of a message of more than ${limit} bytes (limit messageExtensionBytes)`,
      );
    }
  }
}

function bad(at: number): Http1Error {
  return new Http1Error(400, at, "a chunk extension that is none");
}
