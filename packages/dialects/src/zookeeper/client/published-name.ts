/**
 * The node of an instance in an existing ensemble, as the framework's own client writes it. What a sidecar publishes says beside that, as
 * parameters which SDKs pass over, that it is a sidecar and behind which port of which host the application is; so that other sidecars
 * know the same instance again in either mode.
 */
import { MeshError } from "@dualmesh/base/errors";
import type { Instance } from "@dualmesh/model/instance";
import { parseServiceText } from "@dualmesh/model/service";
import type { Layout } from "../layout.ts";
import { decodeName, encodeName, maxNodeNameLength, parseProviderUrl } from "../provider-url.ts";

/** Protocols of which a registry like this has nothing to say: their services have no interface. */
const unsayable = new Set(["http", "https", "tcp"]);
const ofDubbo = new Set(["dubbo", "tri"]);
const ofSofa = new Set(["bolt"]);
const firstMark = /%(?:26|3F)dualmesh\.mode%3D/i;

/** The layouts in which a service may be; throws `registry.refused` when there is none. */
export function layoutsOf(service: string, layouts: readonly Layout[]): readonly Layout[] {
  const protocol = parseServiceText(service)?.protocol;
  if (protocol === undefined)
    throw new MeshError("registry.refused", `not a canonical service: ${service}`, { service });
  if (unsayable.has(protocol)) {
    const text = `${service} cannot be in ZooKeeper: the layouts of Dubbo and SOFA-RPC know no ${protocol}; use directory: registry for it`;
    throw new MeshError("registry.refused", text, { service });
  }
  return layouts.filter(({ dialect }) =>
    dialect === "dubbo" ? !ofSofa.has(protocol) : dialect === "sofa" && !ofDubbo.has(protocol),
  );
}

/** Whether any service whose text matches the pattern can be in a layout. */
export function isSayable(pattern: string): boolean {
  const [protocol = ""] = pattern.split("/");
  return !/^https?\*?$/.test(protocol) && protocol !== "tcp";
}

/** The path of the node that publishes an instance, and its data. Throws `registry.refused` for what no layout can say. */
export function publishedNode(instance: Instance, layouts: readonly Layout[]): { path: string; data: Buffer } {
  const possible = layoutsOf(instance.service, layouts);
  const layout =
    possible.find(({ dialect }) => dialect === instance.registration.dialect) ??
    possible.find((one) => one.shows(instance));
  const interfaceName = parseServiceText(instance.service)?.name ?? "";
  if (layout === undefined || interfaceName.includes("/")) {
    const text = `${instance.service} cannot be in ZooKeeper: it was registered in ${instance.registration.dialect}, which says too little for Dubbo or SOFA-RPC`;
    throw new MeshError("registry.refused", text, { service: instance.service });
  }
  const name = publishedName(layout, interfaceName, instance);
  if (name.length > maxNodeNameLength)
    throw new MeshError("registry.refused", `the registration of ${instance.service} is too long for a node's name`);
  return { path: `${layout.providersPath(interfaceName)}/${name}`, data: layout.dataOf(instance) };
}

/** The instance behind a provider's node; undefined when it cannot be read as one. */
export function readPublished(layout: Layout, interfaceName: string, name: string): Instance | undefined {
  const at = name.search(firstMark);
  const plain = at < 0 ? name : name.slice(0, at);
  // A successor is told from its predecessor by when it started; one that does not say it, by nothing.
  const instance = layout.readProvider(interfaceName, plain, () => 0);
  if (instance === undefined) return undefined;
  const address = dotted(instance.address);
  if (at < 0) return { ...instance, host: dotted(instance.host), address };
  const marks = parseProviderUrl(`x://x?${(decodeName(name.slice(at)) ?? "").slice(1)}`)?.parameters ?? new Map();
  const appPort = Number(marks.get("dualmesh.app-port"));
  if (marks.get("dualmesh.mode") !== "mesh" || !(appPort > 0 && appPort <= 65_535)) return undefined;
  const text = (mark: string): string | undefined => decodeName(marks.get(`dualmesh.${mark}`) ?? "");
  const incarnation = Number(marks.get("dualmesh.incarnation"));
  return {
    ...instance,
    address,
    host: text("host") || address,
    appPort,
    application: text("application") || instance.application,
    zone: text("zone") || instance.zone,
    incarnation: Number.isSafeInteger(incarnation) && incarnation > 0 ? incarnation : instance.incarnation,
    mode: "mesh",
  };
}

/** The name of the node that publishes an instance. */
export function publishedName(layout: Layout, interfaceName: string, instance: Instance): string {
  const name = layout.nameOf(instance);
  if (instance.mode === "sdk") return name;
  const said = layout.readProvider(interfaceName, name, () => 0);
  const marks = [
    "mode=mesh",
    `app-port=${instance.appPort}`,
    `host=${encodeURIComponent(instance.host)}`,
    ...(said?.application === instance.application ? [] : [`application=${encodeURIComponent(instance.application)}`]),
    ...(said?.zone === instance.zone ? [] : [`zone=${encodeURIComponent(instance.zone)}`]),
    ...(said?.incarnation === instance.incarnation ? [] : [`incarnation=${instance.incarnation}`]),
  ].map((mark) => `dualmesh.${mark}`);
  return name + encodeName(`${/%3F/i.test(name) ? "&" : "?"}${marks.join("&")}`);
}

/** An IPv4 address that was written as one number, for Dubbo's sake, as everybody else writes it. */
function dotted(host: string): string {
  if (!/^\d{8,10}$/.test(host)) return host;
  const number = Number(host);
  return [24, 16, 8, 0].map((bits) => Math.floor(number / 2 ** bits) % 256).join(".");
}
