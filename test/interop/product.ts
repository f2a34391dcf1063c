/**
 * How the product is started for the matrix: command lines and configuration, in one place. Nothing else here knows its keys.
 */
import { writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import type { CommandLine } from "./fixtures.ts";

export const repository = join(import.meta.dirname, "..", "..");

export interface RegistryPorts {
  readonly stream: number;
  readonly admin: number;
  readonly zookeeper: number;
  readonly eureka: number;
  readonly http: number;
}

export interface SidecarPorts {
  readonly inbound: number;
  readonly outbound: number;
  readonly admin: number;
  readonly zookeeper: number;
  readonly mesh: number;
  readonly eureka: number;
  readonly http: number;
  /** Where applications over `mesh://` call: `meshOutboundPort` at the one sidecar of the machine that serves such consumers. */
  readonly meshOutbound: number;
  /** The ports of second providers of one service. */
  readonly published: { readonly from: number; readonly to: number };
}

/** Where an application that was told `mesh://` dials, whatever it is answered. */
export const meshOutboundPort = 12_220;

/** An application that says over `mesh://` what it offers, but not where. */
export interface MeshApplication {
  readonly name: string;
  readonly boltPort: number;
}

/** The address under which Java's and npm's SDKs register this machine: Dubbo never dials 127.*. */
export function machineAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find((address) => address.family === "IPv4" && !address.internal)?.address ?? "127.0.0.1";
}

export function registryCommand(directory: string, ports: RegistryPorts): CommandLine {
  return command("registry", directory, {
    listen: "127.0.0.1",
    stream: { port: ports.stream },
    admin: { port: ports.admin },
    doors: { zookeeper: { port: ports.zookeeper }, eureka: { port: ports.eureka }, http: { port: ports.http } },
    state: join(directory, "state"),
  });
}

export function sidecarCommand(
  directory: string,
  ports: SidecarPorts,
  registry: RegistryPorts,
  apps: readonly MeshApplication[],
): CommandLine {
  return command("sidecar", directory, {
    registry: { address: `127.0.0.1:${registry.stream}` },
    directory: "registry",
    inbound: { host: machineAddress(), port: ports.inbound },
    outbound: { host: "127.0.0.1", port: ports.outbound },
    admin: { port: ports.admin },
    doors: {
      zookeeper: { port: ports.zookeeper },
      mesh: { port: ports.mesh, outboundPort: ports.meshOutbound },
      eureka: { port: ports.eureka },
      http: { port: ports.http },
    },
    publishedPorts: ports.published,
    ...(apps.length > 0 ? { apps } : {}),
    state: join(directory, "state"),
  });
}

function command(part: "registry" | "sidecar", directory: string, config: object): CommandLine {
  const file = join(directory, "config.yaml");
  writeFileSync(file, JSON.stringify(config, undefined, 2)); // JSON is YAML as well
  return {
    command: process.execPath,
    words: [join(repository, "packages/cli/src/main.ts"), part, "run", "--config", file],
  };
}
