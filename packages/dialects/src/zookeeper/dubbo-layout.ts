/** Dubbo's layout (2.7 and 3.x, the interface level): `/dubbo/INTERFACE/providers/URL`. */
import type { Instance } from "@dualmesh/model/instance";
import { parseServiceText, serviceText } from "@dualmesh/model/service";
import type { Layout, Place, Wanted } from "./layout.ts";
import {
  bracketed,
  decodeName,
  dialledLoopback,
  encodeName,
  longestTimeout,
  nameWithAddress,
  numberOf,
  type ProviderUrl,
  parameterText,
  parseProviderUrl,
  registrationText,
  registrationUrl,
} from "./provider-url.ts";

const family = new Set(["dubbo", "tri"]);
const others = new Set(["bolt", "http", "https"]);
const privateFolders = new Set(["mapping", "metadata", "config"]);
const folders = new Set(["providers", "consumers", "configurators", "routers"]);
/** How long Dubbo lets a provider warm up when its URL says when it started and nothing else. */
const defaultWarmupMs = 600_000;
const tenYearsMs = 10 * 365 * 86_400_000;

export function dubboLayout(root = "dubbo"): Layout {
  return {
    dialect: "dubbo",
    root: `/${root}`,
    place: (segments) => placeOf(root, segments),
    providersPath: (interfaceName) => `/${root}/${interfaceName}/providers`,
    readProvider,
    waitsForItself: () => false,
    readConsumer,
    expected: () => undefined,
    mayShow: (protocol) => !others.has(protocol),
    shows: (instance) => instance.registration.dialect === "dubbo" || family.has(protocolOf(instance)),
    nameOf,
    dataOf: (instance) => Buffer.from(instance.host),
  };
}

function placeOf(root: string, segments: readonly string[]): Place | undefined {
  const [first, second, third, fourth] = segments;
  if (first === "services") {
    if (second === undefined) return { kind: "directory" };
    return { kind: "private", ...(third === undefined ? {} : { application: second }) };
  }
  if (first !== root) return undefined;
  if (second === undefined) return { kind: "directory" };
  if (privateFolders.has(second)) return { kind: third === undefined ? "directory" : "private" };
  if (third === undefined) return { kind: "directory" };
  if (!folders.has(third)) return { kind: "plain" };
  if (fourth === undefined)
    return third === "providers" ? { kind: "providers", interfaceName: second } : { kind: "directory" };
  if (segments.length > 4) return { kind: "plain" };
  if (third === "providers") return { kind: "provider", interfaceName: second, name: fourth };
  return third === "consumers" ? { kind: "consumer", interfaceName: second, name: fourth } : { kind: "plain" };
}

function readProvider(interfaceName: string, name: string, newIncarnation: () => number): Instance | undefined {
  const url = parseProviderUrl(decodeName(name) ?? "");
  if (url === undefined || url.host === "" || url.port === 0) return undefined;
  const startedAt = numberOf(url, "timestamp", 0, 0, Number.MAX_SAFE_INTEGER);
  const tag = url.parameters.get("dubbo.tag");
  return {
    service: serviceOf(
      url.scheme,
      interfaceName,
      url.parameters.get("version") ?? "",
      url.parameters.get("group") ?? "",
    ),
    host: url.host,
    application: url.parameters.get("application") || "unknown",
    appPort: url.port,
    address: url.host,
    port: url.port,
    weight: numberOf(url, "weight", 100, 0, 10_000),
    warmupMs: numberOf(url, "warmup", startedAt > 0 ? defaultWarmupMs : 0, 0, tenYearsMs),
    startedAt,
    zone: url.parameters.get("zone") ?? "",
    labels: tag === undefined ? {} : { tag },
    mode: "sdk",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation: startedAt > 0 ? startedAt : newIncarnation(),
    registration: { dialect: "dubbo", text: registrationText(name) },
  };
}

function readConsumer(interfaceName: string, name: string): Wanted | undefined {
  const url = parseProviderUrl(decodeName(name) ?? "");
  if (url === undefined) return undefined;
  const choices = (parameter: string): string[] => (url.parameters.get(parameter) ?? "").split(",");
  const services: string[] = [];
  for (const protocol of protocols(url)) {
    for (const version of choices("version")) {
      for (const group of choices("group")) {
        if (version !== "*" && group !== "*") services.push(serviceOf(protocol, interfaceName, version, group));
      }
    }
  }
  const application = url.parameters.get("application") || "unknown";
  return { application, services: services.slice(0, 64), timeoutMs: longestTimeout(url.parameters) };
}

/** A reference may be bound to a protocol; without one, Dubbo's own is what a provider most likely offers. */
function protocols(url: ProviderUrl): string[] {
  const protocol = url.parameters.get("protocol");
  return protocol === undefined || protocol === "" ? ["dubbo"] : protocol.toLowerCase().split(",");
}

function serviceOf(protocol: string, name: string, version: string, group: string): string {
  return serviceText({ protocol, name, version: version === "0.0.0" ? "" : version, group });
}

function protocolOf(instance: Instance): string {
  return instance.service.slice(0, instance.service.indexOf("/"));
}

function nameOf(instance: Instance): string {
  if (instance.registration.dialect === "dubbo") {
    const name = rewritten(instance);
    if (name !== undefined) return name;
  }
  return encodeName(builtUrl(instance));
}

function rewritten(instance: Instance): string | undefined {
  const { text } = instance.registration;
  const url = parseProviderUrl(registrationUrl(text) ?? "");
  if (url === undefined) return undefined;
  const host = dialledLoopback(instance.address);
  return nameWithAddress(text, host, instance.port);
}

function builtUrl(instance: Instance): string {
  const service = parseServiceText(instance.service) ?? { protocol: "dubbo", name: "", version: "", group: "" };
  const parameters = new URLSearchParams();
  parameters.set("application", instance.application);
  parameters.set("dubbo", "2.0.2");
  parameters.set("dynamic", "true");
  if (service.group !== "") parameters.set("group", service.group);
  parameters.set("interface", service.name);
  parameters.set("methods", "*");
  parameters.set("side", "provider");
  if (instance.startedAt > 0) parameters.set("timestamp", String(instance.startedAt));
  if (service.version !== "") parameters.set("version", service.version);
  parameters.set("warmup", String(instance.warmupMs));
  parameters.set("weight", String(instance.weight));
  const text = [...parameters].map(([name, value]) => `${name}=${parameterText(value)}`).join("&");
  const host = bracketed(dialledLoopback(instance.address));
  return `${service.protocol}://${host}:${instance.port}/${service.name}?${text}`;
}
