/** Why this exists: requests and replies of every kind for the laws. Test support: no part of the product imports it. */
import fc from "fast-check";
import { encodeReply, type ReplyBody, type Stat } from "./reply.ts";
import { type ConnectRequest, encodeConnectRequest, encodeRequest, type Request } from "./request.ts";

/** Plain objects, as decoding gives them. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;

const int = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const long = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const path = fc.string({ unit: "grapheme", maxLength: 40 });
const bytes = fc.uint8Array({ maxLength: 60 }).map((value) => Buffer.from(value));
const data = fc.option(bytes, { nil: undefined });
const acl = fc.array(record({ permissions: int, scheme: path, id: path }), { maxLength: 3 });
const paths = fc.array(path, { maxLength: 4 });

export const arbitraryConnectRequest: fc.Arbitrary<ConnectRequest> = record({
  protocolVersion: fc.constant(0),
  lastZxid: long,
  timeoutMs: int,
  sessionId: long,
  password: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((value) => Buffer.from(value)),
  readOnly: fc.option(fc.boolean(), { nil: undefined }),
});

export const arbitraryRequest: fc.Arbitrary<Request> = fc.oneof(
  record({
    xid: int,
    op: fc.constant("create" as const),
    code: fc.constantFrom(1 as const, 15 as const, 19 as const),
    path,
    data,
    acl,
    flags: int,
    ttl: fc.constant(0n),
  }),
  record({
    xid: int,
    op: fc.constant("create" as const),
    code: fc.constant(21 as const),
    path,
    data,
    acl,
    flags: int,
    ttl: long,
  }),
  record({ xid: int, op: fc.constant("delete" as const), path, version: int }),
  record({ xid: int, op: fc.constantFrom("exists" as const, "getData" as const), path, watch: fc.boolean() }),
  record({
    xid: int,
    op: fc.constant("getChildren" as const),
    code: fc.constantFrom(8 as const, 12 as const),
    path,
    watch: fc.boolean(),
  }),
  record({ xid: int, op: fc.constant("setData" as const), path, data, version: int }),
  record({ xid: int, op: fc.constantFrom("getAcl" as const, "sync" as const, "getEphemerals" as const), path }),
  record({ xid: int, op: fc.constantFrom("checkWatches" as const, "removeWatches" as const), path, kind: int }),
  record({ xid: int, op: fc.constant("addWatch" as const), path, mode: int }),
  record({
    xid: int,
    op: fc.constant("setWatches" as const),
    code: fc.constant(105 as const),
    relativeZxid: long,
    data: paths,
    exist: paths,
    child: paths,
    persistent: paths,
    recursive: paths,
  }),
  record({
    xid: int,
    op: fc.constant("setWatches" as const),
    code: fc.constant(101 as const),
    relativeZxid: long,
    data: paths,
    exist: paths,
    child: paths,
    persistent: fc.constant([]),
    recursive: fc.constant([]),
  }),
  record({ xid: int, op: fc.constant("auth" as const), kind: int, scheme: path, credentials: data }),
  record({ xid: int, op: fc.constantFrom("ping" as const, "closeSession" as const) }),
  record({ xid: int, op: fc.constant("unknown" as const), code: fc.integer({ min: 200, max: 900 }), bytes }),
);

const stat: fc.Arbitrary<Stat> = record({
  czxid: long,
  mzxid: long,
  ctime: safe,
  mtime: safe,
  version: int,
  cversion: int,
  aversion: int,
  ephemeralOwner: long,
  dataLength: int,
  numChildren: int,
  pzxid: long,
});

export const arbitraryReplyBody: fc.Arbitrary<ReplyBody> = fc.oneof(
  record({ kind: fc.constant("none" as const) }),
  record({ kind: fc.constant("path" as const), path }),
  record({ kind: fc.constant("created" as const), path, stat }),
  record({ kind: fc.constant("stat" as const), stat }),
  record({ kind: fc.constant("data" as const), data, stat }),
  record({ kind: fc.constant("children" as const), children: paths }),
  record({ kind: fc.constant("children2" as const), children: paths, stat }),
  record({ kind: fc.constant("acl" as const), acl, stat }),
  record({ kind: fc.constant("error" as const), code: int }),
);

/** Whole frames as either side sends them. */
export const arbitraryJuteFrame: fc.Arbitrary<Buffer> = fc.oneof(
  arbitraryConnectRequest.map(encodeConnectRequest),
  arbitraryRequest.map(encodeRequest),
  fc.tuple(int, long, arbitraryReplyBody).map(([xid, zxid, body]) => encodeReply({ xid, zxid, error: 0 }, body)),
);
