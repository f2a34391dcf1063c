/**
 * The protocol `note`, as a sidecar needs to know it: where a frame ends, what it is, which service it means, and how to answer one. Only types
 * are imported, so this file is all that a sidecar loads. README.md has the layout of a frame.
 */
import type { FrameKind, PendingHead, ReplyReason, RpcCodec, RpcFrame } from "@dualmesh/wire/rpc";

const magic = Buffer.from([0xf5, 0x4e]);
const headBytes = 20;
const maxBytes = 1024 * 1024;

/** The numbers of `RpcFrame.kind`, which are also those of a frame. */
export const kinds = { request: 0, oneway: 1, response: 2, heartbeat: 3, heartbeatReply: 4, leaving: 5 } as const;
/** In a response: the application answered, the application failed, a sidecar answered, or one that says nobody saw the request. */
export const statuses = { ok: 0, failed: 1, refused: 2, unreached: 3 } as const;

interface NoteFrame extends RpcFrame {
  serviceBytes: number;
  methodBytes: number;
}

export interface Note {
  readonly kind: number;
  readonly id: number;
  readonly status?: number;
  /** `NAME:VERSION`. */
  readonly service?: string;
  readonly method?: string;
  readonly body?: string;
  readonly timeoutMs?: number;
}

/** A frame as bytes. */
export function write({ kind, id, status = 0, service = "", method = "", body = "", timeoutMs = 0 }: Note): Buffer {
  const parts = [service, method, body].map((text) => Buffer.from(text));
  const head = Buffer.alloc(headBytes);
  magic.copy(head);
  head.writeUInt8(kind, 2);
  head.writeUInt8(status, 3);
  head.writeUInt32BE(id, 4);
  head.writeUInt16BE(parts[0]?.length ?? 0, 8);
  head.writeUInt16BE(parts[1]?.length ?? 0, 10);
  head.writeUInt32BE(parts[2]?.length ?? 0, 12);
  head.writeUInt32BE(timeoutMs, 16);
  return Buffer.concat([head, ...parts]);
}

/** What a caller reads of a frame. */
export function read(frame: NoteFrame): Note {
  const { kind, id, status, timeoutMs, bytes, offset, size } = frame;
  const bodyAt = offset + headBytes + frame.serviceBytes + frame.methodBytes;
  const body = bytes.toString("utf8", bodyAt, offset + size);
  return { kind, id, status, timeoutMs, service: serviceOf(frame), method: methodOf(frame), body };
}

const serviceOf = ({ bytes, offset, serviceBytes }: NoteFrame): string =>
  bytes.toString("utf8", offset + headBytes, offset + headBytes + serviceBytes);

const methodOf = ({ bytes, offset, serviceBytes, methodBytes }: NoteFrame): string =>
  bytes.toString("utf8", offset + headBytes + serviceBytes, offset + headBytes + serviceBytes + methodBytes);

/** Bytes that are no frame are told by an error of this name; the connection is then closed. */
const malformed = (text: string): Error => Object.assign(new Error(text), { name: "FrameError" });

const refusal = ({ id }: { readonly id: number }, reason: ReplyReason, text: string): Buffer => {
  const status = reason === "unreached" ? statuses.unreached : statuses.refused;
  return write({ kind: kinds.response, id, status, body: `${reason}: ${text}` });
};

export const codec: RpcCodec<NoteFrame> = {
  protocol: "note",
  sniff: (head) => (head[0] !== magic[0] ? "no" : head.length < 2 ? "more" : head[1] === magic[1] ? "yes" : "no"),
  view: () => ({
    ...{ bytes: magic, offset: 0, size: 0, kind: 0, id: 0, idHigh: 0, status: 0, serialization: 0 },
    ...{ timeoutMs: 0, version: 1, serviceBytes: 0, methodBytes: 0 },
  }),
  decode(bytes, offset, end, into) {
    if (end - offset < headBytes) return -headBytes;
    if (bytes[offset] !== magic[0] || bytes[offset + 1] !== magic[1]) throw malformed("does not begin with f5 4e");
    const kind = bytes.readUInt8(offset + 2);
    if (kind > kinds.leaving) throw malformed(`there is no kind ${kind}`);
    into.serviceBytes = bytes.readUInt16BE(offset + 8);
    into.methodBytes = bytes.readUInt16BE(offset + 10);
    const size = headBytes + into.serviceBytes + into.methodBytes + bytes.readUInt32BE(offset + 12);
    if (size > maxBytes) throw malformed(`${size} bytes are more than ${maxBytes}`);
    if (end - offset < size) return -size;
    const status = bytes.readUInt8(offset + 3);
    const id = bytes.readUInt32BE(offset + 4);
    const timeoutMs = bytes.readUInt32BE(offset + 16);
    Object.assign(into, { bytes, offset, size, kind: kind as FrameKind, status, id, timeoutMs });
    return size;
  },
  encode: ({ bytes, offset, size }) => Buffer.from(bytes.subarray(offset, offset + size)),
  service: (frame) => (frame.serviceBytes === 0 ? undefined : serviceOf(frame)),
  unreadable: () => "the frame names no service",
  method: methodOf,
  group: () => "",
  applicationHeader: "",
  header: () => undefined,
  rewriteId: (bytes, offset, _size, _idHigh, id) => void bytes.writeUInt32BE(id, offset + 4),
  errorReply: refusal,
  errorReplyTo: (request: PendingHead, reason, text) => refusal(request, reason, text),
  replyFlags: () => 0,
  heartbeat: (id) => write({ kind: kinds.heartbeat, id }),
  heartbeatReply: ({ id }) => write({ kind: kinds.heartbeatReply, id }),
  farewell: () => write({ kind: kinds.leaving, id: 0 }),
  failed: ({ status }) => status !== statuses.ok,
  unreached: ({ status }) => status === statuses.unreached,
  writer: () => 0,
};
