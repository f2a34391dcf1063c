/** Why this exists: which fields must not come as trailers (RFC 9110 section 6.5.1): those that are needed before the body is read. */
import type { Fields } from "./head.ts";
import { Http1Error } from "./limits.ts";
import { field } from "./names.ts";

/** Framing, routing, request modifiers, authentication, response control, and how the content is to be read. */
const refusedTrailers: ReadonlySet<number> = new Set<number>([
  field.connection,
  field.contentLength,
  field.transferEncoding,
  field.host,
  field.expect,
  field.upgrade,
  field.te,
  field.trailer,
  field.keepAlive,
  field.proxyConnection,
  field.http2Settings,
  field.xForwardedFor,
  field.xForwardedProto,
  field.xForwardedHost,
  field.xForwardedPort,
  field.forwarded,
  field.xRealIp,
  field.via,
  field.location,
  field.authorization,
  field.proxyAuthorization,
  field.proxyAuthenticate,
  field.wwwAuthenticate,
  field.cookie,
  field.setCookie,
  field.contentType,
  field.contentEncoding,
  field.contentRange,
  field.cacheControl,
  field.maxForwards,
  field.range,
  field.traceparent,
  field.tracestate,
  field.baggage,
  field.age,
  field.expires,
  field.date,
  field.retryAfter,
  field.vary,
  field.pragma,
  field.ifMatch,
  field.ifNoneMatch,
  field.ifModifiedSince,
  field.ifUnmodifiedSince,
  field.ifRange,
]);

/** Raises for a trailer that would change what the head said. Dropping it would be allowed; refusing shows the fault to whoever made it. */
export function checkTrailers(trailers: Fields): void {
  for (let index = 0; index < trailers.count; index++) {
    const id = trailers.id(index);
    if (id !== 0 && refusedTrailers.has(id)) {
      throw new Http1Error(400, trailers.nameStart(index), "a trailer that must be a header");
    }
  }
}
