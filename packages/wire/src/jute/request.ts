/**
 * What ZooKeeper's clients say: the connect request that opens a conversation, then requests with an id of the client's own (xid).
 * Requests that a discovery registry has no use for are kept as bytes, so that they can be refused, or passed on, as they came.
 */
import { JuteReader, JuteWriter } from "./record.ts";

export const opCode = {
  create: 1,
  delete: 2,
  exists: 3,
  getData: 4,
  setData: 5,
  getAcl: 6,
  getChildren: 8,
  sync: 9,
  ping: 11,
  getChildren2: 12,
  create2: 15,
  checkWatches: 17,
  removeWatches: 18,
  createContainer: 19,
  createTtl: 21,
  auth: 100,
  setWatches: 101,
  getEphemerals: 103,
  setWatches2: 105,
  addWatch: 106,
  closeSession: -11,
} as const;

/** The ids that mean something by themselves. */
export const reservedXid = { event: -1, ping: -2, auth: -4, setWatches: -8 } as const;

/** Bits of a node that is created, by the number in the request. */
export const createFlags = {
  persistent: 0,
  ephemeral: 1,
  persistentSequential: 2,
  ephemeralSequential: 3,
  container: 4,
  persistentTtl: 5,
  persistentSequentialTtl: 6,
} as const;

export interface ConnectRequest {
  readonly protocolVersion: number;
  readonly lastZxid: bigint;
  readonly timeoutMs: number;
  readonly sessionId: bigint;
  readonly password: Buffer;
  /** Undefined when the client did not send the byte; it must then not be answered either. */
  readonly readOnly: boolean | undefined;
}

export interface Acl {
  readonly permissions: number;
  readonly scheme: string;
  readonly id: string;
}

/** Anyone may do anything: the only access list that a discovery registry knows. */
export const openAcl: readonly Acl[] = [{ permissions: 31, scheme: "world", id: "anyone" }];

export type RequestBody =
  | {
      readonly op: "create";
      /** `create2`, `createContainer` and `createTtl` are answered with the node's stat too. */
      readonly code: 1 | 15 | 19 | 21;
      readonly path: string;
      readonly data: Buffer | undefined;
      readonly acl: readonly Acl[];
      readonly flags: number;
      readonly ttl: bigint;
    }
  | { readonly op: "delete"; readonly path: string; readonly version: number }
  | { readonly op: "exists" | "getData"; readonly path: string; readonly watch: boolean }
  | { readonly op: "getChildren"; readonly code: 8 | 12; readonly path: string; readonly watch: boolean }
  | { readonly op: "setData"; readonly path: string; readonly data: Buffer | undefined; readonly version: number }
  | { readonly op: "getAcl" | "sync" | "getEphemerals"; readonly path: string }
  | { readonly op: "checkWatches" | "removeWatches"; readonly path: string; readonly kind: number }
  | { readonly op: "addWatch"; readonly path: string; readonly mode: number }
  | {
      readonly op: "setWatches";
      readonly code: 101 | 105;
      readonly relativeZxid: bigint;
      readonly data: readonly string[];
      readonly exist: readonly string[];
      readonly child: readonly string[];
      readonly persistent: readonly string[];
      readonly recursive: readonly string[];
    }
  | { readonly op: "auth"; readonly kind: number; readonly scheme: string; readonly credentials: Buffer | undefined }
  | { readonly op: "ping" | "closeSession" }
  /** Not understood: the number and the bytes behind it. */
  | { readonly op: "unknown"; readonly code: number; readonly bytes: Buffer };

export type Request = { readonly xid: number } & RequestBody;

export function decodeConnectRequest(record: Buffer): ConnectRequest {
  const reader = new JuteReader(record);
  const request = {
    protocolVersion: reader.int(),
    lastZxid: reader.long(),
    timeoutMs: reader.int(),
    sessionId: reader.long(),
    password: reader.buffer() ?? Buffer.alloc(0),
    readOnly: reader.left > 0 ? reader.bool() : undefined,
  };
  reader.end();
  return request;
}

export function encodeConnectRequest(request: ConnectRequest): Buffer {
  const writer = new JuteWriter(48)
    .int(request.protocolVersion)
    .long(request.lastZxid)
    .int(request.timeoutMs)
    .long(request.sessionId)
    .buffer(request.password);
  if (request.readOnly !== undefined) writer.bool(request.readOnly);
  return writer.frame();
}

export function decodeRequest(record: Buffer): Request {
  const reader = new JuteReader(record);
  const xid = reader.int();
  const code = reader.int();
  const body = decodeBody(code, reader);
  reader.end();
  return { xid, ...body };
}

function decodeBody(code: number, reader: JuteReader): RequestBody {
  switch (code) {
    case opCode.create:
    case opCode.create2:
    case opCode.createContainer:
    case opCode.createTtl:
      return decodeCreate(code, reader);
    case opCode.delete:
      return { op: "delete", path: reader.string(), version: reader.int() };
    case opCode.exists:
      return { op: "exists", path: reader.string(), watch: reader.bool() };
    case opCode.getData:
      return { op: "getData", path: reader.string(), watch: reader.bool() };
    case opCode.getChildren:
    case opCode.getChildren2:
      return { op: "getChildren", code, path: reader.string(), watch: reader.bool() };
    case opCode.setData:
      return { op: "setData", path: reader.string(), data: reader.buffer(), version: reader.int() };
    case opCode.getAcl:
      return { op: "getAcl", path: reader.string() };
    case opCode.sync:
      return { op: "sync", path: reader.string() };
    case opCode.getEphemerals:
      return { op: "getEphemerals", path: reader.string() };
    case opCode.checkWatches:
      return { op: "checkWatches", path: reader.string(), kind: reader.int() };
    case opCode.removeWatches:
      return { op: "removeWatches", path: reader.string(), kind: reader.int() };
    case opCode.addWatch:
      return { op: "addWatch", path: reader.string(), mode: reader.int() };
    case opCode.setWatches:
    case opCode.setWatches2:
      return decodeSetWatches(code, reader);
    case opCode.auth:
      return { op: "auth", kind: reader.int(), scheme: reader.string(), credentials: reader.buffer() };
    case opCode.ping:
      return { op: "ping" };
    case opCode.closeSession:
      return { op: "closeSession" };
    default:
      return { op: "unknown", code, bytes: reader.rest() };
  }
}

function decodeCreate(code: 1 | 15 | 19 | 21, reader: JuteReader): RequestBody {
  return {
    op: "create",
    code,
    path: reader.string(),
    data: reader.buffer(),
    acl: reader.list(12, () => ({ permissions: reader.int(), scheme: reader.string(), id: reader.string() })),
    flags: reader.int(),
    ttl: code === opCode.createTtl ? reader.long() : 0n,
  };
}

function decodeSetWatches(code: 101 | 105, reader: JuteReader): RequestBody {
  const paths = (): string[] => reader.list(4, () => reader.string());
  return {
    op: "setWatches",
    code,
    relativeZxid: reader.long(),
    data: paths(),
    exist: paths(),
    child: paths(),
    persistent: code === opCode.setWatches2 ? paths() : [],
    recursive: code === opCode.setWatches2 ? paths() : [],
  };
}

export function encodeRequest(request: Request): Buffer {
  const writer = new JuteWriter(256).int(request.xid).int(codeOf(request));
  encodeBody(writer, request);
  return writer.frame();
}

function codeOf(request: RequestBody): number {
  return "code" in request ? request.code : opCode[request.op];
}

function encodeBody(writer: JuteWriter, request: RequestBody): void {
  switch (request.op) {
    case "create":
      writer.string(request.path).buffer(request.data);
      writer.list(request.acl, (acl) => writer.int(acl.permissions).string(acl.scheme).string(acl.id));
      writer.int(request.flags);
      if (request.code === opCode.createTtl) writer.long(request.ttl);
      return;
    case "delete":
      writer.string(request.path).int(request.version);
      return;
    case "exists":
    case "getData":
    case "getChildren":
      writer.string(request.path).bool(request.watch);
      return;
    case "setData":
      writer.string(request.path).buffer(request.data).int(request.version);
      return;
    case "getAcl":
    case "sync":
    case "getEphemerals":
      writer.string(request.path);
      return;
    case "checkWatches":
    case "removeWatches":
      writer.string(request.path).int(request.kind);
      return;
    case "addWatch":
      writer.string(request.path).int(request.mode);
      return;
    case "setWatches": {
      writer.long(request.relativeZxid);
      const lists = [request.data, request.exist, request.child];
      if (request.code === opCode.setWatches2) lists.push(request.persistent, request.recursive);
      for (const paths of lists) writer.list(paths, (path) => writer.string(path));
      return;
    }
    case "auth":
      writer.int(request.kind).string(request.scheme).buffer(request.credentials);
      return;
    case "unknown":
      writer.raw(request.bytes);
      return;
    case "ping":
    case "closeSession":
  }
}
