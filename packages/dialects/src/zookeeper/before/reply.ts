/** Replies of the ensemble as the door handles them: passed as they came, or told anew under the client's own id. */
import {
  decodeReplyBody,
  decodeReplyHead,
  encodeReply,
  errorCode,
  type ReplyBody,
  type Stat,
} from "@dualmesh/wire/jute/reply";
import type { Request } from "@dualmesh/wire/jute/request";

export interface Reply {
  readonly xid: number;
  readonly zxid: bigint;
  readonly error: number;
  /** The whole frame, as it came. Its owner may keep it. */
  readonly frame: Buffer;
}

/** The kind of body that answers a request. */
export function kindOf(request: Request): ReplyBody["kind"] {
  switch (request.op) {
    case "create":
      return request.code === 1 ? "path" : "created";
    case "exists":
    case "setData":
      return "stat";
    case "getData":
      return "data";
    case "getChildren":
      return request.code === 8 ? "children" : "children2";
    case "getEphemerals":
      return "children";
    case "getAcl":
      return "acl";
    case "sync":
      return "path";
    default:
      return "none";
  }
}

/** The body of a reply without an error. */
export function bodyOf<Kind extends ReplyBody["kind"]>(reply: Reply, kind: Kind): ReplyBody & { readonly kind: Kind } {
  const { body } = decodeReplyHead(reply.frame.subarray(4));
  return decodeReplyBody(kind, body) as ReplyBody & { readonly kind: Kind };
}

/** The same reply under another id. */
export function underXid(reply: Reply, xid: number): Buffer {
  if (reply.xid === xid) return reply.frame;
  const frame = Buffer.from(reply.frame);
  frame.writeInt32BE(xid, 4);
  return frame;
}

export function answer(xid: number, zxid: bigint, body: ReplyBody | { readonly error: number }): Buffer {
  if ("error" in body) return encodeReply({ xid, zxid, error: body.error });
  return encodeReply({ xid, zxid, error: errorCode.ok }, body);
}

/** Of a node that only this door shows. */
export function standInStat(zxid: bigint, wall: number, dataLength: number, owner: bigint): Stat {
  return {
    czxid: zxid,
    mzxid: zxid,
    ctime: wall,
    mtime: wall,
    version: 0,
    cversion: 0,
    aversion: 0,
    ephemeralOwner: owner,
    dataLength,
    numChildren: 0,
    pzxid: zxid,
  };
}
