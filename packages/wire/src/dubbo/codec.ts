/**
 * Why this exists: the Dubbo protocol as the sidecar sees it, with heads in hessian2 or fastjson2 as each frame's own bits say. Arguments
 * are never read; `group` and `header` step over them.
 */
import { int32, putInt32 } from "../bytes.ts";
import { FrameError, maxFrameBytes, type Sniff } from "../codec.ts";
import { type FrameKind, frameKind, type PendingHead, type RpcCodec } from "../rpc.ts";
import { attachmentKey, readAttachment, readMethod, readService } from "./body.ts";
import { DubboFrame, dubboFlag, dubboSerialization, dubboStatus, headBytes, notLooked } from "./frame.ts";
import { errorReplyTo, farewell, heartbeat, heartbeatReply, saysUnreached } from "./reply.ts";

const groupKey: Buffer = Buffer.from("group");

export const dubboCodec: RpcCodec<DubboFrame> = {
  protocol: "dubbo",
  sniff,
  view: () => new DubboFrame(),
  decode,
  encode,
  service: (frame) => (isCall(frame) ? readService(frame) : undefined),
  unreadable: (frame) => `serialization ${frame.serialization} cannot be read: the service is unknown`,
  method: (frame) => (isCall(frame) ? readMethod(frame) : undefined),
  group: (frame) => (isCall(frame) ? readAttachment(frame, groupKey) : undefined),
  applicationHeader: "remote.application",
  header: (frame, name) => (isCall(frame) ? readAttachment(frame, attachmentKey(frame, name)) : undefined),
  rewriteId,
  errorReply: (frame, reason, text) => errorReplyTo(pendingOf(frame), reason, text),
  errorReplyTo,
  replyFlags: () => 0,
  heartbeat,
  heartbeatReply,
  farewell,
  failed,
  unreached: saysUnreached,
  writer: () => 0, // Dubbo's servers read each body by itself
};

function sniff(head: Uint8Array): Sniff {
  if (head.length === 0) return "more";
  if (head[0] !== 0xda) return "no";
  return head.length < 2 ? "more" : head[1] === 0xbb ? "yes" : "no";
}

function decode(bytes: Buffer, offset: number, end: number, into: DubboFrame): number {
  const available = end - offset;
  if (available < headBytes) {
    if (available > 0 && bytes[offset] !== 0xda) throw new FrameError("dubbo", 0, "not the magic number da bb");
    if (available > 1 && bytes[offset + 1] !== 0xbb) throw new FrameError("dubbo", 1, "not the magic number da bb");
    return -headBytes;
  }
  if (bytes[offset] !== 0xda || bytes[offset + 1] !== 0xbb)
    throw new FrameError("dubbo", 0, "not the magic number da bb");
  const bodyLength = int32(bytes, offset + 12);
  if (bodyLength < 0) throw new FrameError("dubbo", 12, `a body of ${bodyLength} bytes`);
  const size = headBytes + bodyLength;
  if (size > maxFrameBytes)
    throw new FrameError("dubbo", 12, `a frame of ${size} bytes, the limit is ${maxFrameBytes}`);
  if (available < size) return -size;

  const flags = bytes[offset + 2] as number;
  const statusByte = bytes[offset + 3] as number;
  const bodyAt = offset + headBytes;
  into.bytes = bytes;
  into.offset = offset;
  into.size = size;
  into.id = int32(bytes, offset + 8) >>> 0;
  into.idHigh = int32(bytes, offset + 4) >>> 0;
  into.status = (flags & dubboFlag.request) === 0 ? statusByte : 0;
  into.serialization = flags & dubboFlag.serialization;
  into.flags = flags;
  into.statusByte = statusByte;
  into.bodyAt = bodyAt;
  into.bodyLength = bodyLength;
  into.attachmentsAt = notLooked;
  into.kind = (flags & dubboFlag.event) === 0 ? callKind(flags) : eventKind(bytes, bodyAt, bodyLength, flags);
  return size;
}

function callKind(flags: number): FrameKind {
  if ((flags & dubboFlag.request) === 0) return frameKind.response;
  return (flags & dubboFlag.twoWay) === 0 ? frameKind.oneway : frameKind.request;
}

/** A heartbeat is an event whose data is null, "the server will stop" one whose data is "R". */
function eventKind(bytes: Buffer, at: number, length: number, flags: number): FrameKind {
  if ((flags & dubboFlag.request) === 0) return frameKind.heartbeatReply;
  const serialization = flags & dubboFlag.serialization;
  if (serialization === dubboSerialization.hessian2) {
    if (length === 1 && bytes[at] === 0x4e) return frameKind.heartbeat;
    return length === 2 && bytes[at] === 0x01 && bytes[at + 1] === 0x52 ? frameKind.readOnly : frameKind.event;
  }
  if (serialization === dubboSerialization.fastjson2) {
    if (length === 5 && bytes[at + 4] === 0xaf) return frameKind.heartbeat;
    return length === 6 && bytes[at + 4] === 0x4a && bytes[at + 5] === 0x52 ? frameKind.readOnly : frameKind.event;
  }
  // What cannot be read and wants an answer gets that of a heartbeat: its own body, which is null in its own serialisation.
  return (flags & dubboFlag.twoWay) === 0 ? frameKind.event : frameKind.heartbeat;
}

function encode(frame: DubboFrame): Buffer {
  const out = Buffer.allocUnsafe(headBytes + frame.bodyLength);
  out[0] = 0xda;
  out[1] = 0xbb;
  out[2] = frame.flags;
  out[3] = frame.statusByte;
  putInt32(out, 4, frame.idHigh);
  putInt32(out, 8, frame.id);
  putInt32(out, 12, frame.bodyLength);
  frame.bytes.copy(out, headBytes, frame.bodyAt, frame.bodyAt + frame.bodyLength);
  return out;
}

function isCall(frame: DubboFrame): boolean {
  return frame.kind === frameKind.request || frame.kind === frameKind.oneway;
}

function rewriteId(bytes: Buffer, offset: number, _size: number, idHigh: number, id: number): void {
  putInt32(bytes, offset + 4, idHigh);
  putInt32(bytes, offset + 8, id);
}

/** The fields of `PendingHead`, at the time when the frame is still there. */
function pendingOf(frame: DubboFrame): PendingHead {
  const { id, idHigh, version, serialization } = frame;
  return { id, idHigh, version, serialization, flags: 0 };
}

/**
 * Dubbo answers a thrown exception with status OK and says so in the first value of the body: 0 or 3 (with attachments).
 */
function failed(frame: DubboFrame): boolean {
  if (frame.kind !== frameKind.response) return false;
  if (frame.status !== dubboStatus.ok) return true;
  const { bytes, bodyAt, bodyLength } = frame;
  if (frame.serialization === dubboSerialization.hessian2)
    return bodyLength > 0 && isException(bytes[bodyAt] as number, 0x90);
  // A byte as an item: its length, and JSONB's tag for a byte before it.
  if (frame.serialization !== dubboSerialization.fastjson2 || bodyLength < 5) return false;
  const at = bytes[bodyAt + 4] === 0xbd && bodyLength > 5 ? bodyAt + 5 : bodyAt + 4;
  return isException(bytes[at] as number, 0);
}

function isException(value: number, zero: number): boolean {
  return value === zero || value === zero + 3;
}
