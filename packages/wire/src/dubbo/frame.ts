/**
 * Why this exists: what stands where in a Dubbo frame: `da bb`, flags, status, the request id (8 bytes), the body's length (4 bytes,
 * signed), the body. Big-endian.
 */
import { type FrameKind, frameKind, type RpcFrame } from "../rpc.ts";

export const headBytes = 16;

/** Bits of the flags byte; the low five are the serialisation. */
export const dubboFlag = { request: 0x80, twoWay: 0x40, event: 0x20, serialization: 0x1f } as const;

/** The serialisations that can be read here; others (fastjson 6, protobuf 21, …) pass unread. */
export const dubboSerialization = { hessian2: 2, fastjson2: 23 } as const;

export const dubboStatus = {
  ok: 20,
  clientTimeout: 30,
  serverTimeout: 31,
  badRequest: 40,
  badResponse: 50,
  serviceNotFound: 60,
  serviceError: 70,
  serverError: 80,
  clientError: 90,
  threadPoolExhausted: 100,
} as const;

/** What `attachmentsAt` says before anyone looked, and when they cannot be reached. */
export const notLooked = -2;
export const notReached = -1;

const nothing: Buffer = Buffer.alloc(0);

export class DubboFrame implements RpcFrame {
  bytes: Buffer;
  offset: number;
  size: number;
  kind: FrameKind;
  id: number;
  idHigh: number;
  status: number;
  serialization: number;
  timeoutMs: number;
  version: number;
  flags: number;
  /** The status byte as it stands; requests have one too, without meaning. */
  statusByte: number;
  bodyAt: number;
  bodyLength: number;
  /** Where the attachments of a request begin, found on the first question. */
  attachmentsAt: number;

  constructor() {
    this.bytes = nothing;
    this.offset = 0;
    this.size = 0;
    this.kind = frameKind.event;
    this.id = 0;
    this.idHigh = 0;
    this.status = 0;
    this.serialization = 0;
    this.timeoutMs = 0;
    this.version = 2;
    this.flags = 0;
    this.statusByte = 0;
    this.bodyAt = 0;
    this.bodyLength = 0;
    this.attachmentsAt = notLooked;
  }
}
