/**
 * Why this exists: forwards a head by copying ranges of the one received, without the fields that are for one hop (RFC 9110 section
 * 7.6.1), framed anew in canonical form. What is adjacent and stays is copied in one go.
 */
import { tokenBytes, valueBytes } from "./chars.ts";
import { type Framing, framing, type Http1Head, targetForm } from "./head.ts";
import { isNominated, noteNominated, singleHop, wantsTrailers } from "./hops.ts";
import { field, fieldIdOfName, sameName } from "./names.ts";

/** What is done to one field on the way. Made once (per route, endpoint or connection), used for many heads. */
export interface FieldEdit {
  readonly name: string;
  /**
   * `replace`: every such field goes, this one comes; `append`: joins the list at its end (one field, `, ` between), or comes alone;
   * `absent`: only when there is none; `drop`: every such field goes.
   */
  readonly how: "replace" | "append" | "absent" | "drop";
  /** Internal: the value, and the whole line `name: value CRLF`. */
  readonly value: Buffer;
  readonly line: Buffer;
  readonly id: number;
}

/** Raises RangeError when name or value cannot stand in a field: that is the caller's fault, not the peer's. */
export function fieldEdit(name: string, how: FieldEdit["how"], value = ""): FieldEdit {
  const lowered = name.toLowerCase();
  const id = fieldIdOfName(lowered);
  if (singleHop[id] === 1 || id === field.contentLength) throw new RangeError(`${name} is written by the codec itself`);
  checkField(lowered, value);
  return {
    name: lowered,
    how,
    value: Buffer.from(value, "latin1"),
    line: Buffer.from(`${lowered}: ${value}\r\n`, "latin1"),
    id,
  };
}

/** Raises RangeError unless both can stand in a field line. */
export function checkField(name: string, value: string): void {
  const named = name !== "" && Buffer.from(name).every((byte) => tokenBytes[byte] === 1);
  if (!named) throw new RangeError(`${JSON.stringify(name)} is no field name`);
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if (code > 255 || valueBytes[code] === 0)
      throw new RangeError(`the value of ${name} has a character that no field has`);
  }
}

/** How a head goes on. Mutable, so that one serves a connection. */
export interface Forwarding {
  /** At most 32, and one for each name. */
  edits: readonly FieldEdit[];
  /**
   * How the body is framed on this hop; usually `head.framing`. `length` takes `head.contentLength`. `none` keeps a descriptive
   * content-length (HEAD, 304). `untilClose` implies `close`. `chunked` must not go to an HTTP/1.0 peer.
   */
  framing: Framing;
  /** Writes `connection: close`. */
  close: boolean;
  /** Writes `connection: keep-alive`, which an HTTP/1.0 peer that asked for it needs. */
  keepAlive: boolean;
  /** Lets `Upgrade` pass, with `connection: upgrade`. */
  upgrade: boolean;
}

const versionLine: Buffer = Buffer.from(" HTTP/1.1\r\n");
const statusVersion: Buffer = Buffer.from("HTTP/1.1 ");
const chunkedLine: Buffer = Buffer.from("transfer-encoding: chunked\r\n");
const lengthName: Buffer = Buffer.from("content-length: ");
const hostName: Buffer = Buffer.from("host: ");
const trailersLine: Buffer = Buffer.from("te: trailers\r\n");
const listComma: Buffer = Buffer.from(", ");
const lineEnd: Buffer = Buffer.from("\r\n");

/** The line `connection`, by what it has: 1 close, 2 keep-alive, 4 upgrade, 8 te. */
const connectionLines: readonly Buffer[] = Array.from({ length: 16 }, (_, bits) => {
  const options = ["close", "keep-alive", "upgrade", "te"].filter((_, bit) => (bits >> bit) & 1);
  return Buffer.from(options.length === 0 ? "" : `connection: ${options.join(", ")}\r\n`);
});

/** Everything that the codec itself may add: the longest `connection`, a length, `te`, version, space and line ends. */
const ownBytes = 256;

/** No forwarded head is larger than this. */
export function forwardedBound(head: Http1Head, forwarding: Forwarding): number {
  let bound =
    head.end - head.start + head.pathEnd - head.pathStart + head.authorityEnd - head.authorityStart + ownBytes;
  for (let index = 0; index < forwarding.edits.length; index++)
    bound += (forwarding.edits[index] as FieldEdit).line.length;
  return bound;
}

/** By field id, one more than the index of its edit; filled and emptied by each call. */
const editOf = new Uint8Array(64);
const maxEdits = 32;
/** By index of the edit: its field was there. */
const met = new Uint8Array(maxEdits);

/** Writes the head into `into` from `at` on, which must have `forwardedBound` bytes of room; returns where it ends. */
export function forwardHead(head: Http1Head, forwarding: Forwarding, into: Buffer, at: number): number {
  const edits = forwarding.edits;
  if (edits.length > maxEdits) throw new RangeError(`more than ${maxEdits} edits`);
  let unlisted = false;
  for (let index = 0; index < edits.length; index++) {
    const id = (edits[index] as FieldEdit).id;
    if (id === 0) unlisted = true;
    editOf[id] = index + 1;
    met[index] = 0;
  }
  editOf[0] = 0;
  // RFC 9112 section 3.2: every request of version 1.1 has one, though what was received in HTTP/1.0 may not.
  const hostless = head.status === 0 && !head.fields.has(field.host) && editOf[field.host] === 0;
  noteNominated(head);
  let to = writeFields(head, forwarding, unlisted, into, at);
  for (let index = 0; index < edits.length; index++) {
    const edit = edits[index] as FieldEdit;
    editOf[edit.id] = 0;
    if (met[index] === 0 && edit.how !== "drop") to = put(edit.line, into, to);
  }
  if (hostless) to = putHost(head, into, to);
  return writeEnd(head, forwarding, into, to);
}

function writeFields(head: Http1Head, forwarding: Forwarding, unlisted: boolean, into: Buffer, at: number): number {
  const fields = head.fields;
  const bytes = head.bytes;
  const edits = forwarding.edits;
  let to = at;
  /** From here on everything stays as it came. */
  let kept = head.start;
  if (!head.canonical) {
    to = writeStartLine(head, into, to);
    kept = head.linesStart;
  }
  for (let index = 0; index < fields.count; index++) {
    const id = fields.id(index);
    let edit = editOf[id] as number;
    if (id === 0) {
      if (unlisted) edit = unlistedEdit(head, edits, index);
      if (edit === 0 && !(head.nominates && isNominated(bytes, fields.nameStart(index), fields.nameEnd(index))))
        continue;
    } else if (edit === 0 && keeps(head, forwarding, id, index)) continue;
    if (edit > 0) {
      const how = (edits[edit - 1] as FieldEdit).how;
      const first = met[edit - 1] === 0;
      met[edit - 1] = 1;
      if (how === "absent" || (how === "append" && nextAlike(head, index) >= 0)) continue;
      to = copy(bytes, kept, how === "append" ? fields.valueEnd(index) : fields.nameStart(index), into, to);
      if (how === "append") to = putAppended(head, index, edits[edit - 1] as FieldEdit, into, to);
      else if (how === "replace" && first) to = put((edits[edit - 1] as FieldEdit).line, into, to);
    } else {
      to = copy(bytes, kept, fields.nameStart(index), into, to);
      if (id === field.host) to = putHost(head, into, to);
    }
    kept = index + 1 < fields.count ? fields.nameStart(index + 1) : head.end - 2;
  }
  return copy(bytes, kept, head.end - 2, into, to);
}

/** True when a listed field that nobody edits goes on as it came. */
function keeps(head: Http1Head, forwarding: Forwarding, id: number, index: number): boolean {
  if (id === field.contentLength) return keepsLength(head, forwarding, index);
  // RFC 9112 section 3.2.2: the authority of an absolute target takes the place of `Host`.
  if (id === field.host) return head.form !== targetForm.absolute;
  // RFC 9110 section 10.1.1: ignored in HTTP/1.0, whose clients know no interim answer.
  if (id === field.expect) return head.minor === 1;
  return singleHop[id] === 0;
}

/** A length that frames or describes stays, if it is written as everybody writes it: one space before it, none behind, no zeros in front. */
function keepsLength(head: Http1Head, forwarding: Forwarding, index: number): boolean {
  if (!statesLength(head, forwarding)) return false;
  const { bytes, fields } = head;
  const start = fields.valueStart(index);
  const end = fields.valueEnd(index);
  const plain = start - fields.nameEnd(index) === 2 && bytes[start - 1] === 0x20 && bytes[end] === 0x0d;
  return plain && (bytes[start] !== 0x30 || end - start === 1);
}

/** RFC 9110 section 8.6: none with 1xx and 204, nor with a body framed otherwise. */
function statesLength(head: Http1Head, forwarding: Forwarding): boolean {
  if (head.contentLength < 0) return false;
  if (forwarding.framing === framing.length) return true;
  return forwarding.framing === framing.none && head.status >= 200 && head.status !== 204;
}

function writeStartLine(head: Http1Head, into: Buffer, at: number): number {
  let to = at;
  if (head.status > 0) {
    to = put(statusVersion, into, to);
    to = putNumber(head.status, into, to);
    into[to++] = 0x20;
    to = copy(head.bytes, head.reasonStart, head.reasonEnd, into, to);
    return put(lineEnd, into, to);
  }
  to = copy(head.bytes, head.start, head.methodEnd, into, to);
  into[to++] = 0x20;
  if (head.form === targetForm.authority) {
    to = copy(head.bytes, head.authorityStart, head.authorityEnd, into, to);
  } else {
    to = copy(head.pathBytes, head.pathStart, head.pathEnd, into, to);
    to = copy(head.bytes, head.queryStart, head.queryEnd, into, to);
  }
  return put(versionLine, into, to);
}

/** Framing, connection and the empty line. */
function writeEnd(head: Http1Head, forwarding: Forwarding, into: Buffer, at: number): number {
  let to = at;
  const fields = head.fields;
  if (forwarding.framing === framing.chunked) to = put(chunkedLine, into, to);
  if (statesLength(head, forwarding) && !keepsLength(head, forwarding, fields.find(field.contentLength))) {
    to = put(lengthName, into, to);
    to = putNumber(head.contentLength, into, to);
    to = put(lineEnd, into, to);
  }
  const close = forwarding.close || forwarding.framing === framing.untilClose;
  let bits = close ? 1 : forwarding.keepAlive ? 2 : 0;
  if (forwarding.upgrade) {
    const index = fields.find(field.upgrade);
    if (index >= 0) {
      bits |= 4;
      to = copy(head.bytes, fields.nameStart(index), fields.valueEnd(index), into, to);
      to = put(lineEnd, into, to);
    }
  }
  if (head.status === 0 && fields.has(field.te) && wantsTrailers(head)) {
    bits |= 8;
    to = put(trailersLine, into, to);
  }
  if (bits !== 0) to = put(connectionLines[bits] as Buffer, into, to);
  into[to] = 0x0d;
  into[to + 1] = 0x0a;
  return to + 2;
}

/** One more than the index of the edit of an unlisted name; 0 when there is none. */
function unlistedEdit(head: Http1Head, edits: readonly FieldEdit[], index: number): number {
  for (let number = 0; number < edits.length; number++) {
    const edit = edits[number] as FieldEdit;
    if (edit.id !== 0) continue;
    if (sameName(head.bytes, head.fields.nameStart(index), head.fields.nameEnd(index), edit.name)) return number + 1;
  }
  return 0;
}

/** The next field of the same name: only the last of several has a value joined to it. */
function nextAlike(head: Http1Head, index: number): number {
  const id = head.fields.id(index);
  return id === 0
    ? head.fields.findName(head.fields.name(index).toLowerCase(), index + 1)
    : head.fields.find(id, index + 1);
}

function putAppended(head: Http1Head, index: number, edit: FieldEdit, into: Buffer, at: number): number {
  let to = at;
  if (head.fields.valueEnd(index) > head.fields.valueStart(index)) to = put(listComma, into, to);
  to = put(edit.value, into, to);
  return put(lineEnd, into, to);
}

function putHost(head: Http1Head, into: Buffer, at: number): number {
  let to = put(hostName, into, at);
  to = copy(head.bytes, head.authorityStart, head.authorityEnd, into, to);
  return put(lineEnd, into, to);
}

/** Below this a loop is quicker than a call out of JavaScript. */
const shortBytes = 48;

function copy(bytes: Buffer, start: number, end: number, into: Buffer, at: number): number {
  const length = end - start;
  if (length >= shortBytes) {
    bytes.copy(into, at, start, end);
    return at + length;
  }
  for (let index = 0; index < length; index++) into[at + index] = bytes[start + index] as number;
  return length > 0 ? at + length : at;
}

function put(text: Buffer, into: Buffer, at: number): number {
  return copy(text, 0, text.length, into, at);
}

/** Decimal digits, without making a text of the number. */
function putNumber(value: number, into: Buffer, at: number): number {
  let digits = 1;
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  let rest = value;
  for (let index = at + digits - 1; index >= at; index--) {
    const next = Math.floor(rest / 10);
    into[index] = 0x30 + rest - next * 10;
    rest = next;
  }
  return at + digits;
}
