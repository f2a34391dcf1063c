/**
 * Why this exists: the field names that this proxy has something to do with, as small numbers. A received name is recognised by its
 * length and a comparison without case, so that nothing is decoded.
 */
export const field = {
  connection: 1,
  contentLength: 2,
  transferEncoding: 3,
  host: 4,
  expect: 5,
  upgrade: 6,
  te: 7,
  trailer: 8,
  keepAlive: 9,
  proxyConnection: 10,
  xForwardedFor: 11,
  xForwardedProto: 12,
  xForwardedHost: 13,
  xForwardedPort: 14,
  forwarded: 15,
  location: 16,
  authorization: 17,
  proxyAuthorization: 18,
  proxyAuthenticate: 19,
  wwwAuthenticate: 20,
  cookie: 21,
  setCookie: 22,
  contentType: 23,
  contentEncoding: 24,
  contentRange: 25,
  cacheControl: 26,
  via: 27,
  date: 28,
  server: 29,
  maxForwards: 30,
  range: 31,
  traceparent: 32,
  tracestate: 33,
  baggage: 34,
  userAgent: 35,
  accept: 36,
  http2Settings: 37,
  age: 38,
  expires: 39,
  retryAfter: 40,
  vary: 41,
  warning: 42,
  pragma: 43,
  ifMatch: 44,
  ifNoneMatch: 45,
  ifModifiedSince: 46,
  ifUnmodifiedSince: 47,
  ifRange: 48,
  xRealIp: 49,
  xRequestId: 50,
  etag: 51,
  allow: 52,
} as const;
export type FieldId = (typeof field)[keyof typeof field];

const maxNameBytes = 31;

/** The names in lower case, by id; the first stands for every name that is not listed. */
const nameTexts: readonly string[] = ["", ...Object.keys(field).map(kebab)];

/** By length and first letter the first id, by id the next with both the same, and by id the name's bytes. */
const firstIds = new Uint8Array((maxNameBytes + 1) * 32);
const nextIds = new Uint8Array(nameTexts.length);
const letters = new Uint8Array(nameTexts.length * 32);

for (let id = 1; id < nameTexts.length; id++) {
  const text = nameTexts[id] as string;
  for (let at = 0; at < text.length; at++) letters[id * 32 + at] = text.charCodeAt(at);
  const slot = text.length * 32 + (text.charCodeAt(0) & 31);
  nextIds[id] = firstIds[slot] as number;
  firstIds[slot] = id;
}

/** The id of the name `bytes[start, end)`, in any case; 0 when it is not listed. */
export function fieldIdOf(bytes: Uint8Array, start: number, end: number): FieldId | 0 {
  const length = end - start;
  if (length > maxNameBytes || length === 0) return 0;
  let id = firstIds[length * 32 + ((bytes[start] as number) & 31)] as number;
  while (id !== 0) {
    const from = id * 32;
    let at = length - 1;
    // The bit makes capitals small and leaves `-` as it is; no other byte of a token becomes a letter or `-` by it.
    while (at >= 0 && ((bytes[start + at] as number) | 0x20) === letters[from + at]) at--;
    if (at < 0) return id as FieldId;
    id = nextIds[id] as number;
  }
  return 0;
}

/** The id of a name in lower case. */
export function fieldIdOfName(name: string): FieldId | 0 {
  const id = nameTexts.indexOf(name);
  return id > 0 ? (id as FieldId) : 0;
}

/** True when `bytes[start, end)` is `name` (given in lower case) in any case. */
export function sameName(bytes: Uint8Array, start: number, end: number, name: string): boolean {
  if (end - start !== name.length) return false;
  for (let at = name.length - 1; at >= 0; at--) {
    if (lower(bytes[start + at] as number) !== name.charCodeAt(at)) return false;
  }
  return true;
}

/** A byte of ASCII in lower case. */
export function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`);
}
