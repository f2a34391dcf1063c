/**
 * Why this exists: SOFABolt v1 and v2 as the sidecar sees it. Heads are decoded in place; of the header map only what is asked for
 * is looked at; the body is never read.
 */
import { int32, putInt32, uint16 } from "../bytes.ts";
import { FrameError, maxFrameBytes, type Sniff } from "../codec.ts";
import { type FrameKind, frameKind, type PendingHead, type ReplyReason, type RpcCodec } from "../rpc.ts";
import { equalAt, TextTable } from "../texts.ts";
import { patchCrc } from "./crc.ts";
import { BoltFrame, boltCommand, boltType, crcSwitch, minHeadBytes } from "./frame.ts";
import { errorReplyTo, heartbeat, heartbeatReply, replyFlags, responseErrorKey, unreachedKey } from "./reply.ts";
import { writer } from "./writer.ts";

/**
 * Java and Node read the lengths of class and header as signed: a length that they take for a negative one would make them lose step on
 * a shared connection.
 */
const maxPartBytes = 0x7fff;

export const boltCodec: RpcCodec<BoltFrame> = {
  protocol: "bolt",
  sniff,
  view: () => new BoltFrame(),
  decode,
  encode,
  service,
  unreadable,
  method: (frame) => headerText(frame, methodNameKey, methods),
  group: () => undefined, // the service key has the uniqueId in it
  applicationHeader: "app",
  header,
  rewriteId,
  errorReply: (frame, reason, text) => errorReplyTo(pendingOf(frame), reason, text),
  errorReplyTo: (request: PendingHead, reason: ReplyReason, text: string) => errorReplyTo(request, reason, text),
  replyFlags,
  heartbeat,
  heartbeatReply,
  farewell: () => undefined,
  failed: (frame) => frame.kind === frameKind.response && (frame.status !== 0 || says(frame, responseErrorKey)),
  unreached: (frame) => frame.kind === frameKind.response && says(frame, unreachedKey),
  writer,
};

function sniff(head: Uint8Array): Sniff {
  if (head.length === 0) return "more";
  if (head[0] === 1) return head.length < 2 ? "more" : (head[1] as number) <= boltType.oneway ? "yes" : "no";
  if (head[0] !== 2) return "no";
  if (head.length < 2) return "more";
  if (head[1] !== 1 && head[1] !== 2) return "no";
  return head.length < 3 ? "more" : (head[2] as number) <= boltType.oneway ? "yes" : "no";
}

function decode(bytes: Buffer, offset: number, end: number, into: BoltFrame): number {
  const available = end - offset;
  if (available < 1) return -minHeadBytes;
  const version = bytes[offset] as number;
  if (version !== 1 && version !== 2) throw new FrameError("bolt", 0, `unknown protocol ${version}`);
  const shift = version - 1; // v2 has one more byte in front of the type, and one more behind the codec
  if (available < 2 + shift) return -minHeadBytes;
  const revision = version === 2 ? (bytes[offset + 1] as number) : 0;
  if (revision > 2 || (version === 2 && revision === 0)) throw new FrameError("bolt", 1, `unknown version ${revision}`);
  const type = bytes[offset + 1 + shift] as number;
  if (type > boltType.oneway) throw new FrameError("bolt", 1 + shift, `unknown type ${type}`);
  const isResponse = type === boltType.response;
  const headSize = (isResponse ? 20 : 22) + shift * 2;
  if (available < headSize) return -headSize;

  const switches = version === 2 ? (bytes[offset + 11] as number) : 0;
  const lengthsAt = offset + headSize - 8;
  const classLength = uint16(bytes, lengthsAt);
  const headerLength = uint16(bytes, lengthsAt + 2);
  const contentLength = int32(bytes, lengthsAt + 4);
  if (contentLength < 0) throw new FrameError("bolt", headSize - 4, `content of ${contentLength} bytes`);
  // A request that is too long in these is still cut out whole, so that it can be answered; nobody is sent it.
  if (isResponse && Math.max(classLength, headerLength) > maxPartBytes)
    throw new FrameError("bolt", headSize - 8, "class or header too long");
  const hasCrc = revision === 2 && (switches & crcSwitch) !== 0;
  const size = headSize + classLength + headerLength + contentLength + (hasCrc ? 4 : 0);
  if (size > maxFrameBytes) {
    throw new FrameError("bolt", headSize - 8, `a frame of ${size} bytes, the limit is ${maxFrameBytes}`);
  }
  const command = uint16(bytes, offset + 2 + shift);
  const kind = kindOf(type, command, shift);
  if (available < size) return -size;

  const idAt = offset + 5 + shift;
  const timeout = isResponse ? 0 : int32(bytes, lengthsAt - 4);
  into.bytes = bytes;
  into.offset = offset;
  into.size = size;
  into.kind = kind;
  into.id = int32(bytes, idAt) >>> 0;
  into.idHigh = 0;
  into.status = isResponse ? uint16(bytes, lengthsAt - 2) : 0;
  into.serialization = bytes[idAt + 4] as number;
  into.timeoutMs = Math.max(timeout, 0);
  into.version = version;
  into.revision = revision;
  into.type = type;
  into.command = command;
  into.commandVersion = bytes[idAt - 1] as number;
  into.switches = switches;
  into.timeoutField = timeout;
  into.classAt = offset + headSize;
  into.classLength = classLength;
  into.headerAt = into.classAt + classLength;
  into.headerLength = headerLength;
  into.contentAt = into.headerAt + headerLength;
  into.contentLength = contentLength;
  into.crcAt = hasCrc ? into.contentAt + contentLength : -1;
  return size;
}

function kindOf(type: number, command: number, shift: number): FrameKind {
  if (command === boltCommand.heartbeat)
    return type === boltType.response ? frameKind.heartbeatReply : frameKind.heartbeat;
  if (command > boltCommand.response) return frameKind.event; // commands of newer Bolts; whoever forwards them need not know them
  if ((command === boltCommand.response) !== (type === boltType.response)) {
    throw new FrameError("bolt", 2 + shift, `command ${command} in a frame of type ${type}`);
  }
  if (type === boltType.response) return frameKind.response;
  return type === boltType.request ? frameKind.request : frameKind.oneway;
}

/** Built from the fields and slices; the CRC is what the frame came with, so that a corrupt frame stays corrupt. */
function encode(frame: BoltFrame): Buffer {
  const { bytes, type, version, classLength, headerLength, contentLength } = frame;
  const shift = version - 1;
  const isResponse = type === boltType.response;
  const headSize = (isResponse ? 20 : 22) + shift * 2;
  const bodySize = classLength + headerLength + contentLength;
  const out = Buffer.allocUnsafe(headSize + bodySize + (frame.crcAt < 0 ? 0 : 4));
  out[0] = version;
  if (version === 2) {
    out[1] = frame.revision;
    out[11] = frame.switches;
  }
  out[1 + shift] = type;
  out.writeUInt16BE(frame.command, 2 + shift);
  out[4 + shift] = frame.commandVersion;
  putInt32(out, 5 + shift, frame.id);
  out[9 + shift] = frame.serialization;
  if (isResponse) out.writeUInt16BE(frame.status, headSize - 10);
  else putInt32(out, headSize - 12, frame.timeoutField);
  out.writeUInt16BE(classLength, headSize - 8);
  out.writeUInt16BE(headerLength, headSize - 6);
  putInt32(out, headSize - 4, contentLength);
  bytes.copy(out, headSize, frame.classAt, frame.classAt + bodySize);
  if (frame.crcAt >= 0) bytes.copy(out, headSize + bodySize, frame.crcAt, frame.crcAt + 4);
  return out;
}

const targetServiceKey: Buffer = Buffer.from("sofa_head_target_service");
const serviceKey: Buffer = Buffer.from("service");
const methodNameKey: Buffer = Buffer.from("sofa_head_method_name");

const utf8 = (bytes: Buffer, start: number, end: number): string => bytes.toString("utf8", start, end);
const services = new TextTable(utf8);
const methods = new TextTable(utf8);

function service(frame: BoltFrame): string | undefined {
  if (frame.kind !== frameKind.request && frame.kind !== frameKind.oneway) return undefined;
  if (Math.max(frame.classLength, frame.headerLength) > maxPartBytes) return undefined;
  return headerText(frame, targetServiceKey, services) ?? headerText(frame, serviceKey, services);
}

function unreadable({ classLength, headerLength }: BoltFrame): string {
  for (const [part, length] of [
    ["class name", classLength],
    ["header", headerLength],
  ] as const)
    if (length > maxPartBytes) return `a ${part} of ${length} bytes is not accepted, the limit is ${maxPartBytes}`;
  return "its header does not name the service";
}

function headerText(frame: BoltFrame, key: Buffer, table: TextTable): string | undefined {
  const at = findHeader(frame, key);
  if (at < 0) return undefined;
  const length = int32(frame.bytes, at);
  return length > 0 ? table.textOf(frame.bytes, at + 4, at + 4 + length) : undefined;
}

function header(frame: BoltFrame, name: string): string | undefined {
  const at = findHeader(frame, Buffer.from(name));
  if (at < 0) return undefined;
  const length = int32(frame.bytes, at);
  return length < 0 ? undefined : frame.bytes.toString("utf8", at + 4, at + 4 + length);
}

/**
 * Where the value of `key` (its length first) stands in `{length, key, length, value}…`, or -1. A length that goes beyond the header
 * ends the search; a negative one stands for null and has no bytes. Each step takes at least four bytes, so it ends.
 */
function findHeader(frame: BoltFrame, key: Buffer): number {
  const bytes = frame.bytes;
  const end = frame.headerAt + frame.headerLength;
  let at = frame.headerAt;
  while (at + 4 <= end) {
    const keyLength = int32(bytes, at);
    const keyAt = at + 4;
    const valueAt = keyLength > 0 ? keyAt + keyLength : keyAt;
    if (valueAt + 4 > end) return -1;
    const valueLength = int32(bytes, valueAt);
    at = valueLength > 0 ? valueAt + 4 + valueLength : valueAt + 4;
    if (at > end) return -1;
    if (keyLength === key.length && equalAt(key, bytes, keyAt, valueAt)) return valueAt;
  }
  return -1;
}

/** SOFA-RPC answers a thrown exception with status 0 and says so in the header. */
function says(frame: BoltFrame, key: Buffer): boolean {
  if (frame.headerLength === 0) return false;
  const at = findHeader(frame, key);
  return at >= 0 && int32(frame.bytes, at) === 4 && frame.bytes[at + 4] === 0x74; // "true"
}

/** The fields of `PendingHead`, at the time when the frame is still there. */
function pendingOf(frame: BoltFrame): PendingHead {
  const { id, idHigh, version, serialization } = frame;
  return { id, idHigh, version, serialization, flags: replyFlags(frame) };
}

function rewriteId(bytes: Buffer, offset: number, size: number, _idHigh: number, id: number): void {
  if (bytes[offset] === 1) {
    putInt32(bytes, offset + 5, id);
    return;
  }
  if (bytes[offset + 1] === 2 && ((bytes[offset + 11] as number) & crcSwitch) !== 0) {
    const crcAt = offset + size - 4;
    putInt32(bytes, crcAt, patchCrc(int32(bytes, crcAt), int32(bytes, offset + 6), id, size - 4 - 10));
  }
  putInt32(bytes, offset + 6, id);
}
