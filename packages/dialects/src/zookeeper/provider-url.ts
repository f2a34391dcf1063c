/**
 * The URLs that Dubbo and SOFA-RPC write as names of nodes. A registration is kept so that the very same name can be written again
 * with another address: as the plain URL where encoding it gives the name back, else as the name itself, still encoded.
 */

/** A node's name may not be longer than this, in characters. */
export const maxNodeNameLength = 16_384;

export interface ProviderUrl {
  readonly scheme: string;
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  /** 0 when the URL has none. */
  readonly port: number;
  readonly parameters: ReadonlyMap<string, string>;
}

/** The URL behind a node's name, or undefined when the name is not an encoded text. */
export function decodeName(name: string): string | undefined {
  if (name.length > maxNodeNameLength) return undefined;
  try {
    return decodeURIComponent(name.replaceAll("+", "%20"));
  } catch {
    return undefined;
  }
}

/** As Java's URLEncoder does it, which both frameworks use. */
export function encodeName(url: string): string {
  return encodeURIComponent(url).replace(/[!'()~]|%20/g, (text) =>
    text === "%20" ? "+" : `%${text.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** What to keep of a node's name as an instance's registration. */
export function registrationText(name: string): string {
  const url = decodeName(name);
  return url?.includes("://") && encodeName(url) === name ? url : name;
}

/** The plain URL of a registration that `registrationText` gave. */
export function registrationUrl(text: string): string | undefined {
  return text.includes("://") ? text : decodeName(text);
}

/** The name of a node that says the same as the registration, but for host and port. */
export function nameWithAddress(text: string, host: string, port: number): string | undefined {
  const plain = text.includes("://");
  const pattern = plain
    ? /^([^:/?]+:\/\/(?:[^@/?]*@)?)([^/?]*)/
    : /^([^%]+%3A%2F%2F(?:(?:(?!%2F|%3F).)*%40)?)((?:(?!%2F|%3F).)*)/i;
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const before = match[1] as string;
  const authority = `${bracketed(host)}:${port}`;
  const after = text.slice(match[0].length);
  return plain ? encodeName(before + authority + after) : before + encodeName(authority) + after;
}

export function parseProviderUrl(url: string): ProviderUrl | undefined {
  const match =
    /^([a-zA-Z][a-zA-Z0-9+.-]*):\/\/(?:[^@/?]*@)?(\[[0-9a-fA-F:.%]+\]|[^:/?[\]]*)(?::(\d{1,5}))?(?:\/[^?]*)?(?:\?(.*))?$/s.exec(
      url,
    );
  if (match === null) return undefined;
  const port = match[3] === undefined ? 0 : Number(match[3]);
  if (port > 65_535) return undefined;
  const parameters = new Map<string, string>();
  for (const pair of (match[4] ?? "").split("&")) {
    const equals = pair.indexOf("=");
    if (equals > 0) parameters.set(pair.slice(0, equals), pair.slice(equals + 1));
  }
  return {
    scheme: (match[1] as string).toLowerCase(),
    host: (match[2] as string).replace(/^\[|\]$/g, ""),
    port,
    parameters,
  };
}

/** A whole number among the parameters, kept between the bounds; `otherwise` when it is absent or not a number. */
export function numberOf(url: ProviderUrl, name: string, otherwise: number, least: number, most: number): number {
  const text = url.parameters.get(name);
  if (text === undefined || !/^-?\d{1,15}$/.test(text)) return otherwise;
  return Math.min(most, Math.max(least, Number(text)));
}

/** A value for a URL that is built here: it must not end its parameter, and frameworks do not decode what stands in one. */
export function parameterText(value: string): string {
  return value.replace(/[&?#\s]/g, "_");
}

export function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** An IPv4 address of 127/8 as one decimal number, which Dubbo dials although it refuses to dial 127.x.y.z; others as they are. */
export function dialledLoopback(address: string): string {
  const match = /^127\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address);
  if (match === null) return address;
  const [second, third, fourth] = match.slice(1).map(Number) as [number, number, number];
  return String(127 * 2 ** 24 + second * 2 ** 16 + third * 2 ** 8 + fourth);
}

const maxTimeoutMs = 24 * 3_600_000;

/**
 * How long a URL lets a call take, in milliseconds; 0 when it says nothing. Of several statements (one for a method is
 * `METHOD.timeout`) the longest: a deadline of ours must never come before the caller's own.
 */
export function longestTimeout(parameters: ReadonlyMap<string, string>): number {
  let longest = 0;
  for (const [name, value] of parameters) {
    if (name !== "timeout" && !name.endsWith(".timeout")) continue;
    if (/^\d{1,9}$/.test(value)) longest = Math.max(longest, Math.min(Number(value), maxTimeoutMs));
  }
  return longest;
}
