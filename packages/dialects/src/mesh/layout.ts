/** How SOFA-RPC's `mesh://` registry names services and writes providers. */
import { MeshError } from "@dualmesh/base/errors";
import type { Instance } from "@dualmesh/model/instance";
import { maxServiceTextLength, parseServiceText, serviceText } from "@dualmesh/model/service";

/** What a request says, as far as this door reads it; whatever else it says is left alone. */
export interface MeshRequest {
  readonly serviceName: string;
  readonly protocolType: string;
  /** Of `/configs/application`, or of the provider in `/services/publish`; empty when it is not said. */
  readonly appName: string;
}

export const maxApplicationLength = 255;

/** Throws `mesh.bad-request` when the body is not an object in JSON or one of its texts is none. */
export function readRequest(body: Buffer): MeshRequest {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    throw badRequest("the body is not JSON");
  }
  const request = objectOf(value, "the body");
  const provider = objectOf(request["providerMetaInfo"] ?? {}, "providerMetaInfo");
  const appName = textOf(provider, "appName") || textOf(request, "appName");
  if (appName.length > maxApplicationLength) throw badRequest(`appName is longer than ${maxApplicationLength}`);
  return {
    serviceName: textOf(request, "serviceName"),
    protocolType: textOf(request, "protocolType") || textOf(provider, "protocol") || "bolt",
    appName,
  };
}

/** `fx.Greeter:1.0` or `fx.Greeter:1.0:UNIQUE-ID` as canonical text. */
export function serviceOf({ serviceName, protocolType }: MeshRequest): string {
  const [name = "", version = "", ...rest] = serviceName.split(":");
  const text = serviceText({ protocol: protocolType.toLowerCase(), name, version, group: rest.join(":") });
  if (text.length > maxServiceTextLength) throw badRequest(`serviceName is longer than ${maxServiceTextLength}`);
  if (name === "" || version === "" || parseServiceText(text) === undefined) {
    throw badRequest("serviceName is INTERFACE:VERSION or INTERFACE:VERSION:UNIQUE-ID");
  }
  return text;
}

export interface ProviderFacts {
  readonly service: string;
  readonly application: string;
  readonly host: string;
  readonly port: number;
  readonly incarnation: number;
  /** The body of the request that published it. */
  readonly text: string;
}

export function instanceOf({ service, application, host, port, incarnation, text }: ProviderFacts): Instance {
  return {
    service,
    host,
    application,
    appPort: port,
    address: host,
    port,
    weight: 100,
    warmupMs: 0,
    startedAt: 0,
    zone: "",
    labels: {},
    mode: "sdk",
    security: "plain",
    identity: "",
    bypassed: "",
    incarnation,
    registration: { dialect: "mesh", text },
  };
}

/** A provider as a subscriber is told of it. The client goes by the parameters and calls port 12220 of 127.0.0.1 whatever stands here. */
export function providerText(host: string, port: number, application: string): string {
  return `${host}:${port}?p=1&v=4.0&_SERIALIZETYPE=hessian2&app_name=${encodeURIComponent(application)}`;
}

export function badRequest(message: string): MeshError {
  return new MeshError("mesh.bad-request", message);
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw badRequest(`${what} is not an object`);
  return value as Readonly<Record<string, unknown>>;
}

function textOf(object: Readonly<Record<string, unknown>>, key: string): string {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") throw badRequest(`${key} is not a text`);
  return value;
}
