/** Why this exists: the four forms of a request target (RFC 9112 section 3.2), and the canonical path of each. */
import { checkAuthority, isCanonicalPath, makeCanonicalPath } from "./canonical.ts";
import { type Http1Head, method, targetForm } from "./head.ts";
import { Http1Error } from "./limits.ts";
import { sameName } from "./names.ts";

const slash = 0x2f;
const question = 0x3f;
const star: Buffer = Buffer.from("*");
const root: Buffer = Buffer.from("/");
const schemeBytes = "http://".length;

/** Sets form, path, query, authority and whether all that is canonical as received. The host field has been settled before. */
export function settleTarget(head: Http1Head): void {
  const bytes = head.bytes;
  const start = head.targetStart;
  head.canonical = head.minor === 1;
  head.queryStart = head.targetEnd;
  head.queryEnd = head.targetEnd;
  if (head.method === method.CONNECT) {
    settleConnect(head);
  } else if (bytes[start] === slash) {
    head.form = targetForm.origin;
    settlePath(head, start);
  } else if (bytes[start] === star[0] && head.targetEnd - start === 1) {
    if (head.method !== method.OPTIONS)
      throw new Http1Error(400, start, "the target * with a method other than OPTIONS");
    head.form = targetForm.asterisk;
    setPath(head, star);
  } else {
    settleAbsolute(head);
  }
}

function settlePath(head: Http1Head, start: number): void {
  const bytes = head.bytes;
  let end = start;
  while (end < head.targetEnd && bytes[end] !== question) end++;
  head.queryStart = end;
  if (isCanonicalPath(bytes, start, end)) {
    head.pathBytes = bytes;
    head.pathStart = start;
    head.pathEnd = end;
    return;
  }
  const made = makeCanonicalPath(bytes, start, end);
  const same = made.length === end - start && made.compare(bytes, start, end) === 0;
  head.pathBytes = same ? bytes : made;
  head.pathStart = same ? start : 0;
  head.pathEnd = same ? end : made.length;
  if (!same) head.canonical = false;
}

/** Section 3.2.2: the target's authority is what counts, whatever `Host` says. It goes on in origin form. */
function settleAbsolute(head: Http1Head): void {
  const bytes = head.bytes;
  const start = head.targetStart + schemeBytes;
  head.form = targetForm.absolute;
  head.canonical = false;
  if (start > head.targetEnd || !sameName(bytes, head.targetStart, start, "http://")) {
    throw new Http1Error(400, head.targetStart, "a target that is neither a path nor an http:// URI");
  }
  let end = start;
  while (end < head.targetEnd && bytes[end] !== slash && bytes[end] !== question) end++;
  if (end === start) throw new Http1Error(400, start, "a target without a host");
  checkAuthority(bytes, start, end);
  head.authorityStart = start;
  head.authorityEnd = end;
  if (end < head.targetEnd && bytes[end] === slash) {
    settlePath(head, end);
    return;
  }
  head.queryStart = end;
  // Section 3.2.4: OPTIONS of a whole server has no path at all, and goes on as `*`.
  setPath(head, end === head.targetEnd && head.method === method.OPTIONS ? star : root);
}

/** Section 3.2.3: host and port, both there. */
function settleConnect(head: Http1Head): void {
  const bytes = head.bytes;
  head.form = targetForm.authority;
  let colon = head.targetEnd;
  while (colon > head.targetStart && bytes[colon - 1] !== 0x3a && bytes[colon - 1] !== 0x5d) colon--;
  if (colon === head.targetStart || bytes[colon - 1] !== 0x3a) {
    throw new Http1Error(400, head.targetStart, "CONNECT to something that is not host:port");
  }
  checkAuthority(bytes, head.targetStart, head.targetEnd);
  head.authorityStart = head.targetStart;
  head.authorityEnd = head.targetEnd;
  setPath(head, star.subarray(0, 0));
}

function setPath(head: Http1Head, path: Buffer): void {
  head.pathBytes = path;
  head.pathStart = 0;
  head.pathEnd = path.length;
}
