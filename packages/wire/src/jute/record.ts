/**
 * Jute, ZooKeeper's serialisation: big-endian numbers, and strings, buffers and lists with a length of 32 bits, -1 for null.
 * The reader believes no length that the record cannot hold; the writer grows one buffer and gives it away as a whole frame.
 */
import { FrameError } from "../codec.ts";

const fatalUtf8 = new TextDecoder("utf-8", { fatal: true });

export class JuteReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(record: Buffer) {
    this.#bytes = record;
  }

  /** How many bytes are left. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  int(): number {
    this.#need(4);
    const value = this.#bytes.readInt32BE(this.#at);
    this.#at += 4;
    return value;
  }

  long(): bigint {
    this.#need(8);
    const value = this.#bytes.readBigInt64BE(this.#at);
    this.#at += 8;
    return value;
  }

  bool(): boolean {
    this.#need(1);
    const value = this.#bytes[this.#at] as number;
    if (value > 1) throw this.#fault(`a truth value of ${value}`);
    this.#at += 1;
    return value === 1;
  }

  /** A copy, so that what was received may be reused; undefined for null. */
  buffer(): Buffer | undefined {
    const length = this.int();
    if (length === -1) return undefined;
    if (length < 0) throw this.#fault(`a length of ${length}`);
    this.#need(length);
    const value = Buffer.from(this.#bytes.subarray(this.#at, this.#at + length));
    this.#at += length;
    return value;
  }

  /** A text; null is read as the empty one. */
  string(): string {
    const length = this.int();
    if (length === -1) return "";
    if (length < 0) throw this.#fault(`a length of ${length}`);
    this.#need(length);
    const from = this.#at;
    this.#at += length;
    try {
      return fatalUtf8.decode(this.#bytes.subarray(from, this.#at));
    } catch {
      throw this.#fault("a text that is not UTF-8");
    }
  }

  /** A list whose items take at least `itemBytes` each; null is read as the empty one. */
  list<T>(itemBytes: number, item: () => T): T[] {
    const count = this.int();
    if (count === -1) return [];
    if (count < 0 || count * itemBytes > this.left) throw this.#fault(`a list of ${count}`);
    const items: T[] = [];
    for (let index = 0; index < count; index += 1) items.push(item());
    return items;
  }

  /** A copy of all that is left. */
  rest(): Buffer {
    const value = Buffer.from(this.#bytes.subarray(this.#at));
    this.#at = this.#bytes.length;
    return value;
  }

  end(): void {
    if (this.left > 0) throw this.#fault(`${this.left} bytes too many`);
  }

  #need(bytes: number): void {
    if (this.left < bytes) throw this.#fault("the record ends too early");
  }

  #fault(message: string): FrameError {
    return new FrameError("jute", this.#at + 4, message);
  }
}

export class JuteWriter {
  #bytes: Buffer;
  #at = 4;

  constructor(expectedBytes = 128) {
    this.#bytes = Buffer.allocUnsafe(expectedBytes + 4);
  }

  int(value: number): this {
    this.#reserve(4);
    this.#at = this.#bytes.writeInt32BE(value, this.#at);
    return this;
  }

  long(value: bigint): this {
    this.#reserve(8);
    this.#at = this.#bytes.writeBigInt64BE(value, this.#at);
    return this;
  }

  bool(value: boolean): this {
    this.#reserve(1);
    this.#at = this.#bytes.writeUInt8(value ? 1 : 0, this.#at);
    return this;
  }

  buffer(value: Uint8Array | undefined): this {
    if (value === undefined) return this.int(-1);
    this.int(value.length);
    return this.raw(value);
  }

  string(value: string): this {
    const length = Buffer.byteLength(value);
    this.int(length);
    this.#reserve(length);
    this.#at += this.#bytes.write(value, this.#at, "utf8");
    return this;
  }

  list<T>(items: readonly T[], item: (value: T) => void): this {
    this.int(items.length);
    for (const value of items) item(value);
    return this;
  }

  raw(value: Uint8Array): this {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** The whole frame, length first. The writer must not be used after it. */
  frame(): Buffer {
    this.#bytes.writeInt32BE(this.#at - 4, 0);
    return this.#bytes.subarray(0, this.#at);
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + bytes));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }
}
