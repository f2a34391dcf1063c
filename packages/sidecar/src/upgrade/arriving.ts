/**
 * The connections of the process that comes. It holds copies of them first, of which nothing is read; knows then what had been read of each; and goes
 * on with all of them at once when it is told to. Replies that still come to the former process are written as if they were its own; should
 * that process die before, or say nothing for too long, their callers are told so.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import { FrameError } from "@dualmesh/wire/codec";
import type { RpcFrame } from "@dualmesh/wire/rpc";
import type { Downstream } from "../request/downstream.ts";
import { FrameWay } from "../request/frame-way.ts";
import { isObstacle } from "../request/moving.ts";
import type { DataPlane } from "../request/plane.ts";
import type { Packets } from "../transport/native.ts";
import type { StillConnections } from "../transport/still-connections.ts";
import type { Transport } from "../transport/transport.ts";
import { ArrivingDoors } from "./arriving-doors.ts";
import type { Channel } from "./channel.ts";
import { decodeStates, type Message, type MovedLine, type OwedLine, type SharedLine } from "./messages.ts";

export interface ArrivingOptions {
  readonly plane: DataPlane;
  readonly still: StillConnections;
  readonly channel: Channel;
  readonly calls: Packets;
  readonly clock: Clock;
  readonly log: Log;
  /** Makes room, at a moment at which nobody waits for this process. */
  readonly collect: () => void;
  /** Makes a connection of a descriptor: a caller's, that came in where the line says, or an endpoint's. */
  readonly adopt: (descriptor: number, wroteAll: boolean, from: SharedLine | "endpoint") => Transport;
}

interface Arrived {
  readonly line: SharedLine;
  readonly downstream: Downstream;
  /** The endpoint's connection, where that goes as well. */
  readonly endpoint: Transport | undefined;
  /** `told`: everything is known of it. A conversation of bytes is one whose end in the midst has to be seen. */
  state: "shared" | "told" | "told of bytes" | "begun";
  owed: Map<string, OwedLine & { readonly dueMs: number }>;
  /** A reply that comes in several pieces. */
  reply: Buffer[];
}

/** What the former process has not answered by then is answered here: its own answer would have come before. */
const graceMs = 1_000;
const lookMs = 200;
/** Gone on with before the event loop has its turn. */
const connectionsPerTurn = 20;

export class Arriving {
  readonly #options: ArrivingOptions;
  readonly #all = new Map<number, Arrived>();
  readonly #doors: ArrivingDoors;
  readonly #looking: { cancel(): void };
  /** Those that are gone on with next. */
  #waiting: Arrived[] = [];
  /** What is told in several pieces. */
  readonly #pieces: Buffer[] = [];
  #began = 0;

  constructor(options: ArrivingOptions) {
    this.#options = options;
    this.#doors = new ArrivingDoors(options);
    this.#looking = options.clock.every(lookMs, () => this.#overdue());
  }

  /** How many connections go on here. */
  get begun(): number {
    return this.#began;
  }

  hear(message: Message, body: Buffer, descriptors: readonly number[]): void {
    switch (message.say) {
      case "connections":
        return this.#take(message.all, descriptors);
      case "forget":
        return this.#forget(message.key);
      case "shared":
        this.#options.collect();
        return this.#options.channel.say({ say: "holds" });
      case "states":
        this.#pieces.push(Buffer.from(body));
        if (!message.more) for (const line of decodeStates(Buffer.concat(this.#pieces.splice(0)))) this.#adopt(line);
        return;
      case "late": {
        const arrived = this.#all.get(message.key);
        this.#options.channel.say({ say: "taken", key: message.key });
        return arrived === undefined ? undefined : this.#begin(arrived);
      }
      case "relay": {
        const arrived = this.#all.get(message.key);
        if (arrived === undefined) return;
        this.#begin(arrived);
        return this.#reply(arrived, body, message.more);
      }
      case "door":
      case "door-state":
        return this.#doors.hear(message, body, descriptors);
      default:
    }
  }

  /**
   * Goes on with all of which everything is known, some in each turn of the event loop, in the order in which they came to stand still: what has come for
   * the first is served before the last are read.
   */
  commit(): void {
    this.#began += this.#doors.commit();
    this.#waiting = [...this.#all.values()].filter(({ state }) => state !== "shared");
    this.#beginSome();
  }

  #beginSome(): void {
    for (const arrived of this.#waiting.splice(0, connectionsPerTurn)) this.#begin(arrived);
    if (this.#waiting.length > 0) setImmediate(() => this.#beginSome());
  }

  /** The former process says nothing more. What it had not been answered by then is answered here. */
  end(inOrder: boolean): void {
    this.#looking.cancel();
    this.#doors.end();
    for (const arrived of this.#waiting.splice(0)) this.#begin(arrived);
    for (const [key, arrived] of [...this.#all]) {
      if (arrived.state !== "begun") this.#forget(key, !inOrder);
      else for (const line of arrived.owed.values()) this.#answer(arrived, line, inOrder ? endedWithout : diedWithout);
    }
    this.#all.clear();
  }

  /** Makes connections of them, which takes longer than all that is done while they stand still. */
  #take(lines: readonly SharedLine[], descriptors: readonly number[]): void {
    const { plane, adopt, calls } = this.#options;
    let at = 0;
    for (const line of lines) {
      const own = descriptors.slice(at, at + line.wroteAll.length);
      at += line.wroteAll.length;
      const [caller, endpoint] = own.map((descriptor, index) =>
        adopt(descriptor, line.wroteAll[index] === true, index === 0 ? line : "endpoint"),
      );
      if (caller === undefined) continue;
      const downstream = plane.prepare(caller, line.entrance, line.protocol);
      this.#all.set(line.key, { line, downstream, endpoint, state: "shared", owed: new Map(), reply: [] });
    }
    for (const descriptor of descriptors.slice(at)) calls.close(descriptor);
  }

  /** It has ended in the other process, or with that. */
  #forget(key: number, isBroken = false): void {
    const arrived = this.#all.get(key);
    this.#all.delete(key);
    if (arrived === undefined) return;
    if (arrived.state !== "shared") return discard(arrived.downstream, isBroken && arrived.state === "told of bytes");
    arrived.downstream.transport.destroy(endedThere);
    arrived.endpoint?.destroy(endedThere);
  }

  #adopt({ key, state, owed }: MovedLine): void {
    const { plane, channel, clock } = this.#options;
    const arrived = this.#all.get(key);
    if (arrived === undefined) return;
    const now = clock.now();
    for (const line of owed) arrived.owed.set(nameOf(line), { ...line, dueMs: now + line.leftMs + graceMs });
    const { line, downstream, endpoint } = arrived;
    if (!plane.adopt(downstream, state, endpoint)) {
      this.#options.log.warn(
        { protocol: state.protocol, entrance: line.entrance },
        "a connection cannot go on here and is closed",
      );
      downstream.transport.destroy("it cannot go on here");
      endpoint?.destroy("it cannot go on here");
      return;
    }
    arrived.state = state.bytes === undefined ? "told" : "told of bytes";
    downstream.onGone = () => {
      if (this.#all.delete(line.key) && arrived.state === "begun") channel.say({ say: "gone", key: line.key });
    };
  }

  #begin(arrived: Arrived): void {
    if (arrived.state === "begun" || arrived.state === "shared" || arrived.downstream.closed) return;
    arrived.state = "begun";
    this.#began++;
    arrived.downstream.begin();
  }

  #reply(arrived: Arrived, piece: Buffer, more: boolean): void {
    const { downstream, reply, owed } = arrived;
    reply.push(more || reply.length > 0 ? Buffer.from(piece) : piece);
    if (more) return;
    const bytes = reply.length === 1 ? (reply[0] as Buffer) : Buffer.concat(reply);
    reply.length = 0;
    const { way } = downstream;
    if (!(way instanceof FrameWay)) return;
    const frame = way.codec.view() as RpcFrame;
    // What is answered already here, since it was overdue, is not answered twice.
    const isFrame = way.codec.decode(bytes, 0, bytes.length, frame) === bytes.length;
    if (isFrame && !owed.delete(nameOf(frame))) return;
    way.reply(bytes, 0, bytes.length);
  }

  #answer({ downstream: { way } }: Arrived, line: OwedLine, why: string): void {
    if (!(way instanceof FrameWay) || way.closed) return;
    try {
      const bytes = way.codec.errorReplyTo(line, "unavailable", `${line.service}: ${why}`);
      way.reply(bytes, 0, bytes.length);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      way.fault(error);
    }
  }

  #overdue(): void {
    const now = this.#options.clock.now();
    for (const arrived of this.#all.values()) {
      if (arrived.state !== "begun") continue;
      for (const [name, line] of arrived.owed) {
        if (line.dueMs > now) continue;
        arrived.owed.delete(name);
        this.#answer(arrived, line, "the process of the sidecar that had sent the request says nothing");
      }
    }
  }
}

const endedWithout = "the process of the sidecar that had sent the request has ended before the reply came";
const diedWithout = "the process of the sidecar that had sent the request has died";
const endedThere = "it ended in the process that had it before";

/** It never went on here, and is let go of with all that was made for it. Bytes that break off in the midst have to look like that to both ends. */
function discard(downstream: Downstream, isBroken: boolean): void {
  if (isBroken) {
    downstream.begin();
    downstream.transport.reset(endedThere);
  } else if (isObstacle(downstream.freeze())) downstream.transport.destroy(endedThere);
  else downstream.surrender(() => {});
}

function nameOf({ id, idHigh }: { readonly id: number; readonly idHigh: number }): string {
  return `${idHigh}.${id}`;
}
