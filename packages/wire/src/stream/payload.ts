/**
 * Reads and writes what stands in payloads and records: unsigned big-endian numbers, and texts of UTF-8 behind a length of two
 * bytes. Every read looks at what is there first, so that a promised length or count allocates nothing.
 */
import { isUtf8 } from "node:buffer";
import { MeshError } from "@dualmesh/base/errors";
import { int32, putInt32, uint16 } from "../bytes.ts";
import { FrameError } from "../codec.ts";
import { frameHeadBytes, magic0, magic1 } from "./codec.ts";
import type { Digest } from "./digest.ts";
import { maxStreamFrameBytes, streamVersion } from "./limits.ts";

/** A place in a registry's history. The epoch grows at each of its starts, the counter at each change. */
export interface Revision {
  readonly epoch: number;
  readonly counter: number;
}

export class PayloadReader {
  readonly bytes: Buffer;
  readonly #start: number;
  readonly #end: number;
  at: number;

  /** Reads `bytes[at, end)`; `start` is the first byte of the frame or record, from which faults are counted. */
  constructor(bytes: Buffer, start: number, at: number, end: number) {
    this.bytes = bytes;
    this.#start = start;
    this.#end = end;
    this.at = at;
  }

  u8(): number {
    return this.bytes[this.#take(1)] as number;
  }

  u16(): number {
    return uint16(this.bytes, this.#take(2));
  }

  u32(): number {
    return int32(this.bytes, this.#take(4)) >>> 0;
  }

  /** Eight bytes whose value must be exact in a JavaScript number. */
  u64(): number {
    const high = this.u32();
    const low = this.u32();
    if (high > 0x1f_ffff) this.fail("a number above 2^53 - 1");
    return high * 0x1_0000_0000 + low;
  }

  digest(): Digest {
    return { high: this.u32(), low: this.u32() };
  }

  revision(): Revision {
    return { epoch: this.u32(), counter: this.u64() };
  }

  text(maxBytes: number): string {
    const length = this.u16();
    if (length > maxBytes) this.fail(`a text of ${length} bytes, allowed are ${maxBytes}`);
    const from = this.#take(length);
    const to = from + length;
    let at = from;
    while (at < to && (this.bytes[at] as number) < 0x80) at++;
    if (at === to) return this.bytes.toString("latin1", from, to);
    if (!isUtf8(this.bytes.subarray(from, to))) this.fail("a text that is not UTF-8");
    return this.bytes.toString("utf8", from, to);
  }

  /** A view of `length` bytes. */
  raw(length: number): Buffer {
    const from = this.#take(length);
    return this.bytes.subarray(from, from + length);
  }

  /** Bytes behind a length of two bytes, as a view. */
  block(maxBytes: number): Buffer {
    const length = this.u16();
    if (length > maxBytes) this.fail(`${length} bytes, allowed are ${maxBytes}`);
    return this.raw(length);
  }

  get left(): number {
    return this.#end - this.at;
  }

  fail(message: string): never {
    throw new FrameError("stream", this.at - this.#start, message);
  }

  #take(count: number): number {
    const from = this.at;
    if (count > this.#end - from) this.fail(`${count} bytes expected, ${this.#end - from} left`);
    this.at = from + count;
    return from;
  }
}

export class PayloadWriter {
  #bytes: Buffer;
  #size = 0;

  constructor(sizeHint = 256) {
    this.#bytes = Buffer.allocUnsafe(sizeHint);
  }

  get size(): number {
    return this.#size;
  }

  /** Begins a frame; `frame()` ends it. */
  head(type: number): this {
    return this.u8(magic0).u8(magic1).u8(streamVersion).u8(type).u32(0);
  }

  u8(value: number): this {
    this.#bytes[this.#grow(1)] = value;
    return this;
  }

  u16(value: number): this {
    if (!(value >= 0 && value <= 0xffff && Number.isInteger(value))) refuse(`${value} is no number of two bytes`);
    const at = this.#grow(2);
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
    return this;
  }

  u32(value: number): this {
    if (!(value >= 0 && value <= 0xffff_ffff && Number.isInteger(value))) refuse(`${value} is no number of four bytes`);
    const at = this.#grow(4);
    putInt32(this.#bytes, at, value);
    return this;
  }

  u64(value: number): this {
    if (!(value >= 0 && Number.isSafeInteger(value))) refuse(`${value} is no number of 53 bits`);
    return this.u32(Math.floor(value / 0x1_0000_0000)).u32(value % 0x1_0000_0000);
  }

  digest(value: Digest): this {
    return this.u32(value.high).u32(value.low);
  }

  revision(value: Revision): this {
    return this.u32(value.epoch).u64(value.counter);
  }

  text(value: string, maxBytes: number): this {
    const length = Buffer.byteLength(value);
    if (length > maxBytes) refuse(`a text of ${length} bytes, allowed are ${maxBytes}: ${value.slice(0, 40)}`);
    this.u16(length);
    const at = this.#grow(length);
    this.#bytes.write(value, at, length, "utf8");
    return this;
  }

  raw(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  block(value: Uint8Array, maxBytes: number): this {
    if (value.length > maxBytes) refuse(`${value.length} bytes, allowed are ${maxBytes}`);
    return this.u16(value.length).raw(value);
  }

  /** What was written, as bytes of its own. */
  take(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#size));
  }

  /** The whole frame, its length set. */
  frame(): Buffer {
    if (this.#size > maxStreamFrameBytes) refuse(`a frame of ${this.#size} bytes, allowed are ${maxStreamFrameBytes}`);
    putInt32(this.#bytes, 4, this.#size - frameHeadBytes);
    return this.#bytes.subarray(0, this.#size);
  }

  #grow(count: number): number {
    const at = this.#size;
    const size = at + count;
    if (size > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(size, this.#bytes.length * 2));
      this.#bytes.copy(grown, 0, 0, at);
      this.#bytes = grown;
    }
    this.#size = size;
    return at;
  }
}

function refuse(message: string): never {
  throw new MeshError("stream.limit", `the registry stream cannot carry this: ${message}`);
}
