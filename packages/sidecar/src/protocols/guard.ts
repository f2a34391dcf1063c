/**
 * A codec that somebody else wrote, made to keep what the data plane relies on: it gives what the interface says, or a `FrameError`, and nothing
 * else. So a fault in it costs the connection that met it and no other.
 */
import { FrameError, maxFrameBytes } from "@dualmesh/wire/codec";
import { frameKind, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";

/** The functions of a codec. */
export type CodecMethod = {
  [Key in keyof RpcCodec]: RpcCodec[Key] extends (...words: never[]) => unknown ? Key : never;
}[keyof RpcCodec];

/** A function of a module failed, in whatever connection. */
export type OnModuleFault = (protocol: string, method: CodecMethod, error: unknown) => void;

type Kind = "text" | "maybe-text" | "bytes" | "maybe-bytes" | "number" | "truth" | "nothing" | "sniff" | "object";

/** What each of them gives. */
export const codecMethods: Readonly<Record<CodecMethod, Kind>> = {
  sniff: "sniff",
  view: "object",
  decode: "number",
  encode: "bytes",
  service: "maybe-text",
  unreadable: "text",
  method: "maybe-text",
  group: "maybe-text",
  header: "maybe-text",
  rewriteId: "nothing",
  errorReply: "bytes",
  errorReplyTo: "bytes",
  replyFlags: "number",
  heartbeat: "bytes",
  farewell: "maybe-bytes",
  heartbeatReply: "bytes",
  failed: "truth",
  unreached: "truth",
  writer: "number",
};

const isKind: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  text: (value) => typeof value === "string",
  "maybe-text": (value) => value === undefined || typeof value === "string",
  bytes: (value) => Buffer.isBuffer(value),
  "maybe-bytes": (value) => value === undefined || Buffer.isBuffer(value),
  number: (value) => Number.isSafeInteger(value),
  truth: (value) => typeof value === "boolean",
  nothing: () => true,
  sniff: (value) => value === "yes" || value === "no" || value === "more",
  object: (value) => typeof value === "object" && value !== null,
};

const kinds = Object.keys(frameKind).length;

export function guardedCodec(codec: RpcCodec, onFault: OnModuleFault): RpcCodec {
  const guarded: Record<string, unknown> = { protocol: codec.protocol, applicationHeader: codec.applicationHeader };
  for (const name of Object.keys(codecMethods) as CodecMethod[]) guarded[name] = guard(codec, name, onFault);
  const decode = guarded["decode"] as RpcCodec["decode"];
  guarded["decode"] = (bytes: Buffer, offset: number, end: number, into: RpcFrame): number => {
    const size = decode(bytes, offset, end, into);
    const wrong = wrongIn(size, bytes, offset, end, into);
    if (wrong === undefined) return size;
    throw failure(codec.protocol, "decode", new Error(wrong), onFault);
  };
  // Every function of the interface is there: `codecMethods` would not compile without one.
  return guarded as unknown as RpcCodec;
}

function guard(codec: RpcCodec, name: CodecMethod, onFault: OnModuleFault): (...words: unknown[]) => unknown {
  const method = codec[name] as (...words: unknown[]) => unknown;
  const isRight = isKind[codecMethods[name]];
  return (...words) => {
    let value: unknown;
    try {
      value = method.apply(codec, words);
    } catch (error) {
      // A module imports only types, so it has a class of its own for bytes that it cannot understand, or none.
      if (name === "decode" && error instanceof Error && error.name === "FrameError")
        throw new FrameError(codec.protocol, 0, error.message);
      throw failure(codec.protocol, name, error, onFault);
    }
    if (isRight(value)) return value;
    throw failure(codec.protocol, name, new Error(`it gave ${typeof value}, not ${codecMethods[name]}`), onFault);
  };
}

function failure(protocol: string, name: CodecMethod, error: unknown, onFault: OnModuleFault): FrameError {
  onFault(protocol, name, error);
  return new FrameError(protocol, 0, `${name} of its module failed`);
}

/** What reads frames would otherwise go on for ever, or go past the end. */
function wrongIn(size: number, bytes: Buffer, offset: number, end: number, frame: RpcFrame): string | undefined {
  const available = end - offset;
  if (size <= 0) {
    if (-size > available && -size <= maxFrameBytes) return undefined;
    return `it needs ${-size} bytes and has ${available}; a frame has at most ${maxFrameBytes}`;
  }
  if (size > available) return `a frame of ${size} bytes in ${available}`;
  if (frame.bytes !== bytes || frame.offset !== offset || frame.size !== size)
    return "bytes, offset and size of the frame are not those that it was given and gave";
  if (!isUint32(frame.id) || !isUint32(frame.idHigh)) return "id and idHigh are not unsigned numbers of 32 bits";
  if (!Number.isInteger(frame.kind) || frame.kind < 0 || frame.kind >= kinds) return `a frame of kind ${frame.kind}`;
  if (!Number.isFinite(frame.timeoutMs)) return "timeoutMs is no number";
  return undefined;
}

function isUint32(value: number): boolean {
  return value >>> 0 === value;
}
