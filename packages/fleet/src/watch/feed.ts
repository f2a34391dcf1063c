/**
 * Why this exists: the capture that calls are read from, for as long as somebody watches. One that ends by itself, or gives what cannot be
 * read, is started anew a few times; whatever was missed meanwhile is told, so that nobody takes it for silence.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Capture, Host } from "../host/host.ts";
import { PcapReader } from "./pcap.ts";
import { readSegment, Segment } from "./segments.ts";

export interface FeedOptions {
  readonly host: Host;
  readonly ports: readonly number[];
  readonly clock: Clock;
  readonly log: Log;
  readonly onSegment: (segment: Segment) => void;
  /** Packets passed, or may have passed, unseen. */
  readonly onGap: () => void;
  /** A sentence for people. */
  readonly onUnseen: (why: string) => void;
}

/** `Host.capture` takes no more. */
export const maxPorts = 64;
export const maxRestarts = 3;
/**
 * tcpdump sets aside this much for every packet, however short: with whole packets of 256 KiB its memory in the kernel holds sixteen, and more
 * than half of a burst is never seen. A head further behind is missed, and reading begins anew with the next packet.
 */
const snapBytes = 16_384;
const restartMs = 500;

export class CaptureFeed {
  readonly #options: FeedOptions;
  readonly #segment: Segment = new Segment();
  #opening: Promise<void> | undefined;
  #capture: Capture | undefined;
  #restarts = 0;
  #timer: Timer | undefined;
  #isClosed = false;
  /** Whether packets are seen now. */
  isOpen = false;

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  /** Resolves when packets are seen, or when it is known (and told) that they are not. */
  open(): Promise<void> {
    this.#opening ??= this.#begin();
    return this.#opening;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#opening;
    this.isOpen = false;
    await this.#end(this.#capture);
  }

  async #begin(): Promise<void> {
    const { host, onUnseen } = this.#options;
    try {
      const why = await host.whyNoCapture();
      if (why !== undefined) return onUnseen(`calls cannot be looked at as they pass: ${why}`);
      await this.#start();
    } catch (error) {
      this.#say(`calls cannot be looked at as they pass: ${messageOf(error)}`);
    }
  }

  async #start(): Promise<void> {
    if (this.#isClosed) return;
    let isCurrent = true;
    const over = (why: string): void => {
      if (!isCurrent) return;
      isCurrent = false;
      this.#onEnd(why);
    };
    const reader = new PcapReader((packet) => {
      if (readSegment(packet, this.#segment)) this.#options.onSegment(this.#segment);
    });
    const onBytes = (bytes: Buffer): void => {
      if (!isCurrent || this.#isClosed) return;
      try {
        reader.read(bytes);
      } catch (error) {
        if (!isMeshError(error, "capture.malformed")) throw error;
        over(error.message);
      }
    };
    let capture: Capture;
    try {
      capture = await this.#options.host.capture({ ports: this.#options.ports, snapBytes, onBytes, onEnd: over });
    } catch (error) {
      isCurrent = false;
      throw error;
    }
    // It may have ended, or not be wanted any more, before it was known to have begun.
    if (!isCurrent || this.#isClosed) return this.#end(capture);
    this.#capture = capture;
    this.isOpen = true;
  }

  #onEnd(why: string): void {
    this.isOpen = false;
    if (this.#isClosed) return;
    this.#options.onGap();
    const isLast = this.#restarts >= maxRestarts;
    this.#say(`the capture of calls ended by itself (${why})${isLast ? " and is not started anew" : ""}`);
    void this.#end(this.#capture);
    this.#capture = undefined;
    if (isLast) return;
    this.#restarts++;
    this.#timer = this.#options.clock.after(restartMs, () => {
      this.#opening = this.#start().catch((error: unknown) => this.#onEnd(messageOf(error)));
    });
  }

  async #end(capture: Capture | undefined): Promise<void> {
    try {
      await capture?.close();
    } catch (error) {
      this.#say(`the capture of calls did not end in order: ${messageOf(error)}`);
    }
  }

  #say(why: string): void {
    this.#options.log.warn({ why }, "calls are not seen as they pass");
    this.#options.onUnseen(why);
  }
}
