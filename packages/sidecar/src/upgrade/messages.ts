/**
 * What the two processes of an upgrade say to each other, one message in each packet: a length, a head in JSON, and bytes. Fields that one side does not
 * know are left alone, and words that it does not know are passed over, so that neighbouring versions understand each other; what changes
 * the meaning of a word takes another word.
 */
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Entrance } from "../request/downstream.ts";
import type { MovedState, OwedReply } from "../request/moving.ts";
import { maxPacketBytes } from "../transport/native.ts";

/** Versions of what is said here that this program speaks. */
export const spoken = { oldest: 2, newest: 2 } as const;

/** Who is there, and what it speaks. */
export interface Greeting {
  readonly say: "hello";
  readonly oldest: number;
  readonly newest: number;
  /** Of the program. */
  readonly version: string;
  readonly pid: number;
}

export interface OwedLine extends OwedReply {
  /** Milliseconds that are left until the caller has to be told something. */
  readonly leftMs: number;
}

export type Message =
  | Greeting
  /** Both: nothing to say, and still there. */
  | { readonly say: "alive" }
  /** Both: it ends here, and the other one goes on with what it has. */
  | { readonly say: "give-up"; readonly reason: string }
  /** Old to new: everything but the connections is free to be taken up; what was known is beside it, in pieces. */
  | { readonly say: "take-up"; readonly more: boolean }
  /** A listening port, with its descriptor. */
  | { readonly say: "listener"; readonly host: string; readonly port: number; readonly asked: number }
  | { readonly say: "connections"; readonly all: readonly SharedLine[] }
  | { readonly say: "forget"; readonly key: number }
  /** Old to new: all that were there have been shared. It is answered once the other process has made connections of them, which is the slow part. */
  | { readonly say: "shared" }
  | { readonly say: "holds" }
  /** What is to be known of connections that stand still, many at once and in pieces (`encodeStates`). */
  | { readonly say: "states"; readonly more: boolean }
  /**
   * A connection of a door, with its descriptors: the client's, then those that the door had opened for it. What is to be known of it follows
   * in pieces: its state as JSON, then what was read of each and has to be read again, of these lengths.
   */
  | {
      readonly say: "door";
      readonly door: string;
      readonly wroteAll: readonly boolean[];
      readonly lengths: readonly number[];
    }
  | { readonly say: "door-state"; readonly more: boolean }
  | { readonly say: "commit"; readonly connections: number }
  /** A connection that could go only now: its line and state came before, and it goes on at once. */
  | { readonly say: "late"; readonly key: number }
  | { readonly say: "relay"; readonly key: number; readonly more: boolean }
  /** Figures can be many: they come before, in pieces. */
  | { readonly say: "figures"; readonly more: boolean }
  | { readonly say: "end" }
  /** New to old. */
  | { readonly say: "ready" }
  | { readonly say: "committed" }
  | { readonly say: "taken"; readonly key: number }
  | { readonly say: "gone"; readonly key: number };

export interface SharedLine {
  readonly key: number;
  readonly entrance: Entrance;
  /** The port that was called. */
  readonly port: number;
  /** What it speaks; empty while that is not known. */
  readonly protocol: string;
  /** Of the descriptors in this packet, in order: for each whether this side has said that nothing more is written. One, or the caller's and the endpoint's. */
  readonly wroteAll: readonly boolean[];
}

/** What is to be known of a connection that stands still. */
export interface MovedLine {
  readonly key: number;
  readonly state: MovedState;
  readonly owed: readonly OwedLine[];
}

/** The same without the bytes that were read of it, which follow. */
interface BareLine extends Pick<MovedLine, "key" | "owed"> {
  readonly state: Omit<MovedState, "residual">;
  readonly bytes: number;
}

/** All lines in one JSON, then the bytes of each: packets, and what is done for each of them, cost more than what is in them. */
export function encodeStates(lines: readonly MovedLine[]): Buffer {
  const bare = lines.map(({ key, owed, state: { residual, ...state } }): BareLine => {
    return { key, owed, state, bytes: residual.length };
  });
  const head = Buffer.from(JSON.stringify(bare));
  const size = Buffer.allocUnsafe(headBytes);
  size.writeUInt32LE(head.length);
  return Buffer.concat([size, head, ...lines.map(({ state }) => state.residual)]);
}

/** Throws `upgrade.message`. */
export function decodeStates(text: Buffer): readonly MovedLine[] {
  const size = text.length < headBytes ? text.length : text.readUInt32LE(0);
  let at = headBytes + size;
  if (text.length < at) throw malformed(`a head of ${size} bytes in ${text.length}`);
  const bare = parsed(text.toString("utf8", headBytes, at));
  if (!Array.isArray(bare)) throw malformed("its head is no list");
  return (bare as readonly BareLine[]).map(({ key, owed, state, bytes }) => {
    const residual = text.subarray(at, at + bytes);
    if (residual.length < bytes) throw malformed(`${bytes} bytes of a connection, and ${residual.length} came`);
    at += bytes;
    return { key, owed, state: { ...state, residual } };
  });
}

const headBytes = 4;
/** What a piece of a longer text may have, so that its head fits as well. */
export const maxBodyBytes: number = 64 * 1024;

export function encodeMessage(message: Message, body: Uint8Array = nothing): Buffer {
  const head = Buffer.from(JSON.stringify(message));
  const size = headBytes + head.length + body.length;
  if (size > maxPacketBytes)
    throw new MeshError("upgrade.message", `a message of ${size} bytes is longer than a packet`);
  const packet = Buffer.allocUnsafeSlow(size);
  packet.writeUInt32LE(head.length, 0);
  head.copy(packet, headBytes);
  packet.set(body, headBytes + head.length);
  return packet;
}

/** Throws `upgrade.message`. A word that is not known gives undefined. */
export function decodeMessage(packet: Buffer): { readonly message: Message; readonly body: Buffer } | undefined {
  const size = packet.length < headBytes ? packet.length : packet.readUInt32LE(0);
  if (packet.length < headBytes + size) throw malformed(`a head of ${size} bytes in a packet of ${packet.length}`);
  const message = parsed(packet.toString("utf8", headBytes, headBytes + size)) as { readonly say?: unknown };
  if (typeof message?.say !== "string") throw malformed("it says nothing");
  if (!words.has(message.say)) return undefined;
  return { message: message as Message, body: packet.subarray(headBytes + size) };
}

const nothing = Buffer.alloc(0);
const words: ReadonlySet<string> = new Set<Message["say"]>([
  "hello",
  "alive",
  "give-up",
  "take-up",
  "listener",
  "connections",
  "forget",
  "shared",
  "holds",
  "states",
  "door",
  "door-state",
  "commit",
  "figures",
  "late",
  "relay",
  "end",
  "ready",
  "committed",
  "taken",
  "gone",
]);

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw malformed(messageOf(error));
  }
}

function malformed(why: string): MeshError {
  return new MeshError("upgrade.message", `what came from the other process is no message: ${why}`);
}
