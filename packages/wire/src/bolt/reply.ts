/**
 * Why this exists: what the sidecar says on its own account in Bolt: errors and heartbeats.
 *
 * A SOFA-RPC client gets status SUCCESS with a `SofaResponse` whose `isError` is true and whose `errorMsg` is our text: that becomes a
 * SofaRpcException with this text. A Bolt status of failure would be told to the application without any text of ours (for
 * TIMEOUT and the like the client makes its own). A plain Bolt client knows no SofaResponse, so it gets the status.
 */
import { crc32 } from "node:zlib";
import { putInt32 } from "../bytes.ts";
import { writeText } from "../hessian/text.ts";
import type { PendingHead, ReplyReason } from "../rpc.ts";
import { type BoltFrame, boltCommand, boltSerialization, boltStatus, boltType, crcSwitch } from "./frame.ts";

const sofaRequestClass: Buffer = Buffer.from("com.alipay.sofa.rpc.core.request.SofaRequest");
const sofaResponseClass = "com.alipay.sofa.rpc.core.response.SofaResponse";

/** What a reply must know of its request: bit 0 a CRC is expected, bit 1 revision 2 of v2, bit 2 it was a SofaRequest. */
export function replyFlags(frame: BoltFrame): number {
  const isSofa = frame.bytes.subarray(frame.classAt, frame.headerAt).equals(sofaRequestClass);
  return (frame.crcAt >= 0 ? 1 : 0) | (frame.revision === 2 ? 2 : 0) | (isSofa ? 4 : 0);
}

const statusOf: Readonly<Record<ReplyReason, number>> = {
  "no-provider": boltStatus.noProcessor,
  unreadable: boltStatus.codecException,
  timeout: boltStatus.timeout,
  unavailable: boltStatus.connectionClosed,
  overload: boltStatus.threadPoolBusy,
  denied: boltStatus.error,
};

export function errorReplyTo(request: PendingHead, reason: ReplyReason, text: string): Buffer {
  if ((request.flags & 4) !== 0 && request.serialization === boltSerialization.hessian2) {
    return response(request, boltStatus.success, sofaResponseClass, sofaError(text));
  }
  return response(request, statusOf[reason], "", Buffer.alloc(0));
}

function response(request: PendingHead, status: number, className: string, content: Buffer): Buffer {
  const shift = request.version - 1;
  const hasCrc = request.version === 2 && (request.flags & 1) !== 0;
  const headSize = 20 + shift * 2;
  const bodySize = className.length + content.length;
  const out = Buffer.alloc(headSize + bodySize + (hasCrc ? 4 : 0));
  out[0] = request.version;
  if (request.version === 2) {
    out[1] = (request.flags & 2) !== 0 ? 2 : 1;
    out[11] = hasCrc ? crcSwitch : 0;
  }
  out[1 + shift] = boltType.response;
  out.writeUInt16BE(boltCommand.response, 2 + shift);
  out[4 + shift] = 1;
  putInt32(out, 5 + shift, request.id);
  out[9 + shift] = request.serialization;
  out.writeUInt16BE(status, headSize - 10);
  out.writeUInt16BE(className.length, headSize - 8);
  putInt32(out, headSize - 4, content.length);
  out.write(className, headSize, "latin1");
  content.copy(out, headSize + className.length);
  if (hasCrc) out.writeUInt32BE(crc32(out.subarray(0, out.length - 4)), out.length - 4);
  return out;
}

/** A `SofaResponse` in the draft dialect of Hessian 2 that sofa-hessian speaks: a definition with four fields, and one instance. */
const sofaErrorHead: Buffer = Buffer.concat([
  Buffer.from([0x4f, 0x90 + sofaResponseClass.length]),
  Buffer.from(sofaResponseClass),
  Buffer.from("\x94\x07isError\x08errorMsg\x0bappResponse\rresponseProps", "latin1"),
  Buffer.from([0x6f, 0x90, 0x54]),
]);

function sofaError(text: string): Buffer {
  return Buffer.concat([sofaErrorHead, writeText(text), Buffer.from("NN")]);
}

/** Our own heartbeats are of v1, which every Bolt server reads and which is the default of every client. */
export function heartbeat(id: number): Buffer {
  const out = Buffer.alloc(22);
  out[0] = 1;
  out[1] = boltType.request;
  out[4] = 1;
  putInt32(out, 5, id);
  out[9] = boltSerialization.hessian2;
  putInt32(out, 10, -1);
  return out;
}

export function heartbeatReply(frame: BoltFrame): Buffer {
  const shift = frame.version - 1;
  const out = Buffer.alloc(20 + shift * 2);
  out[0] = frame.version;
  if (frame.version === 2) out[1] = frame.revision;
  out[1 + shift] = boltType.response;
  out[4 + shift] = 1;
  putInt32(out, 5 + shift, frame.id);
  out[9 + shift] = frame.serialization;
  return out;
}
