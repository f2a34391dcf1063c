/**
 * Why this exists: what the fields of a head mean for the connection: how the body is framed (RFC 9112 section 6), whether the connection goes on
 * (section 9.3), and what is refused because two readers could see two messages in it (sections 6.1 and 6.3, and 11.2).
 */
import { checkAuthority } from "./canonical.ts";
import { type Fields, framing, type Http1Head, type Method, method } from "./head.ts";
import { Http1Error } from "./limits.ts";
import { TokenWalk } from "./lists.ts";
import { type FieldId, field, fieldIdOf, sameName } from "./names.ts";
import { settleTarget } from "./target.ts";

const walk = new TokenWalk();

/** More options than this in `Connection` serve no purpose but to make each field be compared with each of them. */
const maxConnectionOptions = 32;

export function settleRequest(head: Http1Head): void {
  settleConnection(head);
  settleLength(head);
  if (head.framing === framing.untilClose) head.framing = framing.none; // section 6.3 rule 7: a request without either has no body
  settleHost(head);
  settleTarget(head);
  head.expectContinue = false;
  const expect = head.fields.find(field.expect);
  if (expect >= 0 && head.minor === 1) {
    if (!sameName(head.bytes, head.fields.valueStart(expect), head.fields.valueEnd(expect), "100-continue")) {
      throw new Http1Error(417, 0, "an expectation other than 100-continue");
    }
    // Without a body there is nothing to wait for (RFC 9110 section 10.1.1).
    head.expectContinue = head.framing === framing.chunked || head.contentLength > 0;
  }
}

/** `to` is the method of the request that this answers. */
export function settleResponse(head: Http1Head, to: Method): void {
  settleConnection(head);
  settleLength(head);
  head.expectContinue = false;
  const status = head.status;
  if (status === 101 || (to === method.CONNECT && status >= 200 && status < 300)) {
    head.framing = framing.tunnel;
  } else if (status < 200 || status === 204) {
    // Section 6.3 rule 1: ends with its head. A server that states a body all the same may send one: not to be trusted with another request.
    if (head.framing === framing.chunked || head.contentLength > 0) head.keepAlive = false;
    head.framing = framing.none;
  } else if (to === method.HEAD || status === 304) {
    head.framing = framing.none;
  }
  if (head.framing === framing.untilClose) head.keepAlive = false;
}

function settleConnection(head: Http1Head): void {
  head.upgrade = false;
  head.nominates = false;
  head.keepAlive = head.minor === 1;
  const fields = head.fields;
  let close = false;
  let options = 0;
  for (let index = fields.find(field.connection); index >= 0; index = fields.find(field.connection, index + 1)) {
    const start = fields.valueStart(index);
    const end = fields.valueEnd(index);
    // What most clients send is told without a walk.
    if (fieldIdOf(head.bytes, start, end) === field.keepAlive) {
      head.keepAlive = true;
      continue;
    }
    walk.over(head.bytes, start, end);
    while (walk.next()) {
      if (++options > maxConnectionOptions) {
        throw new Http1Error(400, 0, `more than ${maxConnectionOptions} options in connection`);
      }
      const id = fieldIdOf(head.bytes, walk.start, walk.end);
      if (id === field.keepAlive) head.keepAlive = true;
      else if (id === field.upgrade) head.upgrade = true;
      else if (sameName(head.bytes, walk.start, walk.end, "close")) close = true;
      else if (id === 0) head.nominates = true;
    }
    walk.done();
    if (walk.broken) throw new Http1Error(400, 0, "a connection field that is no list of tokens");
  }
  if (close) head.keepAlive = false;
  // RFC 9110 section 7.8: an upgrade asked for in HTTP/1.0 is ignored.
  head.upgrade = head.upgrade && head.minor === 1 && fields.has(field.upgrade);
}

/** Sets framing and contentLength by the fields alone. */
function settleLength(head: Http1Head): void {
  const fields = head.fields;
  const length = single(fields, field.contentLength, "two content-length fields");
  const coding = single(fields, field.transferEncoding, "two transfer-encoding fields");
  head.contentLength = length < 0 ? -1 : readLength(head.bytes, fields.valueStart(length), fields.valueEnd(length));
  if (coding < 0) {
    head.framing = length < 0 ? framing.untilClose : framing.length;
    return;
  }
  if (length >= 0) throw new Http1Error(400, 0, "both content-length and transfer-encoding");
  if (head.minor === 0) throw new Http1Error(400, 0, "transfer-encoding in HTTP/1.0");
  checkCoding(head.bytes, fields.valueStart(coding), fields.valueEnd(coding));
  head.framing = framing.chunked;
}

/** The index of the only field of this id, or -1. Even equal ones are refused: whoever sends two has had help. */
function single(fields: Fields, id: FieldId, several: string): number {
  const index = fields.find(id);
  if (index >= 0 && fields.find(id, index + 1) >= 0) throw new Http1Error(400, 0, several);
  return index;
}

/** `1*DIGIT` (RFC 9110 section 8.6) up to what a number holds exactly. */
function readLength(bytes: Uint8Array, start: number, end: number): number {
  let length = 0;
  for (let at = start; at < end; at++) {
    const digit = (bytes[at] as number) - 0x30;
    if (digit < 0 || digit > 9) throw new Http1Error(400, at, "a content-length that is no number");
    length = length * 10 + digit;
    if (length > Number.MAX_SAFE_INTEGER) throw new Http1Error(413, at, "a content-length above 9007199254740991");
  }
  if (start === end) throw new Http1Error(400, start, "an empty content-length");
  return length;
}

/** Only `chunked` is spoken. A last coding other than that leaves a request without an end (section 6.3 rule 4). */
function checkCoding(bytes: Uint8Array, start: number, end: number): void {
  if (sameName(bytes, start, end, "chunked")) return;
  let codings = 0;
  let chunked = 0;
  let last = false;
  walk.over(bytes, start, end);
  while (walk.next()) {
    codings++;
    last = sameName(bytes, walk.start, walk.end, "chunked");
    if (last) chunked++;
  }
  walk.done();
  // `identity` was taken out of HTTP in 2014 (RFC 7230) and is only ever sent to confuse.
  const unknown = !walk.broken && last && chunked === 1 && codings > 1;
  if (unknown) throw new Http1Error(501, start, "a transfer coding other than chunked");
  throw new Http1Error(400, start, "a transfer-encoding that is not exactly chunked");
}

/** Section 3.2: exactly one in HTTP/1.1, and a well-formed one wherever it stands. */
function settleHost(head: Http1Head): void {
  const fields = head.fields;
  const index = single(fields, field.host, "two host fields");
  head.authorityStart = 0;
  head.authorityEnd = 0;
  if (index < 0) {
    if (head.minor === 1) throw new Http1Error(400, 0, "no host field");
    return;
  }
  head.authorityStart = fields.valueStart(index);
  head.authorityEnd = fields.valueEnd(index);
  checkAuthority(head.bytes, head.authorityStart, head.authorityEnd);
}
