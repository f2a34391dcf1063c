/**
 * Which way calls really took, seen from outside: who holds a connection to whom. Without this, a registration that quietly
 * bypasses the sidecars would make every cell green.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Way } from "./plan.ts";

/** Process ids of the sidecars, and the ports on which the consumers' sidecar takes calls. */
export interface Carriers {
  readonly sidecarOfConsumers: number | undefined;
  readonly sidecarOfProviders: number | undefined;
  readonly outboundPorts: readonly number[];
}

export interface PathEnds extends Carriers {
  readonly way: Way;
  readonly consumer: number | undefined;
  /** The providers' own ports. */
  readonly providerPorts: readonly number[];
}

/** What contradicts the way, or undefined; undefined too where the machine does not tell who is connected (only Linux does). */
export function wrongWay(ends: PathEnds): string | undefined {
  if (process.platform !== "linux") return undefined;
  const { way, providerPorts, outboundPorts } = ends;
  const direct = reaches(ends.consumer, providerPorts);
  if (way.name === "SDK>SDK") return direct ? undefined : "the consumer has no connection to the provider";
  if (direct) return "the consumer is connected to the provider itself, past the sidecar";
  if (way.consumer === "mesh" && !reaches(ends.consumer, outboundPorts))
    return "the consumer has no connection to its sidecar";
  const [near, far] = [
    reaches(ends.sidecarOfConsumers, providerPorts),
    reaches(ends.sidecarOfProviders, providerPorts),
  ];
  if (way.provider === "SDK") return near ? undefined : "the consumer's sidecar has no connection to the provider";
  if (near) return "the consumer's sidecar is connected to the provider itself, past the provider's sidecar";
  return far ? undefined : "the provider's sidecar has no connection to the provider";
}

function reaches(pid: number | undefined, ports: readonly number[]): boolean {
  if (pid === undefined) return false;
  const remote = new Set(connectionsOf(pid).map(({ there }) => there));
  return ports.some((port) => remote.has(port));
}

const established = "01";

/** An established connection by its two ports. As long as it stands, its own port is nobody else's. */
export interface Connected {
  readonly here: number;
  readonly there: number;
}

/** Those of a process, as the kernel has them. */
export function connectionsOf(pid: number): readonly Connected[] {
  const sockets = new Set(readdirSync(`/proc/${pid}/fd`).map((name) => target(`/proc/${pid}/fd/${name}`)));
  const all: Connected[] = [];
  for (const table of ["tcp", "tcp6"]) {
    for (const line of readFileSync(`/proc/${pid}/net/${table}`, "utf8").split("\n").slice(1)) {
      const [, near, far, state, , , , , , inode] = line.trim().split(/\s+/);
      if (near === undefined || far === undefined || state !== established || !sockets.has(`socket:[${inode}]`))
        continue;
      all.push({ here: portOf(near), there: portOf(far) });
    }
  }
  return all;
}

/** Of an address as the kernel writes it. */
function portOf(address: string): number {
  return Number.parseInt(address.slice(address.indexOf(":") + 1), 16);
}

function target(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return ""; // closed since the directory was read
  }
}
