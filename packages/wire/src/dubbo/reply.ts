/**
 * Why this exists: what the sidecar says on its own account in Dubbo: errors and heartbeats. A response whose status is not OK has one text as
 * its body, in the serialisation of the request; the client raises it as a RemotingException (a TimeoutException for 31) with that
 * text.
 */
import { putInt32 } from "../bytes.ts";
import { writeText } from "../hessian/text.ts";
import { frameKind, type PendingHead, type ReplyReason } from "../rpc.ts";
import { equalAt } from "../texts.ts";
import { type DubboFrame, dubboFlag, dubboSerialization, dubboStatus, headBytes } from "./frame.ts";
import { writeText as writeJsonbText } from "./jsonb.ts";

const statusOf: Readonly<Record<ReplyReason, number>> = {
  "no-provider": dubboStatus.serviceNotFound,
  unreadable: dubboStatus.badRequest,
  timeout: dubboStatus.serverTimeout,
  unreached: dubboStatus.serverError,
  unavailable: dubboStatus.serverError,
  overload: dubboStatus.threadPoolExhausted,
  denied: dubboStatus.serviceError,
};

/** Longer texts are cut. */
const maxTextLength = 4_096;

/** How the text of an answer begins by which one sidecar tells another that the application never saw the request. */
const unreachedMark = "[unreached] ";
const unreachedBytes: Buffer = Buffer.from(unreachedMark);
/** The most bytes that stand before a text: JSONB's item length, tag and length. */
const maxTextHead = 10;

export function saysUnreached(frame: DubboFrame): boolean {
  if (frame.kind !== frameKind.response || frame.status !== dubboStatus.serverError) return false;
  const last = Math.min(frame.bodyAt + maxTextHead, frame.bodyAt + frame.bodyLength - unreachedBytes.length);
  for (let at = frame.bodyAt; at <= last; at++)
    if (equalAt(unreachedBytes, frame.bytes, at, at + unreachedBytes.length)) return true;
  return false;
}

export function errorReplyTo(request: PendingHead, reason: ReplyReason, text: string): Buffer {
  const short = (reason === "unreached" ? unreachedMark + text : text).slice(0, maxTextLength);
  if (request.serialization === dubboSerialization.fastjson2) {
    const body = writeJsonbText(short);
    const item = Buffer.alloc(4 + body.length);
    putInt32(item, 0, body.length);
    body.copy(item, 4);
    return frameOf(dubboSerialization.fastjson2, statusOf[reason], request, item);
  }
  // Every Dubbo client has hessian2 and reads a response by the response's own bits: also the answer to what cannot be read.
  return frameOf(dubboSerialization.hessian2, statusOf[reason], request, writeText(short));
}

const hessianNull: Buffer = Buffer.from("N");

/** Two-way, in hessian2, which every server reads on any connection. */
export function heartbeat(id: number): Buffer {
  const flags = dubboFlag.request | dubboFlag.twoWay | dubboFlag.event | dubboSerialization.hessian2;
  return frameOf(flags, 0, { id, idHigh: 0 }, hessianNull);
}

/** As a server sends it before it stops: an event that wants no answer. */
export function farewell(): Buffer {
  const flags = dubboFlag.request | dubboFlag.event | dubboSerialization.hessian2;
  return frameOf(flags, 0, { id: 0, idHigh: 0 }, readOnlyText);
}

const readOnlyText: Buffer = Buffer.from([1, 0x52]); // "R" as Dubbo writes it, in the short form

/** The same serialisation, and the body (null in that serialisation) as it came. */
export function heartbeatReply(frame: DubboFrame): Buffer {
  const body = frame.bytes.subarray(frame.bodyAt, frame.bodyAt + frame.bodyLength);
  return frameOf(dubboFlag.event | frame.serialization, dubboStatus.ok, frame, body);
}

function frameOf(
  flags: number,
  status: number,
  ids: { readonly id: number; readonly idHigh: number },
  body: Buffer,
): Buffer {
  const out = Buffer.allocUnsafe(headBytes + body.length);
  out[0] = 0xda;
  out[1] = 0xbb;
  out[2] = flags;
  out[3] = status;
  putInt32(out, 4, ids.idHigh);
  putInt32(out, 8, ids.id);
  putInt32(out, 12, body.length);
  body.copy(out, headBytes);
  return out;
}
