/**
 * Why this exists: which fields end at this hop (RFC 9110 section 7.6.1), and which never do, whatever `Connection` says. A sender that nominates
 * `host` or `authorization` there would have the proxy take away what the next one relies on; the same section forbids it. Every field that
 * `names.ts` lists is protected like that, and only unlisted ones can be nominated.
 */
import type { Http1Head } from "./head.ts";
import { TokenWalk } from "./lists.ts";
import { field, fieldIdOf, lower } from "./names.ts";

const walk = new TokenWalk();

/** The nominated names of the head that is being written, as ranges; `framing.ts` has bounded their number. */
const nominated = new Int32Array(64);
let count = 0;

/** Fields that the writer never copies: they are for one hop, or it writes them itself. */
export const singleHop: Uint8Array = new Uint8Array(64);
for (const id of [
  field.connection,
  field.transferEncoding,
  field.te,
  field.upgrade,
  field.keepAlive,
  field.proxyConnection,
  field.http2Settings,
]) {
  singleHop[id] = 1;
}

/** Takes note of what `Connection` names in this head. */
export function noteNominated(head: Http1Head): void {
  count = 0;
  if (!head.nominates) return;
  const fields = head.fields;
  for (let index = fields.find(field.connection); index >= 0; index = fields.find(field.connection, index + 1)) {
    walk.over(head.bytes, fields.valueStart(index), fields.valueEnd(index));
    while (count < 32 && walk.next()) {
      if (fieldIdOf(head.bytes, walk.start, walk.end) !== 0) continue;
      nominated[count * 2] = walk.start;
      nominated[count * 2 + 1] = walk.end;
      count++;
    }
    walk.done();
  }
}

/** True when the unlisted name `bytes[start, end)` is nominated in the head last noted. */
export function isNominated(bytes: Uint8Array, start: number, end: number): boolean {
  for (let index = 0; index < count; index++) {
    const from = nominated[index * 2] as number;
    if ((nominated[index * 2 + 1] as number) - from !== end - start) continue;
    let at = end - start - 1;
    while (at >= 0 && lower(bytes[from + at] as number) === lower(bytes[start + at] as number)) at--;
    if (at < 0) return true;
  }
  return false;
}

/** RFC 9110 section 10.1.4: of `TE` only `trailers` may pass here, since this hop speaks no other coding. */
export function wantsTrailers(head: Http1Head): boolean {
  const fields = head.fields;
  for (let index = fields.find(field.te); index >= 0; index = fields.find(field.te, index + 1)) {
    walk.over(head.bytes, fields.valueStart(index), fields.valueEnd(index));
    // A weighted coding (`gzip;q=0.5`) ends the walk, which costs a peer no more than its trailers.
    while (walk.next()) {
      if (walk.end - walk.start === 8 && lower(head.bytes[walk.start] as number) === 0x74 && isTrailers(head.bytes))
        return true;
    }
  }
  return false;
}

const trailersText: Buffer = Buffer.from("trailers");

function isTrailers(bytes: Uint8Array): boolean {
  for (let at = 0; at < 8; at++) if (lower(bytes[walk.start + at] as number) !== trailersText[at]) return false;
  return true;
}
