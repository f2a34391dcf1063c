/**
 * Dubbo's frames as a provider needs them, with hessian2 bodies. A frame is a head of 16 bytes (magic da bb, flags, status, request id of
 * 8 bytes, length of 4) and a body of hessian values one after another.
 */
import { hessian } from "./clients/hessian.ts";

const headBytes = 16;
const magic = 0xdabb;
const longestBody = 8 * 1024 * 1024;
const flagRequest = 0x80;
const flagTwoWay = 0x40;
const flagEvent = 0x20;
const serializationMask = 0x1f;
const hessian2 = 2;

export const status = { ok: 20, badRequest: 40, serviceNotFound: 60, serviceError: 70 } as const;

export interface Request {
  readonly id: Buffer;
  readonly twoWay: boolean;
  /** A heartbeat, or another event: it names no service. */
  readonly event: boolean;
  readonly serialization: number;
  readonly body: Buffer;
}

export interface Invocation {
  readonly service: string;
  readonly method: string;
  /** The first argument; the services here have no more. */
  readonly argument: unknown;
}

/** Takes the whole requests from the front of `bytes`. Throws when the bytes are not Dubbo. */
export function takeRequests(bytes: Buffer): { readonly requests: Request[]; readonly rest: Buffer } {
  const requests: Request[] = [];
  let at = 0;
  while (bytes.length - at >= headBytes) {
    if (bytes.readUInt16BE(at) !== magic) throw new Error("the peer does not speak Dubbo");
    const length = bytes.readUInt32BE(at + 12);
    if (length > longestBody) throw new Error(`a body of ${length} bytes is longer than ${longestBody}`);
    const end = at + headBytes + length;
    if (bytes.length < end) break;
    const flags = bytes.readUInt8(at + 2);
    if ((flags & flagRequest) !== 0) {
      requests.push({
        id: bytes.subarray(at + 4, at + 12),
        twoWay: (flags & flagTwoWay) !== 0,
        event: (flags & flagEvent) !== 0,
        serialization: flags & serializationMask,
        body: bytes.subarray(at + headBytes, end),
      });
    }
    at = end;
  }
  return { requests, rest: bytes.subarray(at) };
}

/** Reads which method is called: Dubbo's version, service, version, method, parameter types, then the arguments. */
export function readInvocation(body: Buffer): Invocation {
  const values = new hessian.DecoderV2(body);
  values.read();
  const service = String(values.read());
  values.read();
  const method = String(values.read());
  const types = String(values.read());
  return { service, method, argument: types === "" ? undefined : values.read() };
}

export function isHessian(request: Request): boolean {
  return request.serialization === hessian2;
}

/** The answer to a heartbeat: the same null value that asked. */
export function heartbeatReply(request: Request): Buffer {
  return frame(request, flagEvent, status.ok, request.body);
}

export function valueReply(request: Request, value: unknown): Buffer {
  const body = new hessian.EncoderV2();
  body.write(1); // a value follows, with no attachments behind it
  return frame(request, 0, status.ok, body.write(value).get());
}

/** An answer that is not OK has the reason for its body. */
export function errorReply(request: Request, code: number, reason: string): Buffer {
  return frame(request, 0, code, new hessian.EncoderV2().write(reason).get());
}

/** The event by which a provider asks its callers to send no more here. */
export function readOnlyEvent(): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt16BE(magic, 0);
  head.writeUInt8(flagRequest | flagEvent | hessian2, 2);
  const body = new hessian.EncoderV2().write("R").get();
  head.writeUInt32BE(body.length, 12);
  return Buffer.concat([head, body]);
}

function frame(request: Request, flags: number, code: number, body: Buffer): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt16BE(magic, 0);
  head.writeUInt8(flags | request.serialization, 2);
  head.writeUInt8(code, 3);
  request.id.copy(head, 4);
  head.writeUInt32BE(body.length, 12);
  return Buffer.concat([head, body]);
}
