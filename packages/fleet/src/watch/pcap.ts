/**
 * Why this exists: packets that pass arrive as the bytes of a classic pcap file, in pieces of any size. This cuts them into packets where
 * they lie; only what is incomplete at the end of a piece is kept. Both byte orders and both resolutions of time are read. Bytes that
 * are no such file raise `capture.malformed` and nothing else.
 */
import { MeshError } from "@dualmesh/base/errors";

/** What a capture's header may name as the kind of link. */
export const linkType = { ethernet: 1, sll: 113, sll2: 276 } as const;

/** A packet, valid during the call only; its numbers are filled anew for each. */
export interface PcapPacket {
  bytes: Buffer;
  start: number;
  /** Where what was captured ends. */
  end: number;
  /** How long it was on the wire, the head of the link included. */
  wireSize: number;
  /** When it passed, in milliseconds since the epoch, with a fraction. */
  atMs: number;
  linkType: number;
}

/** The largest piece of a packet that tcpdump ever keeps; a record that promises more is none. */
const maxPacketBytes = 262_144;
/** The kernel hands on a train of segments as one packet, of up to half a megabyte. */
const maxWireBytes = 16 * 1_024 * 1_024;
const fileHeadBytes = 24;
const recordHeadBytes = 16;
const firstBytes = 4_096;

const knownLinkTypes: readonly number[] = Object.values(linkType);

export class PcapReader {
  readonly #onPacket: (packet: PcapPacket) => void;
  readonly #packet: PcapPacket = { bytes: Buffer.alloc(0), start: 0, end: 0, wireSize: 0, atMs: 0, linkType: 0 };
  #isLittle = false;
  /** Fractions in a second as the file counts them; 0 until its head is read. */
  #resolution = 0;
  #partial: Buffer = Buffer.alloc(0);
  #held = 0;
  #need = 0;

  constructor(onPacket: (packet: PcapPacket) => void) {
    this.#onPacket = onPacket;
  }

  /** Memory that is held for a packet that is not whole yet. */
  get heldBytes(): number {
    return this.#partial.length;
  }

  /** Takes in the next bytes of the file; throws `capture.malformed`, after which it is of no further use. */
  read(bytes: Buffer): void {
    let at = 0;
    while (this.#held > 0 && at < bytes.length) {
      const size = Math.min(this.#need - this.#held, bytes.length - at);
      this.#keep(bytes, at, at + size);
      at += size;
      if (this.#held < this.#need) return;
      const taken = this.#take(this.#partial, 0, this.#held);
      if (taken < 0) this.#need = -taken;
      else this.#held = 0;
    }
    while (at < bytes.length) {
      const taken = this.#take(bytes, at, bytes.length);
      if (taken < 0) {
        this.#need = -taken;
        return this.#keep(bytes, at, bytes.length);
      }
      at += taken;
    }
  }

  /** How many bytes the record at `at` takes, once it was handed on; the negated size that is needed when it is not whole. */
  #take(bytes: Buffer, at: number, end: number): number {
    if (this.#resolution === 0) {
      if (end - at < fileHeadBytes) return -fileHeadBytes;
      this.#readFileHead(bytes, at);
      return fileHeadBytes;
    }
    if (end - at < recordHeadBytes) return -recordHeadBytes;
    const fraction = this.#uint32(bytes, at + 4);
    const size = this.#uint32(bytes, at + 8);
    const wireSize = this.#uint32(bytes, at + 12);
    if (size > maxPacketBytes || wireSize > maxWireBytes || fraction >= this.#resolution)
      throw malformed(`a record of ${size} bytes out of ${wireSize}, ${fraction} parts of a second`);
    if (end - at < recordHeadBytes + size) return -(recordHeadBytes + size);
    const packet = this.#packet;
    packet.bytes = bytes;
    packet.start = at + recordHeadBytes;
    packet.end = packet.start + size;
    packet.wireSize = Math.max(wireSize, size);
    packet.atMs = this.#uint32(bytes, at) * 1_000 + fraction / (this.#resolution / 1_000);
    this.#onPacket(packet);
    return recordHeadBytes + size;
  }

  #readFileHead(bytes: Buffer, at: number): void {
    const big = bytes.readUInt32BE(at);
    const little = bytes.readUInt32LE(at);
    this.#isLittle = little === 0xa1b2c3d4 || little === 0xa1b23c4d;
    const magic = this.#isLittle ? little : big;
    if (magic !== 0xa1b2c3d4 && magic !== 0xa1b23c4d) throw malformed(`a file that begins with ${big.toString(16)}`);
    // The upper bits say whether a frame's own checksum is there.
    const type = this.#uint32(bytes, at + 20) & 0xffff;
    if (!knownLinkTypes.includes(type)) throw malformed(`packets of link type ${type}`);
    this.#packet.linkType = type;
    this.#resolution = magic === 0xa1b2c3d4 ? 1_000_000 : 1_000_000_000;
  }

  #uint32(bytes: Buffer, at: number): number {
    return this.#isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
  }

  /** Grows with what has arrived, never with what was promised. */
  #keep(bytes: Buffer, start: number, end: number): void {
    const size = this.#held + end - start;
    if (size > this.#partial.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(size, firstBytes, Math.min(this.#partial.length * 2, this.#need)));
      this.#partial.copy(grown, 0, 0, this.#held);
      this.#partial = grown;
    }
    bytes.copy(this.#partial, this.#held, start, end);
    this.#held = size;
  }
}

function malformed(what: string): MeshError {
  return new MeshError(
    "capture.malformed",
    `what tcpdump gave is no capture that can be read (${what}): look whether tcpdump is the one of the distribution`,
  );
}
