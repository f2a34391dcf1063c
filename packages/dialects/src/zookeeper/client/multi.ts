/** The operation `multi`: several writes that happen together or not at all, and that others see as one step. */
import { type JuteReader, JuteWriter } from "@dualmesh/wire/jute/record";
import { decodeReplyBody, errorCode } from "@dualmesh/wire/jute/reply";
import { type Acl, opCode, type RequestBody } from "@dualmesh/wire/jute/request";

export const multiCode = 14;
/** What the result of a part that failed, or was not tried, is marked with; also the end of both lists. */
const errorType = -1;

export type Part =
  | {
      readonly op: "create";
      readonly path: string;
      readonly data: Buffer;
      readonly acl: readonly Acl[];
      readonly flags: number;
    }
  | { readonly op: "delete"; readonly path: string; readonly version: number };

export function multiRequest(parts: readonly Part[]): RequestBody {
  const writer = new JuteWriter(256);
  for (const part of parts) {
    writer.int(opCode[part.op]).bool(false).int(errorType).string(part.path);
    if (part.op === "delete") writer.int(part.version);
    else {
      writer.buffer(part.data);
      writer.list(part.acl, (acl) => writer.int(acl.permissions).string(acl.scheme).string(acl.id));
      writer.int(part.flags);
    }
  }
  writer.int(errorType).bool(true).int(errorType);
  return { op: "unknown", code: multiCode, bytes: writer.frame().subarray(4) };
}

/** The codes of the parts, in their order; all are 0 when it was done. */
export function readMultiReply(reader: JuteReader): readonly number[] {
  const results: number[] = [];
  for (;;) {
    const type = reader.int();
    const done = reader.bool();
    const code = reader.int();
    if (done) return results;
    if (type === errorType) results.push(reader.int());
    else {
      if (type === opCode.create) decodeReplyBody("path", reader);
      else if (type === opCode.create2) decodeReplyBody("created", reader);
      else if (type === opCode.setData) decodeReplyBody("stat", reader);
      results.push(code === errorType ? errorCode.ok : code);
    }
  }
}
