/** What the running sidecar asks of its configuration. Apart from the schema, so that the library behind it is not loaded with it. */
import type { SidecarConfig } from "./config.ts";

/** The addresses of the registry, as a list. */
export function registryAddresses({ registry: { address } }: SidecarConfig): readonly string[] {
  return typeof address === "string" ? [address] : address;
}

/** Where the application of this name listens for Bolt. */
export function boltPortOf({ apps }: SidecarConfig, application: string): number {
  return apps.find((app) => app.name === application)?.boltPort ?? defaultBoltPort;
}

const defaultBoltPort = 12_200;
