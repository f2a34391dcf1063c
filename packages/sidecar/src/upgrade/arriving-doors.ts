/** Connections of doors in the process that comes: held by their descriptors until it goes on with all, then given to the doors that they were of. */
import type { Log } from "@dualmesh/base/log";
import type { Packets } from "../transport/native.ts";
import type { StillConnections } from "../transport/still-connections.ts";
import type { Transport } from "../transport/transport.ts";
import type { Message } from "./messages.ts";

export interface ArrivingDoorsOptions {
  readonly still: StillConnections;
  readonly calls: Pick<Packets, "close">;
  readonly log: Log;
  /** Makes a connection of a descriptor. */
  readonly adopt: (descriptor: number, wroteAll: boolean, from: "endpoint") => Transport;
}

type DoorLine = Extract<Message, { readonly say: "door" }>;

interface Arrived {
  readonly line: DoorLine;
  readonly descriptors: readonly number[];
  readonly pieces: Buffer[];
  isWhole: boolean;
}

export class ArrivingDoors {
  readonly #options: ArrivingDoorsOptions;
  #all: Arrived[] = [];

  constructor(options: ArrivingDoorsOptions) {
    this.#options = options;
  }

  /** What is said of one connection comes in one go. */
  hear(
    message: DoorLine | Extract<Message, { readonly say: "door-state" }>,
    body: Buffer,
    descriptors: readonly number[],
  ): void {
    if (message.say === "door") {
      this.#all.push({ line: message, descriptors, pieces: [], isWhole: false });
      return;
    }
    const arrived = this.#all.at(-1);
    arrived?.pieces.push(Buffer.from(body));
    if (arrived !== undefined) arrived.isWhole = !message.more;
  }

  /** The doors go on with what is whole. Gives how many there were. */
  commit(): number {
    const { still, adopt } = this.#options;
    const whole = this.#all.filter(({ isWhole }) => isWhole);
    this.#all = this.#all.filter(({ isWhole }) => !isWhole);
    still.take(
      whole.map(({ line: { door, wroteAll, lengths }, descriptors, pieces }) => {
        const [state = nothing, ...unread] = cut(Buffer.concat(pieces), lengths);
        const transports = descriptors.map((one, index) => adopt(one, wroteAll[index] === true, "endpoint"));
        return { key: door, transports, standing: { state: this.#stateOf(door, state), unread } };
      }),
    );
    this.end();
    return whole.length;
  }

  /** What has not been gone on with goes on elsewhere, or ends. */
  end(): void {
    for (const { descriptors } of this.#all.splice(0))
      for (const descriptor of descriptors) this.#options.calls.close(descriptor);
  }

  #stateOf(door: string, text: Buffer): Readonly<Record<string, unknown>> {
    try {
      const state: unknown = JSON.parse(text.toString("utf8"));
      if (typeof state === "object" && state !== null) return state as Readonly<Record<string, unknown>>;
    } catch {
      // As below.
    }
    this.#options.log.error({ door }, "what was said of a connection of a door cannot be read");
    return {};
  }
}

const nothing = Buffer.alloc(0);

function cut(bytes: Buffer, lengths: readonly number[]): readonly Buffer[] {
  let at = 0;
  return lengths.map((length) => {
    const from = at;
    at += length;
    return bytes.subarray(from, at);
  });
}
