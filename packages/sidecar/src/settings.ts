/** What the running sidecar asks of its configuration. Apart from the schema, so that the library behind it is not loaded with it. */
import type { SidecarConfig } from "./config.ts";
import { type LoopbackRange, rangeOf } from "./ports/service-addresses.ts";

/** The addresses of the registry, as a list. */
export function registryAddresses({ registry: { address } }: SidecarConfig): readonly string[] {
  return typeof address === "string" ? [address] : address;
}

/** The servers of an existing ZooKeeper, as a list. */
export function zooKeeperAddresses({ zookeeper: { addresses } }: SidecarConfig): readonly string[] {
  return [addresses ?? []].flat().flatMap((text) => text.split(","));
}

/** The range of addresses of services that have one of their own: the configured one, else by the outbound port. */
export function loopbackRangeOf({ outbound: { addresses } }: SidecarConfig, outboundPort: number): LoopbackRange {
  return addresses === undefined ? rangeOf(outboundPort) : { second: Number(addresses.split(".")[1]) };
}

/** Where the application of this name listens for Bolt. */
export function boltPortOf({ apps }: SidecarConfig, application: string): number {
  return apps.find((app) => app.name === application)?.boltPort ?? defaultBoltPort;
}

/** A protocol that the configuration adds. */
export interface OwnProtocol {
  /** The file that exports its codec. */
  readonly module: string;
  /** Where the configuration names it, as `file:line:column`. */
  readonly where?: string;
}

const defaultBoltPort = 12_200;

/** What nobody configures is here, or at the next port that is free. */
export const usualPorts = { zookeeper: 12_181, mesh: 13_330, eureka: 18_761, http: 13_380, admin: 20_883 } as const;

const defaultMeshOutboundPort = 12_220;

export interface MeshDoorSettings {
  /** Undefined when the usual one, or the next free one, is meant. */
  readonly port: number | undefined;
  readonly outboundPort: number;
  /** The configuration asks for it: a sidecar that cannot serve it says so and ends. */
  readonly isAskedFor: boolean;
}

/** The door for `mesh://`; undefined when it is to be shut. */
export function meshDoorOf({ doors: { mesh } }: SidecarConfig): MeshDoorSettings | undefined {
  if (mesh === false) return undefined;
  if (mesh === undefined) return { port: undefined, outboundPort: defaultMeshOutboundPort, isAskedFor: false };
  return { port: mesh.port, outboundPort: mesh.outboundPort, isAskedFor: true };
}
