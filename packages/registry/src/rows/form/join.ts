/**
 * Gives a record back from its shared and its own part (split.ts): the shared part is carried out, and takes the own part's bytes where it says so. What was written
 * already says what host, address, ports and time of start are.
 */
import { uint16 } from "@dualmesh/wire/bytes";
import { maxRecordBytes } from "@dualmesh/wire/stream/limits";
import { op } from "./ops.ts";

export class Joiner {
  readonly #record: Buffer = Buffer.alloc(maxRecordBytes);
  #size = 0;
  #own: Buffer = this.#record;
  #ownAt = 0;

  /** The record that was split into `shared[from, to)` and the own part that begins at `own[ownFrom]`; a view of memory that the next call uses again. */
  join(shared: Buffer, from: number, to: number, own: Buffer, ownFrom: number): Buffer {
    this.#size = 0;
    this.#own = own;
    this.#ownAt = ownFrom;
    for (let at = from; at < to; ) {
      const code = shared[at++] as number;
      if (code === op.literal) at = this.#literal(shared, at);
      else if (code === op.text) at = this.#text(shared, at);
      else this.#field(code);
    }
    return this.#record.subarray(0, this.#size);
  }

  #literal(shared: Buffer, at: number): number {
    const length = uint16(shared, at);
    shared.copy(this.#record, this.#size, at + 2, at + 2 + length);
    this.#size += length;
    return at + 2 + length;
  }

  /** Its length stands before it and is known behind it. */
  #text(shared: Buffer, from: number): number {
    const lengthAt = this.#size;
    this.#size += 2;
    for (let at = from; ; ) {
      const code = shared[at++] as number;
      if (code === op.endOfText) {
        this.#record.writeUInt16BE(this.#size - lengthAt - 2, lengthAt);
        return at;
      }
      if (code === op.literal) at = this.#literal(shared, at);
      else this.#part(code);
    }
  }

  #field(code: number): void {
    const record = this.#record;
    const size = this.#size;
    switch (code) {
      case op.address: {
        const length = writeAddress(record, size + 2, this.#own.readUInt32BE(this.#ownAt));
        this.#ownAt += 4;
        record.writeUInt16BE(length, size);
        this.#size += 2 + length;
        return;
      }
      case op.host:
        return this.#again(0, 2 + uint16(record, 0));
      case op.port:
        return this.#takeOwn(2);
      case op.samePort:
        return this.#again(this.#appPortAt(), 2);
      case op.time:
        record.writeUInt16BE(0, size);
        this.#size += 2;
        return this.#takeOwn(6);
      case op.sameTime:
        return this.#again(this.#portAt() + 8, 8);
      case op.long:
        return this.#takeOwn(8);
      default:
        throw new RangeError(`${code} stands in no shared part`);
    }
  }

  #part(code: number): void {
    const record = this.#record;
    switch (code) {
      case op.partHost:
        return this.#again(2, uint16(record, 0));
      case op.partAddress: {
        const at = this.#appPortAt() + 2;
        return this.#again(at + 2, uint16(record, at));
      }
      case op.partAppPort:
        return this.#digits(uint16(record, this.#appPortAt()));
      case op.partPort:
        return this.#digits(uint16(record, this.#portAt()));
      case op.partNumber:
        return this.#digits(this.#number());
      case op.partHex: {
        const length = this.#own[this.#ownAt++] as number;
        const hex = this.#own.toString("hex", this.#ownAt, this.#ownAt + length);
        this.#ownAt += length;
        this.#size += record.write(hex, this.#size, "latin1");
        return;
      }
      case op.partRaw:
        return this.#takeOwn(this.#own[this.#ownAt++] as number);
      default:
        throw new RangeError(`${code} stands in no text`);
    }
  }

  #digits(value: number): void {
    this.#size += this.#record.write(String(value), this.#size, "latin1");
  }

  #number(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = this.#own[this.#ownAt++] as number;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  #takeOwn(length: number): void {
    this.#own.copy(this.#record, this.#size, this.#ownAt, this.#ownAt + length);
    this.#ownAt += length;
    this.#size += length;
  }

  /** What was written at `from` already. */
  #again(from: number, length: number): void {
    this.#record.copyWithin(this.#size, from, from + length);
    this.#size += length;
  }

  /** Behind host and application. */
  #appPortAt(): number {
    const application = 2 + uint16(this.#record, 0);
    return application + 2 + uint16(this.#record, application);
  }

  #portAt(): number {
    const address = this.#appPortAt() + 2;
    return address + 2 + uint16(this.#record, address);
  }
}

function writeAddress(record: Buffer, at: number, address: number): number {
  const text = `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
  return record.write(text, at, "latin1");
}
