/** For tests: a protocol whose frames have six bytes (f7, kind, id), one function of which fails or gives what it should not. */
import type { FrameKind, RpcCodec } from "@dualmesh/wire/rpc";
import { guardedCodec, type OnModuleFault } from "./guard.ts";

const size = 6;

const working: RpcCodec = {
  protocol: "faulty",
  applicationHeader: "app",
  sniff: (head) => (head[0] === 0xf7 ? "yes" : "no"),
  view: () => ({
    ...{ bytes: Buffer.alloc(size), offset: 0, size: 0, kind: 0, id: 0, idHigh: 0, status: 0 },
    ...{ serialization: 0, timeoutMs: 0, version: 1 },
  }),
  decode(bytes, offset, end, into) {
    if (end - offset < size) return -size;
    const kind = bytes.readUInt8(offset + 1) as FrameKind;
    Object.assign(into, { bytes, offset, size, kind, id: bytes.readUInt32BE(offset + 2) });
    return size;
  },
  encode: ({ bytes, offset }) => Buffer.from(bytes.subarray(offset, offset + size)),
  service: () => "a:1",
  unreadable: () => "",
  method: () => undefined,
  group: () => "",
  header: () => undefined,
  rewriteId: (bytes, offset, _size, _high, id) => void bytes.writeUInt32BE(id, offset + 2),
  errorReply: (frame) => reply(frame.id),
  errorReplyTo: ({ id }) => reply(id),
  replyFlags: () => 0,
  heartbeat: () => Buffer.alloc(0),
  farewell: () => undefined,
  heartbeatReply: () => Buffer.alloc(0),
  failed: () => false,
  unreached: () => false,
  writer: () => 0,
};

function reply(id: number): Buffer {
  const bytes = Buffer.from([0xf7, 2, 0, 0, 0, 0]);
  bytes.writeUInt32BE(id, 2);
  return bytes;
}

/** A frame as its receiver answers it. */
export function answerTo(frame: Buffer): Buffer {
  return reply(frame.readUInt32BE(2));
}

/** `fails` gives `value`, or throws when that is undefined. */
export function faultyCodec(fails: keyof RpcCodec, value: unknown, onFault: OnModuleFault): RpcCodec {
  const broken = (): unknown => {
    if (value === undefined) throw new TypeError("a fault of its author");
    return value;
  };
  return guardedCodec({ ...working, [fails]: broken }, onFault);
}
