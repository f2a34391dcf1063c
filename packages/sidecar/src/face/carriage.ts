/**
 * What the data plane can carry, judged from a registration: the protocol, and whether a request's service can be read from a frame. What
 * cannot be carried is not caught: it stays at its real address, with the reason shown.
 */
import { bracketed } from "@dualmesh/base/http/host-name";
import { longestTimeout, parseProviderUrl, registrationUrl } from "@dualmesh/dialects/zookeeper/provider-url";
import type { Instance } from "@dualmesh/model/instance";

/** Protocols whose requests name no service: each service has an address of its own, and each application port a published one. */
export const addressedProtocols = ["http", "tcp"] as const;
/** What every sidecar carries. */
export const builtInProtocols = ["bolt", "dubbo", ...addressedProtocols] as const;
/** Dubbo keeps the service inside the serialised body: these are the serialisations that the codec can skip through. */
const readable = new Set(["hessian2", "fastjson2"]);
/** What every Dubbo consumer can speak: of a list of preferences nothing behind it is ever chosen. */
const spokenByAll = "hessian2";

export function isAddressed(service: string): boolean {
  return (addressedProtocols as readonly string[]).includes(protocolOf(service));
}

/**
 * `host:port` as the application is called without a mesh: what `Host` says then. Eureka's clients use the host name that was registered,
 * all others the host.
 */
export function authorityOf({ host, appPort, registration }: Instance): string {
  const name =
    registration.dialect === "eureka" ? /"hostName":"([^"\\]{1,253})"/.exec(registration.text)?.[1] : undefined;
  return `${bracketed(name ?? host)}:${appPort}`;
}

/** The protocols that a sidecar carries, and what follows for an instance. */
export class CarriedProtocols {
  readonly #names: ReadonlySet<string>;
  /** Sets arrive whole, and most of their instances are those of the set before. */
  readonly #judged = new WeakMap<Instance, string>();

  /** `own`: those that the configuration adds. */
  constructor(own: readonly string[] = []) {
    this.#names = new Set([...builtInProtocols, ...own]);
  }

  /** Whether a service's protocol is carried. */
  has(service: string): boolean {
    return this.#names.has(protocolOf(service));
  }

  /** Why an instance cannot be carried, or undefined when it can. */
  whyBypassed(instance: Instance): string | undefined {
    if (instance.mode === "mesh") return undefined;
    if (instance.bypassed !== "") return instance.bypassed;
    let reason = this.#judged.get(instance);
    if (reason === undefined) {
      reason = this.#judge(instance) ?? "";
      this.#judged.set(instance, reason);
    }
    return reason === "" ? undefined : reason;
  }

  #judge(instance: Instance): string | undefined {
    const protocol = protocolOf(instance.service);
    if (this.#names.has(protocol)) return whyUnreadable(instance);
    return protocol === "https" ? "TLS is not carried" : `protocol ${protocol} is not carried`;
  }
}

function whyUnreadable(instance: Instance): string | undefined {
  if (instance.registration.dialect !== "dubbo") return undefined;
  const parameters = parametersOf(instance);
  if (parameters.get("ssl-enabled") === "true") return "TLS is not carried";
  const serialization = unreadable(parameters);
  return serialization === undefined ? undefined : `serialization ${serialization} cannot be read`;
}

/** How long the instance's registration lets a call take, in milliseconds; 0 when it says nothing. */
export function statedTimeoutMs(instance: Instance): number {
  // Bolt states it in each frame.
  return instance.registration.dialect === "dubbo" ? longestTimeout(parametersOf(instance)) : 0;
}

/** The first serialisation that may be used and cannot be read. */
function unreadable(parameters: ReadonlyMap<string, string>): string | undefined {
  // Dubbo 2.7 goes by `serialization` alone; Dubbo 3 by the first of `prefer.serialization` that the consumer speaks too.
  const only = parameters.get("serialization");
  if (only !== undefined && only !== "" && !readable.has(only)) return only;
  for (const preferred of decoded(parameters.get("prefer.serialization") ?? "").split(",")) {
    const name = preferred.trim();
    if (name === spokenByAll) return undefined;
    if (name !== "" && !readable.has(name)) return name;
  }
  return undefined;
}

function parametersOf(instance: Instance): ReadonlyMap<string, string> {
  const url = registrationUrl(instance.registration.text);
  return (url === undefined ? undefined : parseProviderUrl(url)?.parameters) ?? new Map();
}

function protocolOf(service: string): string {
  return service.slice(0, service.indexOf("/"));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a malformed percent sequence names no serialisation that is known
  }
}
