/** SOFA-RPC's layout: `/sofa-rpc/INTERFACE/providers/URL`, where the unique id is a parameter of the URL. */
import type { Instance } from "@dualmesh/model/instance";
import { parseServiceText, serviceText } from "@dualmesh/model/service";
import type { Layout, Place, Wanted } from "./layout.ts";
import {
  bracketed,
  decodeName,
  encodeName,
  nameWithAddress,
  numberOf,
  parameterText,
  parseProviderUrl,
  registrationText,
  registrationUrl,
} from "./provider-url.ts";

const others = new Set(["dubbo", "tri", "http", "https"]);
const folders = new Set(["providers", "consumers", "configs", "overrides"]);
const tenYearsMs = 10 * 365 * 86_400_000;
/** What a built URL says of the RPC version: that of SOFA-RPC 5.13, which every client since 5.0 accepts. */
const rpcVersion = "51302";

export function sofaLayout(root = "sofa-rpc"): Layout {
  return {
    dialect: "sofa",
    root: `/${root}`,
    place: (segments) => placeOf(root, segments),
    providersPath: (interfaceName) => `/${root}/${interfaceName}/providers`,
    readProvider,
    waitsForItself: (name) => parseProviderUrl(decodeName(name) ?? "")?.parameters.get("language") === "nodejs",
    readConsumer,
    // Node's client reads the list and writes its consumer's node at the same time.
    expected: (interfaceName) => serviceOf("bolt", interfaceName, ""),
    mayShow: (protocol) => !others.has(protocol),
    shows: (instance) => instance.registration.dialect === "sofa" || instance.service.startsWith("bolt/"),
    nameOf,
    dataOf: () => Buffer.from([1]),
  };
}

function placeOf(root: string, segments: readonly string[]): Place | undefined {
  const [first, second, third, fourth] = segments;
  if (first !== root) return undefined;
  if (second === undefined || third === undefined) return { kind: "directory" };
  if (!folders.has(third)) return { kind: "plain" };
  if (fourth === undefined)
    return third === "providers" ? { kind: "providers", interfaceName: second } : { kind: "directory" };
  // Clients ask for a child called foo only to learn whether the parent's watch works.
  if (segments.length > 4 || !fourth.includes("%")) return { kind: "plain" };
  if (third === "providers") return { kind: "provider", interfaceName: second, name: fourth };
  return third === "consumers" ? { kind: "consumer", interfaceName: second, name: fourth } : { kind: "plain" };
}

function readProvider(interfaceName: string, name: string, newIncarnation: () => number): Instance | undefined {
  const url = parseProviderUrl(decodeName(name) ?? "");
  if (url === undefined || url.host === "" || url.port === 0) return undefined;
  const startedAt = numberOf(url, "startTime", 0, 0, Number.MAX_SAFE_INTEGER);
  return {
    service: serviceOf(url.scheme, interfaceName, url.parameters.get("uniqueId") ?? ""),
    host: url.host,
    application: url.parameters.get("appName") || "unknown",
    appPort: url.port,
    address: url.host,
    port: url.port,
    weight: numberOf(url, "weight", 100, 0, 10_000),
    warmupMs: numberOf(url, "warmupTime", 0, 0, tenYearsMs),
    startedAt,
    zone: "",
    labels: {},
    mode: "sdk",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation: startedAt > 0 ? startedAt : newIncarnation(),
    registration: { dialect: "sofa", text: registrationText(name) },
  };
}

function readConsumer(interfaceName: string, name: string): Wanted | undefined {
  const url = parseProviderUrl(decodeName(name) ?? "");
  if (url === undefined) return undefined;
  return {
    application: url.parameters.get("appName") || "unknown",
    services: [serviceOf(url.scheme, interfaceName, url.parameters.get("uniqueId") ?? "")],
    timeoutMs: 0, // Bolt states it in each frame
  };
}

function serviceOf(protocol: string, name: string, uniqueId: string): string {
  return serviceText({ protocol, name, version: "1.0", group: uniqueId });
}

function nameOf(instance: Instance): string {
  if (instance.registration.dialect === "sofa") {
    const { text } = instance.registration;
    const name =
      parseProviderUrl(registrationUrl(text) ?? "") && nameWithAddress(text, instance.address, instance.port);
    if (name !== undefined) return name;
  }
  return encodeName(builtUrl(instance));
}

/** The same parameters, in the same order, as a provider of SOFA-RPC writes them. */
function builtUrl(instance: Instance): string {
  const service = parseServiceText(instance.service) ?? { protocol: "bolt", name: "", version: "1.0", group: "" };
  const parameters = [
    "version=1.0",
    "accepts=100000",
    `appName=${parameterText(instance.application)}`,
    `weight=${instance.weight}`,
    "language=java",
    `interface=${parameterText(service.name)}`,
    "timeout=0",
    "serialization=hessian2",
    `protocol=${service.protocol}`,
    "delay=-1",
    "dynamic=true",
    `startTime=${instance.startedAt}`,
    `uniqueId=${parameterText(service.group)}`,
    `rpcVer=${rpcVersion}`,
  ];
  return `${service.protocol}://${bracketed(instance.address)}:${instance.port}?${parameters.join("&")}`;
}
