/**
 * The conversation of the two processes: packets out of a queue as the kernel takes them, packets in as they come, neither ever blocking. Looking for
 * packets costs a system call of 2 us; it is done every turn of the event loop while something comes or goes, and every millisecond otherwise.
 */
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import { maxPacketDescriptors, type Packets } from "../transport/native.ts";
import { decodeMessage, encodeMessage, type Message, maxBodyBytes } from "./messages.ts";

export interface ChannelEvents {
  /** `body` is valid during the call only. The descriptors are the receiver's. */
  onMessage(message: Message, body: Buffer, descriptors: readonly number[]): void;
  /** Nothing comes any more, once; the channel is closed. */
  onEnd(reason: string): void;
}

export interface ChannelOptions {
  readonly calls: Packets;
  readonly socket: number;
  readonly clock?: Clock;
  readonly events: ChannelEvents;
  /** How long the other side may be silent; undefined for any time. */
  readonly silenceMs: () => number | undefined;
}

/** What waits to be taken; an other side that takes nothing of so much will not take it. */
const maxQueueBytes = 256 * 1024 * 1024;
/** Packets that were taken already and stand before those that wait. */
const keptSent = 1_024;
const lookMs = 1;
/** How an end is told of that nobody announced: the kernel closed the other end, or its process did. */
export const goneText = "it is gone";
const sliceMs = 2;
const aliveMs = 500;

interface Queued {
  readonly packet: Buffer;
  readonly descriptors: readonly number[];
  /** Of the descriptors, while the packet waits. */
  copies?: readonly number[];
}

export class Channel {
  readonly #options: ChannelOptions;
  readonly #clock: Clock;
  #queue: Queued[] = [];
  #sent = 0;
  #queuedBytes = 0;
  #heardMs: number;
  #saidMs: number;
  #closed = false;
  #timer: { cancel(): void } | undefined;
  #drained: (() => void)[] = [];

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#heardMs = this.#saidMs = this.#clock.now();
    this.#schedule(true);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Says it when the other side takes it. Descriptors stay this side's. */
  say(message: Message, body?: Uint8Array, descriptors: readonly number[] = []): void {
    if (this.#closed) return;
    if (descriptors.length > maxPacketDescriptors)
      throw new MeshError("upgrade.message", `${descriptors.length} descriptors in one packet`);
    const packet = encodeMessage(message, body);
    const queued: Queued = { packet, descriptors };
    this.#queue.push(queued);
    this.#queuedBytes += packet.length;
    if (this.#queuedBytes > maxQueueBytes) return this.#end("it takes nothing of what it is told");
    this.#flush();
    // By the time that they are taken their owner may have closed them, and the numbers may mean something else.
    if (descriptors.length > 0 && this.#queue.includes(queued))
      queued.copies = descriptors.map((one) => this.#options.calls.duplicate(one));
  }

  /** A text of any length, in as many messages as it takes. */
  sayAll(make: (more: boolean) => Message, bytes: Uint8Array): void {
    let at = 0;
    do {
      const end = Math.min(bytes.length, at + maxBodyBytes);
      this.say(make(end < bytes.length), bytes.subarray(at, end));
      at = end;
    } while (at < bytes.length);
  }

  /** Resolves when the kernel has taken all that was said, or the channel is closed. */
  drained(): Promise<void> {
    if (this.#closed || this.#queue.length === this.#sent) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** Takes in what has come, now. */
  look(): void {
    if (!this.#closed) this.#read(this.#clock.now());
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    const { calls, socket } = this.#options;
    this.#forgetUnsent();
    calls.close(socket);
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  #end(reason: string): void {
    if (this.#closed) return;
    this.close();
    this.#options.events.onEnd(reason);
  }

  #schedule(isBusy: boolean): void {
    if (this.#closed) return;
    if (!isBusy) this.#timer = this.#clock.after(lookMs, () => this.#turn(), true);
    else {
      const immediate = setImmediate(() => this.#turn());
      this.#timer = { cancel: () => clearImmediate(immediate) };
    }
  }

  #turn(): void {
    const now = this.#clock.now();
    const wrote = this.#flush();
    const read = this.#read(now);
    if (this.#closed) return;
    const silence = this.#options.silenceMs();
    if (silence !== undefined && now - this.#heardMs > silence)
      return this.#end(`it has said nothing for ${silence} ms`);
    if (now - this.#saidMs > aliveMs) this.say({ say: "alive" });
    this.#schedule(wrote || read);
  }

  /** Returns true when something went. */
  #flush(): boolean {
    const { calls, socket } = this.#options;
    const before = this.#sent;
    try {
      while (this.#sent < this.#queue.length) {
        const { packet, descriptors, copies } = this.#queue[this.#sent] as Queued;
        if (!calls.send(socket, packet, copies ?? descriptors)) break;
        for (const copy of copies ?? []) calls.close(copy);
        this.#sent++;
        this.#queuedBytes -= packet.length;
      }
    } catch (error) {
      // What it had said before it went is read first.
      if (!isMeshError(error, "upgrade.gone")) this.#end(messageOf(error));
      else this.#forgetUnsent();
    }
    const went = this.#sent > before;
    if (this.#sent >= keptSent) {
      this.#queue.splice(0, this.#sent);
      this.#sent = 0;
    }
    if (went) this.#saidMs = this.#clock.now();
    if (this.#sent === this.#queue.length) {
      this.#queue = [];
      this.#sent = 0;
      for (const resolve of this.#drained.splice(0)) resolve();
    }
    return went;
  }

  /** Nobody takes it any more. A copy that stayed open would keep its connection open for the peer. */
  #forgetUnsent(): void {
    const unsent = this.#queue.splice(this.#sent);
    for (const { copies } of unsent) for (const copy of copies ?? []) this.#options.calls.close(copy);
    this.#queuedBytes = 0;
  }

  /** Returns true when something came. */
  #read(now: number): boolean {
    const { calls, socket, events } = this.#options;
    let some = false;
    try {
      while (!this.#closed) {
        const packet = calls.receive(socket);
        if (packet === "empty") break;
        if (packet === "end") {
          this.#end(goneText);
          break;
        }
        some = true;
        this.#heardMs = now;
        const read = decodeMessage(packet.bytes);
        if (read === undefined) for (const descriptor of packet.descriptors) calls.close(descriptor);
        else events.onMessage(read.message, read.body, packet.descriptors);
        if (this.#clock.now() - now >= sliceMs) break;
      }
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#end(error.message);
    }
    return some;
  }
}
