/** How the HTTP door writes services and instances in JSON, and reads what applications post. */
import { isIP } from "node:net";
import type { Instance } from "@dualmesh/model/instance";
import { maxServiceTextLength, parseServiceText, type ServiceName, serviceText } from "@dualmesh/model/service";
import { invalid, type Problem } from "./problem.ts";

export const dialect = "http";

export const instanceLimits = {
  /** Of the canonical text of what was posted: it travels with the instance, beside its labels. */
  textBytes: 12 * 1024,
  hostBytes: 255,
  applicationBytes: 255,
  zoneBytes: 128,
  labels: 64,
  labelNameBytes: 128,
  labelValueBytes: 1_024,
  weight: 10_000,
  shortestTtlMs: 1_000,
  longestTtlMs: 86_400_000,
  warmupMs: 86_400_000,
} as const;

export interface PostedInstance {
  /** Canonical. */
  readonly service: string;
  /** Undefined when it was left to the door. */
  readonly host: string | undefined;
  readonly port: number;
  readonly application: string;
  readonly weight: number;
  readonly warmupMs: number;
  readonly zone: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ttlMs: number | undefined;
  /** What was posted, in canonical JSON. */
  readonly text: string;
}

const keys = new Set([
  "service",
  "version",
  "group",
  "host",
  "port",
  "application",
  "weight",
  "warmupMs",
  "zone",
  "labels",
  "ttlMs",
]);
const serviceKeys = new Set(["protocol", "name", "version", "group"]);

/** Throws a `Problem` that names the key. */
export function readInstance(body: Buffer): PostedInstance {
  const posted = objectOf(parsed(body), "the body");
  for (const key of Object.keys(posted)) if (!keys.has(key)) throw unknownKey(key, keys);
  const service = readService(posted);
  const port = wholeNumber(posted, "port", 1, 65_535);
  if (port === undefined) throw invalid("port", "port is missing: the port at which the application itself listens");
  const host = textOf(posted, "host", instanceLimits.hostBytes);
  const read = {
    service,
    host: host === undefined ? undefined : readHost(host),
    port,
    application: textOf(posted, "application", instanceLimits.applicationBytes) ?? defaultApplication(service),
    weight: wholeNumber(posted, "weight", 0, instanceLimits.weight) ?? 100,
    warmupMs: wholeNumber(posted, "warmupMs", 0, instanceLimits.warmupMs) ?? 0,
    zone: textOf(posted, "zone", instanceLimits.zoneBytes) ?? "",
    labels: readLabels(posted["labels"]),
    ttlMs: wholeNumber(posted, "ttlMs", instanceLimits.shortestTtlMs, instanceLimits.longestTtlMs),
  };
  // Only now, since what is not in these shapes may be nested without end.
  const text = canonicalJson(posted);
  if (Buffer.byteLength(text) > instanceLimits.textBytes) {
    throw invalid("labels", `an instance has at most ${instanceLimits.textBytes} bytes as JSON: shorten its labels`);
  }
  return { ...read, text };
}

/**
 * The canonical text of a service as a person writes it: `orders` and `http/orders` are short for `http/orders::`. The names of HTTP
 * services are in lower case, as Spring's are, whoever writes them. Undefined when it is none.
 */
export function serviceFromText(text: string): string | undefined {
  const [protocol, name, ...more] = text.split("/");
  if (protocol === undefined || protocol === "" || more.length > 0) return undefined;
  const long = name === undefined ? `http/${text}` : text;
  const parts = parseServiceText(long.includes(":") ? long : `${long}::`);
  return parts === undefined ? undefined : canonicalService(parts);
}

/**
 * The service that a path names: as one segment with everything percent-encoded, as `PROTOCOL/NAME:VERSION:GROUP` as it stands, or short.
 * The canonical text has percent-encoding of its own, so one that shows its colons is read as it stands.
 */
export function serviceFromPath(path: string): string | undefined {
  const asItStands = path.includes("/") && path.includes(":") ? serviceFromText(path) : undefined;
  if (asItStands !== undefined) return asItStands;
  try {
    return serviceFromText(decodeURIComponent(path));
  } catch {
    return undefined; // a malformed percent sequence
  }
}

/** What a client is told of an instance. */
export interface ShownInstance {
  readonly host: string;
  readonly application: string;
  readonly appPort: number;
  readonly address: string;
  readonly port: number;
  /** Ready to call. */
  readonly url: string;
  readonly weight: number;
  readonly warmupMs: number;
  readonly startedAt: number;
  readonly zone: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly mode: string;
  /** What was posted at a door like this one, but for host and port. */
  readonly registration?: Readonly<Record<string, unknown>>;
}

export function shownInstance(instance: Instance): ShownInstance {
  const { service, host, application, appPort, address, port, weight, warmupMs, startedAt, zone, labels, mode } =
    instance;
  const registration = registrationOf(instance);
  return {
    host,
    application,
    appPort,
    address,
    port,
    url: urlOf(service, address, port),
    weight,
    warmupMs,
    startedAt,
    zone,
    labels,
    mode,
    ...(registration === undefined ? {} : { registration }),
  };
}

/** The address at which this host reaches a service whose requests do not name it, as an instance. */
export function shownStandIn(service: string, address: string, port: number): ShownInstance {
  return {
    host: address,
    application: "dualmesh",
    appPort: port,
    address,
    port,
    url: urlOf(service, address, port),
    weight: 100,
    warmupMs: 0,
    startedAt: 0,
    zone: "",
    labels: {},
    mode: "mesh",
  };
}

export function urlOf(service: string, address: string, port: number): string {
  const protocol = service.slice(0, service.indexOf("/"));
  return `${protocol}://${isIP(address) === 6 ? `[${address}]` : address}:${port}`;
}

function registrationOf({ registration, address, port }: Instance): Record<string, unknown> | undefined {
  if (registration.dialect !== dialect) return undefined;
  try {
    const posted: unknown = JSON.parse(registration.text);
    return isObject(posted) ? { ...posted, host: address, port } : undefined;
  } catch {
    return undefined; // somebody else's text under our name: the instance itself says what matters
  }
}

function readService(posted: Readonly<Record<string, unknown>>): string {
  const { service } = posted;
  const version = textOf(posted, "version", maxServiceTextLength);
  const group = textOf(posted, "group", maxServiceTextLength);
  if (service === undefined) throw invalid("service", `service is missing: ${howServicesAreWritten}`);
  if (typeof service === "string") {
    const text = serviceFromText(service);
    const parts = text === undefined ? undefined : parseServiceText(text);
    if (parts === undefined) throw invalid("service", `service ${quoted(service)} is none: ${howServicesAreWritten}`);
    if (version === undefined && group === undefined) return canonicalOrThrow(parts);
    if (service.includes(":")) {
      throw invalid("version", "version and group stand in the service already: leave them out here, or there");
    }
    return canonicalOrThrow({ ...parts, version: version ?? "", group: group ?? "" });
  }
  const parts = objectOf(service, "service");
  for (const key of Object.keys(parts)) if (!serviceKeys.has(key)) throw unknownKey(`service.${key}`, serviceKeys);
  if (version !== undefined || group !== undefined) throw invalid("version", "version and group belong into service");
  const name = textOf(parts, "name", maxServiceTextLength);
  if (name === undefined) throw invalid("service.name", `service.name is missing: ${howServicesAreWritten}`);
  return canonicalOrThrow({
    protocol: (textOf(parts, "protocol", 64) ?? "http").toLowerCase(),
    name,
    version: textOf(parts, "version", maxServiceTextLength) ?? "",
    group: textOf(parts, "group", maxServiceTextLength) ?? "",
  });
}

export const howServicesAreWritten =
  "a service is a name such as orders (then HTTP), PROTOCOL/NAME:VERSION:GROUP with both ends allowed to be empty, or in a body also {protocol, name, version, group}";

function canonicalOrThrow(parts: ServiceName): string {
  const text = canonicalService(parts);
  if (text === undefined) throw invalid("service", `the service is too long or empty: ${howServicesAreWritten}`);
  return text;
}

function canonicalService(parts: ServiceName): string | undefined {
  const text = serviceText(parts.protocol === "http" ? { ...parts, name: parts.name.toLowerCase() } : parts);
  return Buffer.byteLength(text) > maxServiceTextLength || parseServiceText(text) === undefined ? undefined : text;
}

function defaultApplication(service: string): string {
  const name = parseServiceText(service)?.name ?? service;
  return Buffer.byteLength(name) <= instanceLimits.applicationBytes ? name : name.slice(0, 60);
}

function readHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") {
    throw invalid("host", `nobody can call ${host}: give the address that others reach, or leave host out`);
  }
  if (isIP(host) !== 0 || /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$/.test(host)) return host;
  throw invalid("host", `host ${quoted(host)} is neither an IP address nor the name of a host`);
}

function readLabels(value: unknown): Readonly<Record<string, string>> {
  const labels: Record<string, string> = Object.create(null);
  if (value === undefined) return labels;
  const posted = objectOf(value, "labels");
  const names = Object.keys(posted);
  if (names.length > instanceLimits.labels) {
    throw invalid("labels", `an instance has at most ${instanceLimits.labels} labels, and this one ${names.length}`);
  }
  for (const name of names) {
    if (name === "" || Buffer.byteLength(name) > instanceLimits.labelNameBytes || hasControl(name)) {
      throw invalid(
        "labels",
        `the label ${quoted(name)} has no usable name: 1 to ${instanceLimits.labelNameBytes} bytes`,
      );
    }
    labels[name] = textOf(posted, name, instanceLimits.labelValueBytes, "labels.") as string;
  }
  return labels;
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw invalid("", "the body is not JSON in UTF-8");
  }
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (isObject(value)) return value;
  throw invalid(what === "the body" ? "" : what, `${what} is not an object`);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOf(
  object: Readonly<Record<string, unknown>>,
  key: string,
  maxBytes: number,
  prefix = "",
): string | undefined {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  if (value === undefined) return undefined;
  const name = `${prefix}${key}`;
  if (typeof value !== "string") throw invalid(name, `${name} is not a text`);
  if (Buffer.byteLength(value) > maxBytes) throw invalid(name, `${name} is longer than ${maxBytes} bytes`);
  if (hasControl(value) || !value.isWellFormed())
    throw invalid(name, `${name} holds control characters or half a character`);
  if (value === "" && prefix === "" && key !== "zone" && key !== "version" && key !== "group") {
    throw invalid(name, `${name} is empty: say it or leave it out`);
  }
  return value;
}

function wholeNumber(
  object: Readonly<Record<string, unknown>>,
  key: string,
  least: number,
  most: number,
): number | undefined {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
    throw invalid(key, `${key} is not a whole number from ${least} to ${most}`);
  }
  return value;
}

function unknownKey(key: string, known: ReadonlySet<string>): Problem {
  return invalid(key, `there is no ${quoted(key)}: the keys are ${[...known].join(", ")}`);
}

function hasControl(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
  return /[\u0000-\u001f\u007f]/.test(text);
}

/** Foreign text in a message: quoted, and of a length that can be read. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

/** Keys in order and no white space, so that equal values have equal texts. What is written has been parsed, so it is a tree. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`).join(",")}}`;
}
