/** The channel as either side reads it: messages go to who listens now, and what is waited for is a promise with a limit. */
import { type Clock, sleep } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Packets } from "../transport/native.ts";
import { Channel, goneText } from "./channel.ts";
import { type Greeting, type Message, spoken } from "./messages.ts";

export interface ConversationOptions {
  readonly calls: Packets;
  readonly socket: number;
  readonly clock: Clock;
  /** Everything that nobody waits for. */
  readonly onMessage: (message: Message, body: Buffer, descriptors: readonly number[]) => void;
  /** The other process is gone, or has been silent for too long; once. */
  readonly onEnd: (reason: string) => void;
}

/** What one side waits for. */
const awaited: ReadonlySet<Message["say"]> = new Set(["hello", "take-up", "ready", "holds", "commit", "committed"]);

interface Waiter {
  readonly word: Message["say"];
  readonly settle: (message: Message | MeshError) => void;
}

/** The other side says every half second that it is there. While connections stand still less is waited for. */
const silenceMs = 5_000;
const stillSilenceMs = 2_000;

export class Conversation {
  readonly channel: Channel;
  readonly #clock: Clock;
  readonly #pieces: Buffer[] = [];
  /** Connections stand still until the other side answers. */
  isStill = false;
  readonly #early = new Map<Message["say"], Message>();
  #waiter: Waiter | undefined;
  #ended: MeshError | undefined;

  constructor({ calls, socket, clock, onMessage, onEnd }: ConversationOptions) {
    this.#clock = clock;
    this.channel = new Channel({
      ...{ calls, socket, clock },
      silenceMs: () => (this.isStill ? stillSilenceMs : silenceMs),
      events: {
        onMessage: (message, body, descriptors) => {
          if (message.say === "give-up") return this.#end(`it gives up: ${message.reason}`, onEnd);
          if (!awaited.has(message.say)) return onMessage(message, body, descriptors);
          if ("more" in message) {
            this.#pieces.push(Buffer.from(body));
            if (message.more) return;
          }
          const waiter = this.#waiter;
          // Several that come at once are read in one go, before whoever heard the first can wait for the next.
          if (waiter?.word !== message.say) return void this.#early.set(message.say, message);
          this.#waiter = undefined;
          waiter.settle(message);
        },
        onEnd: (reason) => this.#end(reason, onEnd),
      },
    });
  }

  get isOver(): boolean {
    return this.#ended !== undefined;
  }

  /** The other process has died, or closed its end. */
  get isGone(): boolean {
    return this.#ended?.message === goneText;
  }

  /** Resolves with the message; rejects with `upgrade.gone` or `upgrade.late`. */
  hears<Say extends Message["say"]>(say: Say, limitMs: number): Promise<Extract<Message, { readonly say: Say }>> {
    return new Promise((resolve, reject) => {
      const early = this.#early.get(say);
      this.#early.delete(say);
      if (early !== undefined) return resolve(early as Extract<Message, { readonly say: Say }>);
      if (this.#ended !== undefined) return reject(this.#ended);
      const timer = this.#clock.after(limitMs, () => {
        // It may have been said long ago, to a process that stood still.
        this.channel.look();
        if (this.#waiter !== waiter) return;
        this.#waiter = undefined;
        reject(new MeshError("upgrade.late", `the other process has not said "${say}" within ${limitMs} ms`));
      });
      const waiter: Waiter = {
        word: say,
        settle: (message) => {
          timer.cancel();
          if (message instanceof MeshError) reject(message);
          else resolve(message as Extract<Message, { readonly say: Say }>);
        },
      };
      this.#waiter = waiter;
    });
  }

  /** What came beside the pieces of the last message that was heard in pieces. */
  text(): string {
    return Buffer.concat(this.#pieces.splice(0)).toString("utf8");
  }

  /** Both say who they are. Rejects with `upgrade.version` when they have no words in common. */
  async greet(version: string, limitMs: number): Promise<Greeting> {
    this.channel.say({ say: "hello", ...spoken, version, pid: process.pid });
    const other = await this.hears("hello", limitMs);
    if (other.newest < spoken.oldest || other.oldest > spoken.newest) {
      throw new MeshError(
        "upgrade.version",
        `version ${other.version} speaks ${other.oldest} to ${other.newest}, and this one (${version}) ${spoken.oldest} to ${spoken.newest}: upgrade by a version in between`,
      );
    }
    return other;
  }

  /** Has the other side know why it ends. */
  async giveUp(reason: string): Promise<void> {
    this.channel.say({ say: "give-up", reason });
    await Promise.race([this.channel.drained(), sleep(this.#clock, 200)]);
    this.channel.close();
  }

  #end(reason: string, onEnd: (reason: string) => void): void {
    if (this.#ended !== undefined) return;
    this.#ended = new MeshError("upgrade.gone", reason);
    this.channel.close();
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.settle(this.#ended);
    onEnd(reason);
  }
}
