/**
 * ZooKeeper's frames: four bytes of length, then one record in jute. What a record means depends on its place in the conversation
 * (the first one each way is the handshake), so a frame is only bounds; `request.ts` and `reply.ts` read the inside.
 */
import { type FrameCodec, FrameError, type Sniff } from "../codec.ts";

/** The largest record, as real servers have it by default (`jute.maxbuffer`), in bytes. */
export const maxJuteBytes = 1024 * 1024;

/** A frame that stands in `bytes`; the record is `bytes[offset + 4, offset + size)`. */
export interface JuteFrame {
  bytes: Buffer;
  offset: number;
  size: number;
}

const connectRequestLengths = [44, 45];

export const juteCodec: FrameCodec<JuteFrame> = {
  protocol: "jute",

  /** A connect request: length 44 or 45, protocol version 0. Whatever else may follow is not first on a connection. */
  sniff(head: Uint8Array): Sniff {
    const known = Math.min(head.length, 8);
    const matches = connectRequestLengths.some((length) => {
      for (let at = 0; at < known; at += 1) if (head[at] !== (at === 3 ? length : 0)) return false;
      return true;
    });
    if (!matches) return "no";
    return known === 8 ? "yes" : "more";
  },

  view: () => ({ bytes: Buffer.alloc(0), offset: 0, size: 0 }),

  decode(bytes: Buffer, offset: number, end: number, into: JuteFrame): number {
    if (end - offset < 4) return -4;
    const length = bytes.readInt32BE(offset);
    if (length < 0 || length > maxJuteBytes)
      throw new FrameError("jute", 0, `a record of ${length} bytes is not accepted`);
    const size = length + 4;
    if (end - offset < size) return -size;
    into.bytes = bytes;
    into.offset = offset;
    into.size = size;
    return size;
  },

  encode: (frame: JuteFrame) => Buffer.from(frame.bytes.subarray(frame.offset, frame.offset + frame.size)),
};

/** The record inside a frame, sharing its memory. */
export function juteRecord(frame: JuteFrame): Buffer {
  return frame.bytes.subarray(frame.offset + 4, frame.offset + frame.size);
}
