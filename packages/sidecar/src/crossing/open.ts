/** The crossings of a running sidecar, with what they need of it. */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type { StateDirectory } from "@dualmesh/base/state/state";
import type { SidecarConfig } from "../config.ts";
import type { Face } from "../face/face.ts";
import type { DataMetrics } from "../metrics.ts";
import { zooKeeperAddresses } from "../settings.ts";
import { hostDoor } from "../transport/door-host.ts";
import type { Ports } from "../transport/ports.ts";
import { resolveHost } from "../transport/resolve.ts";
import type { StillConnections } from "../transport/still-connections.ts";
import { dialTransport } from "../transport/tcp.ts";
import { Crossings } from "./crossings.ts";
import { CrossingKeep } from "./keep.ts";

export interface OpenCrossingsOptions {
  readonly config: SidecarConfig;
  readonly state: StateDirectory;
  readonly clock: Clock;
  readonly log: Log;
  readonly face: Face;
  readonly metrics: DataMetrics;
  readonly ports: Ports;
  readonly still: StillConnections;
  readonly outbound: { readonly host: string; readonly port: number };
  readonly reaches: (service: string) => boolean;
  readonly isReserved: (port: number) => boolean;
}

/** Opens what a former process had open. Rejects with `state.…`. */
export async function openCrossings(options: OpenCrossingsOptions): Promise<Crossings> {
  const { config, state, metrics, ports, still, clock } = options;
  const log = options.log.child({ door: "crossing" });
  const { chroot = "", dubboRoot, sofaRoot } = config.zookeeper;
  const addresses = config.directory === "zookeeper" ? zooKeeperAddresses(config) : [];
  const dropped = (): void => metrics.event("downstream_dropped");
  const timeoutMs = config.timeouts.connectMs;
  const crossings = new Crossings({
    ...options,
    log,
    keep: new CrossingKeep(await state.journal("crossings"), log),
    entries: await state.journal("crossing-entries"),
    directory: { kind: config.directory, addresses, chroot },
    dubboRoot: dubboRoot.replace(/^\/+/, ""),
    sofaRoot: sofaRoot.replace(/^\/+/, ""),
    dial: (server, done) => dialTransport({ ...server, timeoutMs }, done),
    host: (door, host, port) =>
      hostDoor(door, {
        ...{ host, port, maxConnections: config.limits.doorConnections, dropped, ports },
        stays: { still, key: door.key, clock },
      }),
    resolve: resolveHost,
    series: () => metrics.all(),
  });
  await crossings.restore();
  return crossings;
}
