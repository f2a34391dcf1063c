/** Eureka's names and texts: what a registration means for the mesh, and how an instance of the mesh is shown to Eureka's clients. */
import { isIP } from "node:net";
import type { Instance } from "@dualmesh/model/instance";
import { maxServiceTextLength, parseServiceText, serviceText } from "@dualmesh/model/service";
import {
  canonicalJson,
  isMembers,
  type Members,
  memberObject,
  memberText,
  withMembers,
  xmlMembers,
} from "./document.ts";
import { quoted, Refusal } from "./refusal.ts";

export const dialect = "eureka";

export const registrationLimits = {
  /** Of a request's body. */
  bodyBytes: 64 * 1024,
  /** Of the canonical JSON: it travels with the instance, beside its labels. */
  textBytes: 12 * 1024,
  vips: 16,
  labels: 64,
  labelNameBytes: 128,
  labelValueBytes: 1_024,
  zoneBytes: 128,
  shortestLeaseMs: 5_000,
  longestLeaseMs: 3_600_000,
} as const;

const defaultLeaseMs = 90_000;
const statuses = new Set(["UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "UNKNOWN"]);

export interface EurekaRegistration {
  /** In upper case. */
  readonly app: string;
  readonly id: string;
  readonly status: string;
  readonly leaseMs: number;
  /** `lastDirtyTimestamp`; 0 when the client did not say one. */
  readonly dirty: number;
  /** Canonical. */
  readonly services: readonly string[];
  readonly host: string;
  readonly port: number;
  readonly metadata: Members;
  /** When the application started, as far as the registration says; 0 when it does not. */
  readonly startedAt: number;
  /** The instance in canonical JSON. */
  readonly text: string;
}

/** Throws a `Refusal` that names the member. `pathApp` is the application of the path. */
export function readRegistration(posted: Members, pathApp: string): EurekaRegistration {
  const app = memberText(posted, "app").toUpperCase();
  if (app === "") throw new Refusal(400, "app is missing: the name of the application");
  if (app !== pathApp.toUpperCase())
    throw new Refusal(
      400,
      `the path is for ${quoted(pathApp)} and the instance's app is ${quoted(app)}: make them equal`,
    );
  const hostName = memberText(posted, "hostName");
  const ipAddr = memberText(posted, "ipAddr");
  const host = isIP(ipAddr) === 0 ? hostName : ipAddr;
  if (host === "")
    throw new Refusal(400, "ipAddr and hostName are missing: the address at which others reach the instance");
  if (host === "0.0.0.0" || host === "::")
    throw new Refusal(400, `nobody can call ${host}: set eureka.instance.ip-address to the address that others reach`);
  const id = memberText(posted, "instanceId") || hostName || host;
  const status = statusOf(memberText(posted, "status") || "UP");
  const lease = memberObject(posted, "leaseInfo");
  const seconds = wholeNumber(lease["durationInSecs"]);
  const { shortestLeaseMs, longestLeaseMs, textBytes } = registrationLimits;
  const leaseMs = seconds === 0 ? defaultLeaseMs : Math.min(Math.max(seconds * 1_000, shortestLeaseMs), longestLeaseMs);
  const metadata = memberObject(posted, "metadata");
  const kept = withMembers(posted);
  delete kept["actionType"]; // the server's
  const text = canonicalJson(kept);
  if (Buffer.byteLength(text) > textBytes)
    throw new Refusal(413, `an instance has at most ${textBytes} bytes as JSON: shorten its metadata`);
  const startedAt =
    wholeNumber(metadata["startedAt"]) ||
    wholeNumber(lease["registrationTimestamp"]) ||
    wholeNumber(lease["serviceUpTimestamp"]);
  const dirty = wholeNumber(posted["lastDirtyTimestamp"]);
  return { app, id, status, leaseMs, dirty, ...placeOf(posted, app), host, metadata, startedAt, text };
}

export function statusOf(text: string): string {
  const status = text.toUpperCase();
  if (statuses.has(status)) return status;
  throw new Refusal(400, `status ${quoted(text)} is none of ${[...statuses].join(", ")}`);
}

/** The services and the port: by HTTP, or by HTTPS where that alone is enabled. */
function placeOf(posted: Members, app: string): Pick<EurekaRegistration, "services" | "port"> {
  const plain = portOf(posted, "port", true);
  const secure = portOf(posted, "securePort", false);
  const isSecure = !plain.enabled && secure.enabled;
  const { port } = isSecure ? secure : plain;
  if (port < 1 || port > 65_535)
    throw new Refusal(
      400,
      `${isSecure ? "securePort" : "port"} is missing or none: the port at which the application listens`,
    );
  const secureVips = isSecure ? memberText(posted, "secureVipAddress", 2_048) : "";
  const vips = (secureVips || memberText(posted, "vipAddress", 2_048) || app)
    .split(",")
    .map((vip) => vip.trim().toLowerCase())
    .filter((vip) => vip !== "");
  if (vips.length === 0) vips.push(app.toLowerCase());
  if (vips.length > registrationLimits.vips)
    throw new Refusal(
      400,
      `vipAddress names ${vips.length} services, and at most ${registrationLimits.vips} are taken`,
    );
  const protocol = isSecure ? "https" : "http";
  const services = [...new Set(vips.map((name) => serviceText({ protocol, name, version: "", group: "" })))];
  const long = services.find((service) => Buffer.byteLength(service) > maxServiceTextLength);
  if (long !== undefined) throw new Refusal(400, `vipAddress ${quoted(long)} is too long`);
  return { services, port };
}

function portOf(posted: Members, key: string, usually: boolean): { readonly port: number; readonly enabled: boolean } {
  const value = Object.hasOwn(posted, key) ? posted[key] : undefined;
  if (value === undefined || value === null) return { port: 0, enabled: false };
  if (!isMembers(value)) return { port: wholeNumber(value), enabled: usually };
  const enabled = String(value["@enabled"] ?? usually).toLowerCase();
  return { port: wholeNumber(value["$"]), enabled: enabled === "true" || (enabled === "" && usually) };
}

/** 0 for what is no whole number from 0 on. */
function wholeNumber(value: unknown): number {
  const number = typeof value === "string" && /^\d{1,16}$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isSafeInteger(number) && number >= 0 ? number : 0;
}

export interface RegistrationTimes {
  readonly incarnation: number;
  /** When it registered, for one that does not say when it started. */
  readonly registeredAt: number;
}

/** One for each service. */
export function instancesOf(registration: EurekaRegistration, times: RegistrationTimes): readonly Instance[] {
  const { app, services, host, port, metadata, startedAt, text } = registration;
  const weight =
    typeof metadata["weight"] === "string" && /^\d{1,5}$/.test(metadata["weight"]) ? Number(metadata["weight"]) : 100;
  const zone = typeof metadata["zone"] === "string" ? metadata["zone"] : "";
  return services.map((service) => ({
    service,
    host,
    application: app.toLowerCase(),
    appPort: port,
    address: host,
    port,
    weight: weight <= 10_000 ? weight : 100,
    warmupMs: 0,
    startedAt: startedAt || times.registeredAt,
    zone: Buffer.byteLength(zone) <= registrationLimits.zoneBytes ? zone : "",
    labels: labelsOf(metadata),
    mode: "sdk",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation: times.incarnation,
    registration: { dialect, text },
  }));
}

/** What of the metadata can be a label; all of it stays in the registration. */
function labelsOf(metadata: Members): Readonly<Record<string, string>> {
  const labels: Record<string, string> = Object.create(null);
  const { labels: most, labelNameBytes, labelValueBytes } = registrationLimits;
  let count = 0;
  for (const name of Object.keys(metadata).sort()) {
    const value = metadata[name];
    if (typeof value !== "string" || name === "weight" || name === "zone" || name.startsWith("@")) continue;
    if (name === "" || Buffer.byteLength(name) > labelNameBytes || Buffer.byteLength(value) > labelValueBytes) continue;
    if (!name.isWellFormed() || !value.isWellFormed()) continue;
    labels[name] = value;
    if (++count === most) break;
  }
  return labels;
}

/** An instance as clients are told of it. */
export interface Shown {
  readonly app: string;
  readonly id: string;
  /** In lower case, by http and by https. */
  readonly vips: readonly string[];
  readonly secureVips: readonly string[];
  /** The instance object, in JSON. */
  readonly json: string;
  /** The members of the instance element. */
  readonly xml: string;
}

/** Instances are values, and sets that arrive whole hold most of those that they held before. */
const shownOf = new WeakMap<Instance, Shown>();

/** At its published address. What was registered at a door like this one is given back but for host and port. */
export function shownInstance(instance: Instance): Shown {
  let shown = shownOf.get(instance);
  if (shown === undefined) {
    shown = shownMembers(registered(instance) ?? built(instance));
    shownOf.set(instance, shown);
  }
  return shown;
}

export interface StandInPlace {
  readonly service: string;
  readonly application: string;
  /** The vip as it was registered, where that is known. */
  readonly vip: string;
  readonly address: string;
  readonly port: number;
}

/** A service, wherever its instances are, at the address at which this host reaches it. */
export function shownStandIn({ service, application, vip, address, port }: StandInPlace): Shown {
  const name = parseServiceText(service)?.name ?? service;
  const parts = { id: `dualmesh:${name}`, app: application, vip, address, port, secure: false, startedAt: 0, dirty: 0 };
  return shownMembers(builtMembers({ ...parts, metadata: {} }));
}

export function shownMembers(members: Members): Shown {
  const vips = (key: string): readonly string[] =>
    memberText(members, key, 4_096)
      .split(",")
      .map((vip) => vip.trim().toLowerCase());
  const isSecure = portOf(members, "securePort", false).enabled;
  const isPlain = portOf(members, "port", true).enabled;
  const app = memberText(members, "app").toUpperCase();
  return {
    app,
    id: memberText(members, "instanceId") || memberText(members, "hostName"),
    vips: isPlain ? vips("vipAddress") : [],
    secureVips: isSecure ? vips("secureVipAddress") : [],
    json: JSON.stringify(members),
    xml: xmlMembers(members),
  };
}

function registered({ registration, service, address, port, appPort }: Instance): Members | undefined {
  if (registration.dialect !== dialect) return undefined;
  try {
    const posted: unknown = JSON.parse(registration.text);
    return isMembers(posted) ? moved(posted, { service, address, port, appPort }) : undefined;
  } catch {
    return undefined; // somebody else's text under our name: the instance itself says what matters
  }
}

type Place = Pick<Instance, "service" | "address" | "port" | "appPort">;

const urls = ["homePageUrl", "statusPageUrl", "healthCheckUrl"] as const;

function moved(posted: Members, place: Place): Members {
  const { service, address, port } = place;
  const changed = withMembers(posted, { hostName: asHostName(address), ipAddr: address, status: "UP" });
  changed[service.startsWith("https/") ? "securePort" : "port"] = { $: port, "@enabled": "true" };
  const hosts = [posted["hostName"], posted["ipAddr"]].filter((host) => typeof host === "string");
  for (const key of urls) {
    const url = posted[key];
    if (typeof url === "string") changed[key] = movedUrl(url, hosts, place);
  }
  return changed;
}

/** A port of its own, as for management, stays: it is no part of the service. */
function movedUrl(url: string, hosts: readonly string[], { address, port, appPort }: Place): string {
  const match = /^(https?:\/\/)(\[[^\]/]*\]|[^:/?#]*)(?::(\d+))?(.*)$/s.exec(url);
  if (match === null) return url;
  const [, scheme = "", host = "", given, rest = ""] = match;
  if (!hosts.includes(host) && !hosts.includes(host.replace(/^\[(.*)\]$/, "$1"))) return url;
  const isApp = Number(given ?? (scheme === "https://" ? 443 : 80)) === appPort;
  const suffix = isApp ? `:${port}` : given === undefined ? "" : `:${given}`;
  return `${scheme}${asHostName(address)}${suffix}${rest}`;
}

function built(instance: Instance): Members {
  const { service, host, application, appPort, address, port, zone, weight, labels } = instance;
  const parts = parseServiceText(service);
  const vip = parts?.name ?? service;
  const metadata = withMembers(labels);
  if (weight !== 100) metadata["weight"] = String(weight);
  if (zone !== "") metadata["zone"] = zone;
  return builtMembers({
    id: [host, application, ...(vip === application.toLowerCase() ? [] : [vip]), appPort].join(":"),
    app: application,
    vip,
    address,
    port,
    secure: parts?.protocol === "https",
    startedAt: instance.startedAt,
    dirty: instance.incarnation,
    metadata,
  });
}

interface BuiltParts {
  readonly id: string;
  readonly app: string;
  readonly vip: string;
  readonly address: string;
  readonly port: number;
  readonly secure: boolean;
  readonly startedAt: number;
  readonly dirty: number;
  readonly metadata: Members;
}

function builtMembers({ id, app, vip, address, port, secure, startedAt, dirty, metadata }: BuiltParts): Members {
  return {
    instanceId: id,
    hostName: asHostName(address),
    app: app.toUpperCase(),
    ipAddr: address,
    status: "UP",
    overriddenStatus: "UNKNOWN",
    port: { $: secure ? 80 : port, "@enabled": String(!secure) },
    securePort: { $: secure ? port : 443, "@enabled": String(secure) },
    countryId: 1,
    dataCenterInfo: { "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", name: "MyOwn" },
    leaseInfo: {
      renewalIntervalInSecs: 30,
      durationInSecs: 90,
      registrationTimestamp: startedAt,
      lastRenewalTimestamp: startedAt,
      evictionTimestamp: 0,
      serviceUpTimestamp: startedAt,
    },
    metadata,
    vipAddress: vip,
    secureVipAddress: vip,
    isCoordinatingDiscoveryServer: "false",
    lastUpdatedTimestamp: String(startedAt),
    lastDirtyTimestamp: String(dirty),
  };
}

/** Clients put it into a URL as it is. */
function asHostName(address: string): string {
  return isIP(address) === 6 ? `[${address}]` : address;
}
