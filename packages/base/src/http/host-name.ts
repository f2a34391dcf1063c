/** Who a port is asked for: a web page whose name was pointed at this machine (DNS rebinding) asks for it by that name. */
import { isIP } from "node:net";

/** Whether a `Host` header names an address, which cannot be pointed elsewhere, or one of `names`. */
export function isExpectedHost(header: string | undefined, names: readonly string[]): boolean {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:@/\s]+))(?::\d{1,5})?$/.exec(header ?? "");
  if (match === null) return false;
  const name = (match[1] ?? match[2] ?? "").toLowerCase();
  return isIP(name) !== 0 || names.some((known) => known.toLowerCase() === name);
}

/** An IPv4 or IPv6 address, without brackets. */
export function isIpAddress(text: string): boolean {
  return isIP(text) !== 0;
}

/** A host as it stands before a port: an IPv6 address in brackets. */
export function bracketed(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}
