/**
 * The one connection to the registry: dials, says hello, notices silence, and comes back with exponential back-off and full jitter. It
 * knows nothing of what is said after the hello.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import { FrameError } from "@dualmesh/wire/codec";
import { type Channel, FrameCutter } from "@dualmesh/wire/stream/channel";
import { decodeMessage } from "@dualmesh/wire/stream/decode";
import { encodeMessage } from "@dualmesh/wire/stream/encode";
import { frameTimeoutMs, helloTimeoutMs, maxStreamFrameBytes, silentPings } from "@dualmesh/wire/stream/limits";
import type { Hello, HelloAck, StreamMessage } from "@dualmesh/wire/stream/messages";
import type { Dial } from "./tcp.ts";

const firstDelayMs = 100;
const largestDelayMs = 2_000;
/** A connection that lasted this long was a good one: the next attempt after it comes soon. */
const goodAfterMs = 5_000;
/** Whatever period a registry names, silence is looked for no more and no less often than this. */
const shortestPingMs = 100;
const longestPingMs = 60_000;

export type LinkState = "waiting" | "connecting" | "connected" | "taken-over" | "closed";

export interface LinkOptions {
  /** `host:port`, tried in turn. */
  readonly addresses: readonly string[];
  readonly dial: Dial;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hello: () => Hello;
  readonly onOpen: (ack: HelloAck) => void;
  readonly onMessage: (message: StreamMessage) => void;
  readonly onDown: () => void;
  /** Another process continues the session: this one does not come back. */
  readonly onTakenOver: () => void;
}

export class Link {
  readonly #options: LinkOptions;
  #channel: Channel | undefined;
  #cutter: FrameCutter | undefined;
  #state: LinkState = "waiting";
  #ack: HelloAck | undefined;
  #attempt = 0;
  #address: number;
  #openedAt = 0;
  #heardAt = 0;
  #retry: Timer | undefined;
  #deadline: Timer | undefined;
  #silence: Timer | undefined;
  #warned = false;
  lastError = "";
  readonly counts = { connects: 0, failures: 0, malformed: 0, silent: 0, slowFrames: 0 };

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#address = Math.floor(options.random.next() * options.addresses.length);
  }

  get state(): LinkState {
    return this.#state;
  }

  get open(): boolean {
    return this.#state === "connected";
  }

  get ack(): HelloAck | undefined {
    return this.#ack;
  }

  get address(): string {
    return this.#options.addresses[this.#address % this.#options.addresses.length] as string;
  }

  start(): void {
    this.#dial();
  }

  /** Says nothing while there is no connection: what matters is said again when there is. */
  send(message: StreamMessage): void {
    if (this.open) this.#channel?.send(encodeMessage(message));
  }

  /** Gives this connection up and dials again after a while. */
  drop(reason: string): void {
    const channel = this.#channel;
    this.#down(channel, reason);
    channel?.destroy();
  }

  /** Ends for good, at once. */
  close(): void {
    this.#finish("closed");
  }

  #finish(state: "closed" | "taken-over"): void {
    if (this.#state === "closed") return;
    const channel = this.#channel;
    const wasOpen = this.open;
    this.#state = state;
    this.#retry?.cancel();
    this.#release();
    channel?.destroy();
    if (wasOpen) this.#options.onDown();
  }

  #dial(): void {
    const { dial, clock } = this.#options;
    this.#state = "connecting";
    this.#heardAt = clock.now();
    const cutter = new FrameCutter(maxStreamFrameBytes, (frame) => {
      const message = decodeMessage(frame);
      if (message !== undefined) this.#onMessage(message);
      return this.#channel === channel;
    });
    const channel: Channel = dial(this.address, {
      opened: () => {
        if (this.#channel === channel) channel.send(encodeMessage(this.#options.hello()));
      },
      received: (bytes) => {
        if (this.#channel !== channel) return;
        this.#heardAt = clock.now();
        try {
          cutter.read(bytes, this.#heardAt);
        } catch (error) {
          if (!(error instanceof FrameError)) throw error;
          this.counts.malformed++;
          this.drop(messageOf(error));
        }
      },
      drained: () => {},
      closed: (reason) => this.#down(channel, reason),
    });
    this.#channel = channel;
    this.#cutter = cutter;
    this.#deadline = clock.after(helloTimeoutMs, () => this.drop("no answer to the hello"));
  }

  #onMessage(message: StreamMessage): void {
    if (message.type === "goodbye" && message.reason === "taken-over") {
      this.#options.log.info({ registry: this.address }, "another process continues this registry session");
      this.#finish("taken-over");
      return this.#options.onTakenOver();
    }
    if (message.type === "error" && message.request === 0) this.lastError = `${message.code}: ${message.text}`;
    if (this.open) return this.#options.onMessage(message);
    if (message.type === "helloAck") this.#onAck(message);
  }

  #onAck(ack: HelloAck): void {
    const { clock, log } = this.#options;
    this.#deadline?.cancel();
    this.#ack = ack;
    this.#state = "connected";
    this.#openedAt = clock.now();
    this.counts.connects++;
    this.#warned = false;
    this.lastError = "";
    const pingMs = Math.min(Math.max(ack.limits.pingMs, shortestPingMs), longestPingMs);
    this.#silence = clock.every(pingMs, () => this.#look(pingMs));
    log.info({ registry: this.address, epoch: ack.epoch, resumed: ack.resumed }, "connected to the registry");
    this.#options.onOpen(ack);
  }

  /** Every byte is a sign of life, but a frame that never ends holds its memory and all that comes behind it. */
  #look(pingMs: number): void {
    const now = this.#options.clock.now();
    if (now - this.#heardAt > pingMs * silentPings) {
      this.counts.silent++;
      this.drop("the registry is silent");
    } else if ((this.#cutter?.unfinishedMs(now) ?? 0) > frameTimeoutMs) {
      this.counts.slowFrames++;
      this.drop(`the registry did not end a frame within ${frameTimeoutMs} ms`);
    }
  }

  #down(channel: Channel | undefined, reason: string): void {
    if (channel === undefined || this.#channel !== channel) return;
    const { clock, random, log, onDown } = this.#options;
    const wasOpen = this.open;
    this.#release();
    this.#state = "waiting";
    if (this.lastError === "" || wasOpen) this.lastError = reason;
    if (wasOpen && clock.now() - this.#openedAt >= goodAfterMs) this.#attempt = 0;
    else if (!wasOpen) this.counts.failures++;
    if (!wasOpen) this.#address++;
    const delay = random.next() * Math.min(largestDelayMs, firstDelayMs * 2 ** Math.min(this.#attempt, 16));
    this.#attempt++;
    if (!this.#warned) {
      // Once for each outage: the address list may be tried for hours.
      this.#warned = true;
      log.warn(
        { registry: this.address, reason: this.lastError },
        "the registry is out of reach; what is known stays in force",
      );
    }
    this.#retry = clock.after(delay, () => this.#dial());
    if (wasOpen) onDown();
  }

  #release(): void {
    this.#channel = undefined;
    this.#cutter = undefined;
    this.#deadline?.cancel();
    this.#silence?.cancel();
  }
}
