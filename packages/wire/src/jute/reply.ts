/**
 * What ZooKeeper's servers say: the answer to the handshake, replies (the client's xid, the newest zxid, an error code, a body
 * when there is no error) and events, which are replies with the id -1.
 */
import { JuteReader, JuteWriter } from "./record.ts";
import { type Acl, reservedXid } from "./request.ts";

export const errorCode = {
  ok: 0,
  systemError: -1,
  connectionLoss: -4,
  unimplemented: -6,
  badArguments: -8,
  noNode: -101,
  badVersion: -103,
  noChildrenForEphemerals: -108,
  nodeExists: -110,
  notEmpty: -111,
  sessionExpired: -112,
  noWatcher: -121,
} as const;

export const eventType = { created: 1, deleted: 2, dataChanged: 3, childrenChanged: 4 } as const;
export type EventType = (typeof eventType)[keyof typeof eventType];

/** What is told of a node beside its data. */
export interface Stat {
  readonly czxid: bigint;
  readonly mzxid: bigint;
  readonly ctime: number;
  readonly mtime: number;
  readonly version: number;
  readonly cversion: number;
  readonly aversion: number;
  /** The session that owns an ephemeral node; 0 for the others. */
  readonly ephemeralOwner: bigint;
  readonly dataLength: number;
  readonly numChildren: number;
  readonly pzxid: bigint;
}

export interface ConnectReply {
  readonly protocolVersion: number;
  /** 0 says that the session is not known (any more). */
  readonly timeoutMs: number;
  readonly sessionId: bigint;
  readonly password: Buffer;
  readonly readOnly: boolean | undefined;
}

/** The body of a reply by its kind; `none` for a bare success. */
export type ReplyBody =
  | { readonly kind: "none" }
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "created"; readonly path: string; readonly stat: Stat }
  | { readonly kind: "stat"; readonly stat: Stat }
  | { readonly kind: "data"; readonly data: Buffer | undefined; readonly stat: Stat }
  | { readonly kind: "children"; readonly children: readonly string[] }
  | { readonly kind: "children2"; readonly children: readonly string[]; readonly stat: Stat }
  | { readonly kind: "acl"; readonly acl: readonly Acl[]; readonly stat: Stat }
  | { readonly kind: "error"; readonly code: number };

export interface ReplyHead {
  readonly xid: number;
  readonly zxid: bigint;
  readonly error: number;
}

export interface WatchEvent {
  readonly type: number;
  readonly state: number;
  readonly path: string;
}

/** The only state a connected client is told of. */
export const syncConnected = 3;

export function encodeConnectReply(reply: ConnectReply): Buffer {
  const writer = new JuteWriter(40).int(reply.protocolVersion).int(reply.timeoutMs).long(reply.sessionId);
  writer.buffer(reply.password);
  if (reply.readOnly !== undefined) writer.bool(reply.readOnly);
  return writer.frame();
}

export function decodeConnectReply(record: Buffer): ConnectReply {
  const reader = new JuteReader(record);
  const reply = {
    protocolVersion: reader.int(),
    timeoutMs: reader.int(),
    sessionId: reader.long(),
    password: reader.buffer() ?? Buffer.alloc(0),
    readOnly: reader.left > 0 ? reader.bool() : undefined,
  };
  reader.end();
  return reply;
}

/** A reply as a whole frame; the body is left out when the head has an error. */
export function encodeReply(head: ReplyHead, body: ReplyBody = { kind: "none" }): Buffer {
  const writer = new JuteWriter(256).int(head.xid).long(head.zxid).int(head.error);
  if (head.error === errorCode.ok) writeBody(writer, body);
  return writer.frame();
}

export function encodeEvent(event: WatchEvent): Buffer {
  return new JuteWriter(64 + event.path.length)
    .int(reservedXid.event)
    .long(-1n)
    .int(errorCode.ok)
    .int(event.type)
    .int(event.state)
    .string(event.path)
    .frame();
}

function writeBody(writer: JuteWriter, body: ReplyBody): void {
  switch (body.kind) {
    case "none":
      return;
    case "path":
      writer.string(body.path);
      return;
    case "created":
      writer.string(body.path);
      return writeStat(writer, body.stat);
    case "stat":
      return writeStat(writer, body.stat);
    case "data":
      writer.buffer(body.data);
      return writeStat(writer, body.stat);
    case "children":
      writer.list(body.children, (child) => writer.string(child));
      return;
    case "children2":
      writer.list(body.children, (child) => writer.string(child));
      return writeStat(writer, body.stat);
    case "acl":
      writer.list(body.acl, (acl) => writer.int(acl.permissions).string(acl.scheme).string(acl.id));
      return writeStat(writer, body.stat);
    case "error":
      writer.int(body.code);
  }
}

function writeStat(writer: JuteWriter, stat: Stat): void {
  writer.long(stat.czxid).long(stat.mzxid).long(BigInt(stat.ctime)).long(BigInt(stat.mtime));
  writer.int(stat.version).int(stat.cversion).int(stat.aversion).long(stat.ephemeralOwner);
  writer.int(stat.dataLength).int(stat.numChildren).long(stat.pzxid);
}

/** The head of a reply and a reader that stands at its body. */
export function decodeReplyHead(record: Buffer): { readonly head: ReplyHead; readonly body: JuteReader } {
  const body = new JuteReader(record);
  return { head: { xid: body.int(), zxid: body.long(), error: body.int() }, body };
}

/** Reads a body whose kind is known from the request that it answers. */
export function decodeReplyBody(kind: ReplyBody["kind"], reader: JuteReader): ReplyBody {
  switch (kind) {
    case "none":
      return { kind };
    case "path":
      return { kind, path: reader.string() };
    case "created":
      return { kind, path: reader.string(), stat: readStat(reader) };
    case "stat":
      return { kind, stat: readStat(reader) };
    case "data":
      return { kind, data: reader.buffer(), stat: readStat(reader) };
    case "children":
      return { kind, children: reader.list(4, () => reader.string()) };
    case "children2":
      return { kind, children: reader.list(4, () => reader.string()), stat: readStat(reader) };
    case "acl":
      return { kind, acl: reader.list(12, () => readAcl(reader)), stat: readStat(reader) };
    case "error":
      return { kind, code: reader.int() };
  }
}

export function decodeEvent(reader: JuteReader): WatchEvent {
  return { type: reader.int(), state: reader.int(), path: reader.string() };
}

function readAcl(reader: JuteReader): Acl {
  return { permissions: reader.int(), scheme: reader.string(), id: reader.string() };
}

function readStat(reader: JuteReader): Stat {
  return {
    czxid: reader.long(),
    mzxid: reader.long(),
    ctime: Number(reader.long()),
    mtime: Number(reader.long()),
    version: reader.int(),
    cversion: reader.int(),
    aversion: reader.int(),
    ephemeralOwner: reader.long(),
    dataLength: reader.int(),
    numChildren: reader.int(),
    pzxid: reader.long(),
  };
}
