/**
 * Why this exists: what a frame of Bolt or Dubbo says at its beginning, read from no more than its beginning: how long it is, whether it
 * asks or answers, its id, which service it means, and whether the answer is a failure. The codecs of `wire` want whole frames, since
 * they pass them on; here a body is never looked at, so the few fields are read by hand and the names by the codec.
 *
 * An exception of the application in an answer that the protocol calls good is no failure, only `raised`: it says nothing of the way
 * that the call took. SOFA-RPC writes failures of its own into such an answer too, and `isError` in its body tells the two apart.
 */
import { boltCodec } from "@dualmesh/wire/bolt/codec";
import { BoltFrame, boltCommand, boltSerialization, boltType, crcSwitch } from "@dualmesh/wire/bolt/frame";
import { int32, uint16 } from "@dualmesh/wire/bytes";
import { maxFrameBytes } from "@dualmesh/wire/codec";
import { dubboCodec } from "@dualmesh/wire/dubbo/codec";
import {
  DubboFrame,
  dubboFlag,
  headBytes as dubboHeadBytes,
  dubboStatus,
  notReached,
} from "@dualmesh/wire/dubbo/frame";
import { type FrameKind, frameKind } from "@dualmesh/wire/rpc";

export type Outcome = "ok" | "raised" /* the application threw */ | "failed";

/** Filled anew by each reading. */
export class Head {
  protocol: "bolt" | "dubbo" = "bolt";
  kind: FrameKind = frameKind.event;
  id = 0;
  idHigh = 0;
  /** Of a response. */
  outcome: Outcome = "ok";
  /** Of a request: as the protocol's codec gives it; undefined when it cannot be read. */
  service: string | undefined = undefined;
  method: string | undefined = undefined;
}

/** No more of a frame is ever looked at: names beyond are not read. */
export const maxHeadBytes = 2_048;
/** How much of a Dubbo request holds its names, and how much of an answer says that it is an exception. */
const dubboNamesBytes = 1_024;
const dubboAnswerBytes = 8;
/** How much of a SOFA answer stands before what `isError` says. */
const sofaAnswerBytes = 160;
/** Java reads these lengths as signed. */
const maxPartBytes = 0x7fff;

const dubboView: DubboFrame = new DubboFrame();
const boltView: BoltFrame = new BoltFrame();

/**
 * The size of the frame whose beginning stands at `bytes[at, end)`, what it says then standing in `into`; 0 when no frame begins there;
 * how many bytes are needed to tell, negated, when there are too few.
 */
export function readHead(bytes: Buffer, at: number, end: number, into: Head): number {
  const first = bytes[at];
  if (first === 0xda) return readDubbo(bytes, at, end, into);
  return first === 1 || first === 2 ? readBolt(bytes, at, end, into) : 0;
}

function readDubbo(bytes: Buffer, at: number, end: number, into: Head): number {
  const available = end - at;
  if (available >= 2 && bytes[at + 1] !== 0xbb) return 0;
  if (available < dubboHeadBytes) return -dubboHeadBytes;
  const flags = bytes[at + 2] as number;
  const bodyLength = int32(bytes, at + 12);
  const serialization = flags & dubboFlag.serialization;
  if (serialization === 0 || bodyLength < 0 || bodyLength > maxFrameBytes - dubboHeadBytes) return 0;
  const isRequest = (flags & dubboFlag.request) !== 0;
  const isEvent = (flags & dubboFlag.event) !== 0;
  const looked = isEvent ? 0 : isRequest ? dubboNamesBytes : dubboAnswerBytes;
  const wanted = dubboHeadBytes + Math.min(bodyLength, looked);
  if (available < wanted) return -wanted;

  into.protocol = "dubbo";
  into.id = int32(bytes, at + 8) >>> 0;
  into.idHigh = int32(bytes, at + 4) >>> 0;
  into.service = undefined;
  into.method = undefined;
  const view = dubboView;
  view.bytes = bytes;
  view.offset = at;
  view.bodyAt = at + dubboHeadBytes;
  view.bodyLength = Math.min(bodyLength, available - dubboHeadBytes);
  view.serialization = serialization;
  view.attachmentsAt = notReached;
  if (isEvent) view.kind = frameKind.event;
  else if (isRequest) {
    view.kind = (flags & dubboFlag.twoWay) === 0 ? frameKind.oneway : frameKind.request;
    into.service = dubboCodec.service(view);
    into.method = dubboCodec.method(view);
  } else {
    view.kind = frameKind.response;
    view.status = bytes[at + 3] as number;
    into.outcome = view.status !== dubboStatus.ok ? "failed" : dubboCodec.failed(view) ? "raised" : "ok";
  }
  into.kind = view.kind;
  view.bytes = nothing;
  return dubboHeadBytes + bodyLength;
}

const nothing: Buffer = Buffer.alloc(0);

function readBolt(bytes: Buffer, at: number, end: number, into: Head): number {
  const available = end - at;
  const shift = bytes[at] === 2 ? 1 : 0; // v2 has one more byte in front of the type, and one more behind the codec
  if (available < 6 + shift) return available >= 2 + shift && !isBoltType(bytes, at, shift) ? 0 : -(20 + shift * 2);
  const type = bytes[at + 1 + shift] as number;
  const command = uint16(bytes, at + 2 + shift);
  const isResponse = type === boltType.response;
  if (!isBoltType(bytes, at, shift) || bytes[at + 4 + shift] !== 1) return 0;
  if (command !== boltCommand.heartbeat && (command === boltCommand.response) !== isResponse) return 0;
  const headSize = (isResponse ? 20 : 22) + shift * 2;
  if (available < headSize) return -headSize;

  const lengthsAt = at + headSize - 8;
  const classLength = uint16(bytes, lengthsAt);
  const headerLength = uint16(bytes, lengthsAt + 2);
  const contentLength = int32(bytes, lengthsAt + 4);
  if (Math.max(classLength, headerLength) > maxPartBytes || contentLength < 0) return 0;
  const hasCrc = shift === 1 && bytes[at + 1] === 2 && ((bytes[at + 11] as number) & crcSwitch) !== 0;
  const size = headSize + classLength + headerLength + contentLength + (hasCrc ? 4 : 0);
  if (size > maxFrameBytes) return 0;
  const kind = boltKind(type, command);
  const status = isResponse ? uint16(bytes, lengthsAt - 2) : 0;
  const named = headSize + classLength + headerLength;
  let wanted = headSize;
  if (kind === frameKind.request) wanted = named;
  else if (kind === frameKind.response && status === 0 && headerLength > 0)
    wanted = named + Math.min(contentLength, sofaAnswerBytes);
  wanted = Math.min(wanted, maxHeadBytes);
  if (available < wanted) return -wanted;

  const view = boltView;
  view.bytes = bytes;
  view.kind = kind;
  view.status = status;
  view.serialization = bytes[at + 9 + shift] as number;
  view.classAt = at + headSize;
  view.classLength = classLength;
  view.headerAt = view.classAt + classLength;
  view.headerLength = Math.max(0, Math.min(headerLength, end - view.headerAt));
  view.contentAt = view.headerAt + headerLength;
  into.protocol = "bolt";
  into.kind = kind;
  into.id = int32(bytes, at + 5 + shift) >>> 0;
  into.idHigh = 0;
  into.service = kind === frameKind.request ? boltCodec.service(view) : undefined;
  into.method = kind === frameKind.request ? boltCodec.method(view) : undefined;
  if (kind === frameKind.response) into.outcome = boltOutcome(view, Math.min(end, view.contentAt + contentLength));
  view.bytes = nothing;
  return size;
}

function isBoltType(bytes: Buffer, at: number, shift: number): boolean {
  const revision = bytes[at + 1] as number;
  return (shift === 0 || revision === 1 || revision === 2) && (bytes[at + 1 + shift] as number) <= boltType.oneway;
}

function boltKind(type: number, command: number): FrameKind {
  if (command === boltCommand.heartbeat)
    return type === boltType.response ? frameKind.heartbeatReply : frameKind.heartbeat;
  if (command > boltCommand.response) return frameKind.event;
  if (type === boltType.response) return frameKind.response;
  return type === boltType.request ? frameKind.request : frameKind.oneway;
}

function boltOutcome(view: BoltFrame, end: number): Outcome {
  if (view.status !== 0) return "failed";
  if (!boltCodec.failed(view)) return "ok";
  return saysIsError(view, end) ? "failed" : "raised";
}

/** Whether the body, a `SofaResponse` in the draft dialect of Hessian 2, is of the library's making: its first field, `isError`, is true. */
function saysIsError(view: BoltFrame, end: number): boolean {
  const { bytes, contentAt, serialization } = view;
  if (serialization !== boltSerialization.hessian2 || bytes[contentAt] !== 0x4f) return false;
  let at = contentAt + 2 + (bytes[contentAt + 1] as number) - 0x90; // behind the class name and its compact length
  if (at < contentAt + 2 || at >= end) return false;
  const fields = (bytes[at++] as number) - 0x90;
  if (fields < 1 || bytes.toString("latin1", at + 1, at + 1 + (bytes[at] as number)) !== "isError") return false;
  for (let field = 0; field < fields; field++) {
    if (at >= end) return false;
    at += 1 + (bytes[at] as number);
  }
  return at + 2 < end && bytes[at] === 0x6f && bytes[at + 2] === 0x54; // an instance whose first value is T
}
