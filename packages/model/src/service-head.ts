/** How a service stands in the head of a request of its protocol, both ways. The table of all dialects is in service.ts. */
import { parseServiceText, type ServiceName, serviceText } from "./service.ts";

export interface ServiceHead {
  /** Bolt `interface:version[:uniqueId]`, Dubbo `path:version`, any other protocol `name:version`. */
  readonly head: string;
  /** What tells services with one head apart: the group of Dubbo and of any other protocol; empty for Bolt. */
  readonly group: string;
}

export function headOf(service: ServiceName): ServiceHead {
  if (service.protocol === "bolt") {
    const uniqueId = service.group === "" ? "" : `:${service.group}`;
    return { head: `${service.name}:${service.version}${uniqueId}`, group: "" };
  }
  return { head: `${service.name}:${service.version}`, group: service.group };
}

/** The canonical text of the service that a request means; undefined when its head names none. */
export function serviceOf(protocol: string, head: string, group: string): string | undefined {
  const [name = "", version = "", ...rest] = head.split(":");
  if (name === "") return undefined;
  const service: ServiceName =
    protocol === "bolt" ? { protocol, name, version, group: rest.join(":") } : { protocol, name, version, group };
  const text = serviceText(service);
  return parseServiceText(text) === undefined ? undefined : text;
}
