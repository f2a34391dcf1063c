/**
 * Why this exists: one direction of a TCP connection as it passes, of which only the beginnings of frames are wanted. A head says how long
 * its frame is, so the number at which the next one begins is known; whatever lies before it is a body or was seen already, and is not
 * looked at, let alone stored. So packets that come twice (on loopback all do), in another order or never do no harm unless a
 * head is in them. What comes before the head that is waited for is kept for a moment, within limits; if that head never
 * comes, reading begins anew at the next packet that begins with a frame.
 */
import type { ByteBudget } from "@dualmesh/base/byte-budget";
import { Head, maxHeadBytes, readHead } from "./heads.ts";
import type { Segment } from "./segments.ts";

/** Whom a stream tells, and the memory that all streams share. */
export interface HeadListener {
  /** `head` is valid during the call only. `atMs` is when its first byte passed. */
  onHead(stream: HeadStream, head: Head, atMs: number): void;
  /** What passed since the last head is not known. */
  onLost(stream: HeadStream): void;
}

interface EarlyPacket {
  readonly sequence: number;
  readonly bytes: Buffer;
  readonly size: number;
  readonly atMs: number;
}

/** Per stream; a packet may be a train of 64 KiB. */
export const maxEarlyPackets = 32;
export const maxEarlyBytes = 262_144;
/** A packet that was only overtaken is there by then. */
export const maxEarlyMs = 1_000;
/** Numbers further away than any frame is long are those of another connection. */
const farBytes = 64 * 1_024 * 1_024;

const head: Head = new Head();

export class HeadStream {
  readonly #listener: HeadListener;
  readonly #memory: ByteBudget;
  #isInStep = false;
  /** The number of the next byte that is wanted: where a head begins, or where the rest of one does. */
  #next = 0;
  #protocol: Head["protocol"] | undefined;
  /** A head that is not whole yet. */
  #partial: Buffer | undefined;
  #held = 0;
  #need = 0;
  #heldMs = 0;
  #early: EarlyPacket[] = [];
  #earlyBytes = 0;
  /** The number of the connection's first byte, when its beginning was seen. */
  #firstByte: number | undefined;

  constructor(listener: HeadListener, memory: ByteBudget) {
    this.#listener = listener;
    this.#memory = memory;
  }

  /** Whether packets wait here for one that is missing. */
  get isWaiting(): boolean {
    return this.#early.length > 0;
  }

  /** Whether a frame was ever read here. */
  get wasRead(): boolean {
    return this.#protocol !== undefined;
  }

  /** Its first byte has the number behind `sequence`. False when another beginning was seen before: this is another connection then. */
  begin(sequence: number): boolean {
    const first = (sequence + 1) | 0;
    if (this.#firstByte !== undefined || this.#isInStep) return this.#firstByte === first;
    this.#firstByte = first;
    this.#next = first;
    this.#isInStep = true;
    return true;
  }

  read(segment: Segment): void {
    const { size, sequence, bytes, payloadAt, payloadEnd, atMs } = segment;
    if (size === 0) return;
    if (!this.#isInStep && !this.#findStep(segment)) return;
    const ahead = (sequence - this.#next) | 0;
    if (ahead > 0 || ahead < -farBytes) return this.#takeEarly(segment, ahead);
    if (ahead + size <= 0) return;
    this.#consume(bytes, payloadAt - ahead, payloadEnd, payloadAt + size, atMs);
    if (this.#early.length > 0) this.#drain();
  }

  /** Gives up waiting for what has not come by now. */
  expire(nowMs: number): void {
    const [first] = this.#early;
    if (first !== undefined && nowMs - first.atMs > maxEarlyMs) this.lose();
  }

  /** Reading begins anew at the next packet that begins with a frame. */
  lose(): void {
    if (!this.#isInStep) return;
    this.close();
    this.#listener.onLost(this);
  }

  close(): void {
    this.#isInStep = false;
    this.#held = 0;
    this.#partial = undefined;
    this.#dropEarly();
  }

  #findStep({ sequence, bytes, payloadAt, payloadEnd }: Segment): boolean {
    const size = readHead(bytes, payloadAt, payloadEnd, head);
    // A negative size is that of a head that might still become one: enough of it must be there to be believed.
    if (size === 0 || (size < 0 && payloadEnd - payloadAt < minBelievedBytes)) return false;
    if (size > 0 && this.#protocol !== undefined && head.protocol !== this.#protocol) return false;
    this.#next = sequence;
    this.#isInStep = true;
    return true;
  }

  #takeEarly(segment: Segment, ahead: number): void {
    const { sequence, bytes, payloadAt, payloadEnd, size, atMs } = segment;
    const captured = Math.max(0, payloadEnd - payloadAt);
    const [first] = this.#early;
    const tooLong = first !== undefined && atMs - first.atMs > maxEarlyMs;
    const tooMany = this.#early.length >= maxEarlyPackets || this.#earlyBytes + captured > maxEarlyBytes;
    if (Math.abs(ahead) > farBytes || tooLong || tooMany || !this.#memory.take(captured)) {
      this.lose();
      if (this.#findStep(segment)) this.read(segment);
      return;
    }
    const copy = Buffer.allocUnsafeSlow(captured);
    bytes.copy(copy, 0, payloadAt, payloadAt + captured);
    this.#earlyBytes += captured;
    this.#early.push({ sequence, bytes: copy, size, atMs });
  }

  /** Takes up what was early and is not any more. */
  #drain(): void {
    for (let index = 0; index < this.#early.length; ) {
      const { sequence, bytes, size, atMs } = this.#early[index] as EarlyPacket;
      const ahead = (sequence - this.#next) | 0;
      if (ahead > 0) {
        index++;
        continue;
      }
      this.#early.splice(index, 1);
      this.#earlyBytes -= bytes.length;
      this.#memory.give(bytes.length);
      if (ahead + size <= 0) continue;
      this.#consume(bytes, -ahead, bytes.length, size, atMs);
      index = 0; // what stood before it may go on where it ended
    }
  }

  /** Reads heads from `from` on, which has the number `#next`; `wireEnd` is where the packet ended on the wire, maybe behind `end`. */
  #consume(bytes: Buffer, from: number, end: number, wireEnd: number, atMs: number): void {
    let at = from;
    while (this.#held > 0 && at < end) {
      const took = this.#complete(bytes, at, end);
      if (took < 0) return this.lose();
      at += took;
    }
    while (at < end) {
      const size = readHead(bytes, at, end, head);
      if (size < 0) {
        this.#hold(bytes, at, end, -size, atMs);
        at = end;
      } else if (size === 0 || !this.#tell(atMs)) {
        return this.lose();
      } else {
        at += size;
        this.#next = (this.#next + size) | 0;
      }
    }
    // The next head lies in what was on the wire and is not in the capture.
    if (at < wireEnd) this.lose();
  }

  /** Adds to the head that is not whole; how many bytes that took, with those of its body that are there, or -1 when it is none. */
  #complete(bytes: Buffer, at: number, end: number): number {
    const partial = this.#partial as Buffer;
    const took = Math.min(this.#need - this.#held, end - at);
    bytes.copy(partial, this.#held, at, at + took);
    this.#held += took;
    this.#next = (this.#next + took) | 0;
    if (this.#held < this.#need) return took;
    const size = readHead(partial, 0, this.#held, head);
    if (size < 0) {
      this.#need = Math.min(-size, maxHeadBytes);
      return took;
    }
    const rest = size - this.#held;
    this.#held = 0;
    if (size === 0 || rest < 0 || !this.#tell(this.#heldMs)) return -1;
    this.#next = (this.#next + rest) | 0;
    return took + rest;
  }

  #hold(bytes: Buffer, at: number, end: number, need: number, atMs: number): void {
    this.#partial ??= Buffer.allocUnsafeSlow(maxHeadBytes);
    this.#held = bytes.copy(this.#partial, 0, at, end);
    this.#need = Math.min(need, maxHeadBytes);
    this.#heldMs = atMs;
    this.#next = (this.#next + this.#held) | 0;
  }

  /** False when the head is of another protocol than those before: then it is no head. */
  #tell(atMs: number): boolean {
    this.#protocol ??= head.protocol;
    if (head.protocol !== this.#protocol) return false;
    this.#listener.onHead(this, head, atMs);
    return true;
  }

  #dropEarly(): void {
    this.#memory.give(this.#earlyBytes);
    this.#early = [];
    this.#earlyBytes = 0;
  }
}

/** As much as the fixed part of a head has. */
const minBelievedBytes = 22;
