/**
 * Why this exists: one canonical form of path and host, which is what is routed, authorised and forwarded. Two parts of a system that
 * read one path differently are how access rules are walked around.
 *
 * A parameter of a segment (`/orders;v=1`) is data and stays; a rule that means a path must mean it with parameters too, since servlet
 * containers drop them before they look for a handler.
 */
import { hexDigits, pathBytes, unreservedBytes } from "./chars.ts";
import { Http1Error } from "./limits.ts";
import { lower } from "./names.ts";

const slash = 0x2f;
const dot = 0x2e;
const percent = 0x25;
const semicolon = 0x3b;
const colon = 0x3a;

/** A path's canonical text; raises `Http1Error` (400) for a path that cannot have one. For rules and configuration; heads have it already. */
export function canonicalPath(path: string): string {
  if (/[^\x21-\x7e]|[#?]/.test(path)) throw refused("a path with characters that no path has");
  const bytes = Buffer.from(path, "latin1");
  return isCanonicalPath(bytes, 0, bytes.length) ? path : makeCanonicalPath(bytes, 0, bytes.length).toString("latin1");
}

/** `host[:port]` in canonical form; raises `Http1Error` (400). */
export function canonicalHost(authority: string): { readonly host: string; readonly port: number } {
  if (/[^\x21-\x7e]/.test(authority)) throw refused("a host with characters that no host has");
  const bytes = Buffer.from(authority, "latin1");
  checkAuthority(bytes, 0, bytes.length);
  return canonicalHostAt(bytes, 0, bytes.length);
}

/** True when `bytes[start, end)` has nothing that could have to change. False says only that a closer look is needed. */
export function isCanonicalPath(bytes: Uint8Array, start: number, end: number): boolean {
  if (bytes[start] !== slash || start >= end) return false;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte === slash) {
      const next = at + 1 < end ? (bytes[at + 1] as number) : 0;
      if (next === slash || next === dot || next === semicolon) return false;
    } else if (pathBytes[byte] === 0) return false;
  }
  return true;
}

/**
 * The canonical form (RFC 3986 section 6.2.2): unreserved characters decoded and the rest of the percent-encoding in capitals, once and
 * never twice; dot segments removed; empty segments merged; what a URI may not have raw encoded. Refused is what servers are known to
 * read in two ways: an encoded slash or backslash, controls, dots with a parameter, a parameter without a segment, climbing above the root.
 */
export function makeCanonicalPath(bytes: Uint8Array, start: number, end: number): Buffer {
  if (start >= end || bytes[start] !== slash) throw refused("a path that does not begin with a slash");
  const out = Buffer.allocUnsafe((end - start) * 3);
  out[0] = slash;
  let size = 1;
  let at = start + 1;
  for (;;) {
    const segment = size;
    while (at < end && bytes[at] !== slash) {
      if (bytes[at] === percent) {
        size = putDecoded(bytes, at, end, out, size);
        at += 3;
      } else {
        size = putRaw(bytes[at] as number, out, size);
        at++;
      }
    }
    const last = at >= end;
    const dots = dotsOf(out, segment, size);
    if (dots === 2) {
      if (segment === 1) throw refused("a path that climbs above the root");
      size = out.lastIndexOf(slash, segment - 2) + 1;
    } else if (dots === 1) size = segment;
    else if (!last && size > segment) out[size++] = slash;
    if (last) break;
    at++;
  }
  return Buffer.from(out.subarray(0, size));
}

/** 1 and 2 for `.` and `..`; 0 for any other segment. Raises for a parameter that stands on dots or on nothing. */
function dotsOf(out: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && at - start < 2 && out[at] === dot) at++;
  if (at === end) return at - start;
  const parameter =
    out[at] === semicolon || (out[at] === percent && out[at + 1] === 0x33 && out[at + 2] === 0x42); /* %3B */
  if (parameter) throw refused("a path parameter on dots or on nothing");
  return 0;
}

function putDecoded(bytes: Uint8Array, at: number, end: number, out: Uint8Array, size: number): number {
  const high = at + 2 < end ? (hexDigits[bytes[at + 1] as number] as number) : 255;
  const low = at + 2 < end ? (hexDigits[bytes[at + 2] as number] as number) : 255;
  if (high === 255 || low === 255) throw refused("a percent sign without two hexadecimal digits");
  const byte = high * 16 + low;
  if (byte < 0x20 || byte === 0x7f) throw refused("an encoded control character in the path");
  if (byte === slash || byte === 0x5c) throw refused("an encoded slash or backslash in the path");
  if (unreservedBytes[byte] === 1) {
    out[size] = byte;
    return size + 1;
  }
  return putEncoded(byte, out, size);
}

function putRaw(byte: number, out: Uint8Array, size: number): number {
  if (pathBytes[byte] === 1) {
    out[size] = byte;
    return size + 1;
  }
  if (byte === 0x5c) throw refused("a backslash in the path");
  // Browsers send `|`, `{` and their like raw. Encoded they mean the same to every server, and only one form is left.
  return putEncoded(byte, out, size);
}

const hexLetters: Buffer = Buffer.from("0123456789ABCDEF");

function putEncoded(byte: number, out: Uint8Array, size: number): number {
  out[size] = percent;
  out[size + 1] = hexLetters[byte >> 4] as number;
  out[size + 2] = hexLetters[byte & 15] as number;
  return size + 3;
}

/** Raises unless `bytes[start, end)` is `host[:port]` as a `Host` field may have it (RFC 9110 section 7.2); empty is allowed there. */
export function checkAuthority(bytes: Uint8Array, start: number, end: number): void {
  if (start === end) return;
  let at = start;
  if (bytes[at] === 0x5b) {
    while (at < end && bytes[at] !== 0x5d) at++;
    if (at === end || !isIpv6(bytes, start + 1, at))
      throw refused("a host that is no IPv6 literal inside its brackets");
    at++;
  } else {
    while (at < end && unreservedBytes[bytes[at] as number] === 1) {
      if (bytes[at] === dot && (at === start || bytes[at - 1] === dot)) throw refused("a host with an empty label");
      at++;
    }
    if (at === start || at - start > 255) throw refused("a host without a name, or with one of more than 255 bytes");
  }
  if (at === end) return;
  if (bytes[at] === 0x40) throw refused("user information in the host");
  if (bytes[at] !== colon) throw refused("a host with characters that no host has");
  let port = 0;
  const digits = at + 1;
  for (at = digits; at < end; at++) {
    const digit = (bytes[at] as number) - 0x30;
    if (digit < 0 || digit > 9 || at - digits >= 5) throw refused("a host with a port that is no number");
    port = port * 10 + digit;
  }
  if (port < 1 || port > 65_535) throw refused("a host with a port outside 1 to 65535");
}

/** Host and port of an authority that `checkAuthority` let pass. */
export function canonicalHostAt(
  bytes: Uint8Array,
  start: number,
  end: number,
): { readonly host: string; readonly port: number } {
  let stop = end;
  while (stop > start && bytes[stop - 1] !== colon && bytes[stop - 1] !== 0x5d) stop--;
  const stated = stop > start && bytes[stop - 1] === colon;
  let host = "";
  const hostEnd = stated ? stop - 1 : end;
  for (let at = start; at < hostEnd; at++) host += String.fromCharCode(lower(bytes[at] as number));
  if (host.endsWith(".")) host = host.slice(0, -1);
  let port = 0;
  if (stated) for (let at = stop; at < end; at++) port = port * 10 + (bytes[at] as number) - 0x30;
  return { host, port };
}

/** RFC 3986 section 3.2.2; zones are refused, since they mean something on one host only. */
function isIpv6(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > 45) return false;
  let text = "";
  for (let at = start; at < end; at++) text += String.fromCharCode(bytes[at] as number);
  if (!/^[0-9A-Fa-f:.]+$/.test(text)) return false;
  const halves = text.split("::");
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [half, part] of halves.entries()) {
    if (part === "") {
      if (halves.length === 1) return false;
      continue;
    }
    const pieces = part.split(":");
    for (const [index, piece] of pieces.entries()) {
      const last = half === halves.length - 1 && index === pieces.length - 1;
      if (/^[0-9A-Fa-f]{1,4}$/.test(piece)) groups += 1;
      else if (last && isIpv4(piece)) groups += 2;
      else return false;
    }
  }
  return halves.length === 2 ? groups < 8 : groups === 8;
}

function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

function refused(reason: string): Http1Error {
  return new Http1Error(400, 0, reason);
}
