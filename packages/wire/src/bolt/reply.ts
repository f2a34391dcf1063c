/**
 * Why this exists: what the sidecar says on its own account in Bolt: errors and heartbeats.
 *
 * What an application gets to see was tried with real clients. SOFA-RPC (Java, and npm's sofa-rpc-node) drops the text that comes with a
 * Bolt status and makes its own; a `SofaResponse` with `isError` under status SUCCESS becomes an exception with exactly our text,
 * so that is the answer to a `SofaRequest`, whatever the reason. A plain Bolt client knows no `SofaResponse`; it shows the text of a
 * `RpcServerException` under status SERVER_EXCEPTION. TIMEOUT and SERVER_THREADPOOL_BUSY it turns into exceptions of their own that programs
 * catch, and these come without a text, so there the status counts for more than the words.
 */
import { crc32 } from "node:zlib";
import { putInt32 } from "../bytes.ts";
import { writeText } from "../hessian/text.ts";
import type { PendingHead, ReplyReason } from "../rpc.ts";
import { equalAt } from "../texts.ts";
import { type BoltFrame, boltCommand, boltSerialization, boltStatus, boltType, crcSwitch } from "./frame.ts";

const sofaRequestClass: Buffer = Buffer.from("com.alipay.sofa.rpc.core.request.SofaRequest");
const nothing: Buffer = Buffer.alloc(0);
const serverExceptionClass = "com.alipay.remoting.rpc.exception.RpcServerException";
const sofaResponseClass = "com.alipay.sofa.rpc.core.response.SofaResponse";

/** What a reply must know of its request: bit 0 a CRC is expected, bit 1 revision 2 of v2, bit 2 it was a SofaRequest. */
export function replyFlags(frame: BoltFrame): number {
  const isSofa =
    frame.classLength === sofaRequestClass.length &&
    equalAt(sofaRequestClass, frame.bytes, frame.classAt, frame.headerAt);
  return (frame.crcAt >= 0 ? 1 : 0) | (frame.revision === 2 ? 2 : 0) | (isSofa ? 4 : 0);
}

export function errorReplyTo(request: PendingHead, reason: ReplyReason, text: string): Buffer {
  if ((request.flags & 4) !== 0 && request.serialization === boltSerialization.hessian2) {
    const header = reason === "unreached" ? sofaUnreachedHeader : sofaErrorHeader;
    return response(request, boltStatus.success, sofaResponseClass, sofaError(text), header);
  }
  if (reason === "timeout") return response(request, boltStatus.timeout, "", nothing);
  if (reason === "overload") return response(request, boltStatus.threadPoolBusy, "", nothing);
  const header = reason === "unreached" ? unreachedHeader : nothing;
  return response(request, boltStatus.serverException, serverExceptionClass, serverException(text), header);
}

/** The header of a response by which one sidecar tells another that the application never saw the request. */
export const unreachedKey: Buffer = Buffer.from("dualmesh_unreached");
/** SOFA-RPC says so of every response that is an error. */
export const responseErrorKey: Buffer = Buffer.from("sofa_head_response_error");

function headerOf(...keys: readonly Buffer[]): Buffer {
  const sized = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
  return Buffer.concat(keys.flatMap((key) => [sized(key), sized(Buffer.from("true"))]));
}

const unreachedHeader: Buffer = headerOf(unreachedKey);
const sofaErrorHeader: Buffer = headerOf(responseErrorKey);
const sofaUnreachedHeader: Buffer = headerOf(responseErrorKey, unreachedKey);

function response(
  request: PendingHead,
  status: number,
  className: string,
  content: Buffer,
  header: Buffer = nothing,
): Buffer {
  const shift = request.version - 1;
  const hasCrc = request.version === 2 && (request.flags & 1) !== 0;
  const headSize = 20 + shift * 2;
  const bodySize = className.length + header.length + content.length;
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
  out[9 + shift] = boltSerialization.hessian2; // the body is ours, whatever the request was in
  out.writeUInt16BE(status, headSize - 10);
  out.writeUInt16BE(className.length, headSize - 8);
  out.writeUInt16BE(header.length, headSize - 6);
  putInt32(out, headSize - 4, content.length);
  out.write(className, headSize, "latin1");
  header.copy(out, headSize + className.length);
  content.copy(out, headSize + className.length + header.length);
  if (hasCrc) out.writeUInt32BE(crc32(out.subarray(0, out.length - 4)), out.length - 4);
  return out;
}

/** A class definition and an object begun, in the draft dialect of Hessian 2 that sofa-hessian speaks. */
function objectHead(className: string, fields: readonly string[]): Buffer {
  const text = (value: string): string => String.fromCharCode(value.length) + value;
  const name = className.length < 0x30 ? [0x90 + className.length] : [0xc8, className.length];
  const definition = String.fromCharCode(0x90 + fields.length) + fields.map(text).join("");
  return Buffer.concat([Buffer.from([0x4f, ...name]), Buffer.from(`${className}${definition}o\x90`, "latin1")]);
}

const sofaErrorHead: Buffer = objectHead(sofaResponseClass, ["isError", "errorMsg", "appResponse", "responseProps"]);

function sofaError(text: string): Buffer {
  return Buffer.concat([sofaErrorHead, Buffer.from("T"), writeText(text), Buffer.from("NN")]);
}

const serverExceptionHead: Buffer = objectHead(serverExceptionClass, [
  "detailMessage",
  "cause",
  "stackTrace",
  "suppressedExceptions",
]);

/** No cause is written as Java has it, a reference to the exception itself; then an empty stack and an empty list. */
const serverExceptionTail: Buffer = Buffer.from(
  "J\0Vt\0\x1c[java.lang.StackTraceElementn\0zVt\0\x1fjava.util.Collections$EmptyListn\0z",
  "latin1",
);

function serverException(text: string): Buffer {
  return Buffer.concat([serverExceptionHead, writeText(text), serverExceptionTail]);
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
