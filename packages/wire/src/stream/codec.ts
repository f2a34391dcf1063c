/**
 * Frames of the registry stream: eight bytes of head (d5 4d, the format's version, the message's type, the payload's length), then
 * the payload, which `messages.ts` reads. docs/registry-stream.md has it byte by byte.
 */
import { int32 } from "../bytes.ts";
import { type FrameCodec, FrameError } from "../codec.ts";
import { maxStreamFrameBytes, streamVersion } from "./limits.ts";

export interface StreamFrame {
  bytes: Buffer;
  offset: number;
  size: number;
  /** The message's type, known or not: see `messageType`. */
  type: number;
}

export const frameHeadBytes = 8;
export const magic0 = 0xd5;
export const magic1 = 0x4d;

const noBytes = Buffer.alloc(0);

export const streamCodec: FrameCodec<StreamFrame> = {
  protocol: "stream",

  sniff(head) {
    if (head.length === 0) return "more";
    if (head[0] !== magic0) return "no";
    if (head.length === 1) return "more";
    return head[1] === magic1 ? "yes" : "no";
  },

  view: () => ({ bytes: noBytes, offset: 0, size: 0, type: 0 }),

  decode(bytes, offset, end, into) {
    const have = end - offset;
    if (have > 0 && bytes[offset] !== magic0) throw new FrameError("stream", 0, "not a frame of the registry stream");
    if (have > 1 && bytes[offset + 1] !== magic1)
      throw new FrameError("stream", 1, "not a frame of the registry stream");
    if (have > 2 && bytes[offset + 2] !== streamVersion)
      throw new FrameError("stream", 2, `format ${bytes[offset + 2]}, expected ${streamVersion}`);
    if (have < frameHeadBytes) return -frameHeadBytes;
    const size = (int32(bytes, offset + 4) >>> 0) + frameHeadBytes;
    if (size > maxStreamFrameBytes)
      throw new FrameError("stream", 4, `a frame of ${size} bytes, allowed are ${maxStreamFrameBytes}`);
    if (have < size) return -size;
    into.bytes = bytes;
    into.offset = offset;
    into.size = size;
    into.type = bytes[offset + 3] as number;
    return size;
  },

  encode: (frame) => Buffer.from(frame.bytes.subarray(frame.offset, frame.offset + frame.size)),
};
