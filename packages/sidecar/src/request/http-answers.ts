/**
 * What is answered over HTTP in an application's place, and how it is told from what the application says: by `Proxy-Status` (RFC 9209), which also
 * says to another sidecar that the application never saw the request.
 */
import type { Http1Head } from "@dualmesh/wire/http1/head";
import { type FieldEdit, fieldEdit } from "@dualmesh/wire/http1/writer";
import type { Rejection } from "./way.ts";

/** What a sidecar's `Proxy-Status` says when its application never saw the request: another one may be asked. */
const unreachedError = "connection_refused";

/** Status and RFC 9209 error of an answer in the application's place. */
export const answers: Readonly<Record<Rejection, readonly [status: number, error: string]>> = {
  "no-provider": [503, "destination_not_found"],
  unreadable: [400, "http_request_error"],
  timeout: [504, "http_response_timeout"],
  unreached: [503, unreachedError],
  unavailable: [502, "connection_terminated"],
  overload: [503, "connection_limit_reached"],
  denied: [403, "http_request_denied"],
  misdirected: [421, "destination_not_found"] /* RFC 9110 section 15.5.20 */,
};

/** How this proxy names itself in `Proxy-Status` (RFC 9209). */
export const proxyName = "dualmesh";

/**
 * True for the answer of another sidecar whose application never saw the request. A sidecar that passes on what an application says there adds itself
 * (`proxyStatusPassed`), so that its own answer is told from that: it is the only member, and ends with its details.
 */
export function saysUnreached({ status, fields }: Http1Head): boolean {
  if (status !== 503) return false;
  const at = fields.findName("proxy-status");
  if (at < 0 || fields.findName("proxy-status", at + 1) >= 0) return false;
  const value = fields.value(at);
  return value.startsWith(`${proxyName}; error=${unreachedError};`) && value.endsWith('"');
}

/** RFC 9209 section 2: who passes on such a field adds itself to it. */
export const proxyStatusPassed: FieldEdit = fieldEdit("proxy-status", "append", proxyName);

/** `Proxy-Status` (RFC 9209): who answered, and why. */
export function proxyStatus(error: string, details: string): string {
  const text = details.replace(/[^\x20-\x7e]/g, "?").replace(/["\\]/g, "\\$&");
  return `${proxyName}; error=${error}; details="${text.slice(0, 500)}"`;
}
