/**
 * The sidecar's doors: for each registry protocol that applications of this host may speak, a port on loopback and what answers there. Those
 * that nobody configured take their usual port or the next free one.
 */
import { openHttpHost } from "@dualmesh/base/http/host";
import type { Scope } from "@dualmesh/base/scope";
import type { Door, DoorContext } from "@dualmesh/dialects/door";
import { openEurekaDoor } from "@dualmesh/dialects/eureka/door";
import { openHttpDoor } from "@dualmesh/dialects/http/door";
import type { HttpDoor } from "@dualmesh/dialects/http-door";
import { openMeshDoor } from "@dualmesh/dialects/mesh/door";
import { openZooKeeperDoor } from "@dualmesh/dialects/zookeeper/door";
import type { Apps } from "./apps/apps.ts";
import { isAddressed } from "./face/carriage.ts";
import type { Face } from "./face/face.ts";
import { boltPortOf, meshDoorOf, usualPorts } from "./settings.ts";
import type { SidecarOptions } from "./sidecar.ts";
import { hostDoor } from "./transport/door-host.ts";
import type { Listener } from "./transport/listener.ts";
import { machineAddress } from "./transport/machine.ts";
import type { Ports } from "./transport/ports.ts";
import type { StillConnections } from "./transport/still-connections.ts";

/** Opens the port of `key`: the configured one, else the usual one or the next that is free. Rejects with `listen.…`. */
export type FreePort = <Opened extends { readonly port: number }>(
  key: string,
  configured: number | undefined,
  usual: number,
  open: (port: number) => Promise<Opened>,
) => Promise<Opened>;

export interface DoorsOptions extends Pick<SidecarOptions, "config" | "state" | "clock" | "random" | "log"> {
  readonly face: Face;
  readonly apps: Apps;
  readonly free: FreePort;
  /** The port that SOFA-RPC's `mesh://` clients call; without it that door stays shut. */
  readonly meshOutbound: Listener | undefined;
  /** Ends the doors and their ports. */
  readonly scope: Scope;
  /** A connection was turned away because a limit is reached. */
  readonly dropped: () => void;
  readonly ports: Ports;
  /** Where connections of doors stay while those are laid down. */
  readonly still: StillConnections;
}

export interface OpenDoor {
  readonly port: number;
  readonly door: Pick<Door, "dialect" | "sessions">;
}

const loopback = "127.0.0.1";
/** What any door that speaks HTTP is sent at once. */
const maxBodyBytes = 256 * 1024;

/** Opens all that are configured. Rejects with `listen.…`, `state.…`. */
export async function openDoors(options: DoorsOptions): Promise<readonly OpenDoor[]> {
  const doors = [
    await openZooKeeper(options),
    await openMesh(options),
    await openEureka(options),
    await openHttp(options),
  ];
  return doors.filter((door) => door !== undefined);
}

async function contextOf({ state, clock, random, log, face }: DoorsOptions, dialect: string): Promise<DoorContext> {
  return {
    place: "sidecar",
    directory: face,
    onConsumer: (service, timeoutMs) => face.consumer(service, timeoutMs),
    standIn: (service) => face.standIn(service),
    journal: await state.journal(`door-${dialect}`),
    epoch: state.epoch,
    clock,
    random,
    log: log.child({ door: dialect }),
  };
}

async function openZooKeeper(options: DoorsOptions): Promise<OpenDoor | undefined> {
  const { config, free, scope, dropped, ports, still, clock } = options;
  if (config.doors.zookeeper === false) return undefined;
  const door = await openZooKeeperDoor(await contextOf(options, "zookeeper"));
  scope.use(door);
  const maxConnections = config.limits.doorConnections;
  const host = await free("doors.zookeeper.port", config.doors.zookeeper.port, usualPorts.zookeeper, (port) =>
    hostDoor(door, { host: loopback, port, maxConnections, dropped, ports, stays: { still, key: "zookeeper", clock } }),
  );
  scope.defer(() => host.close());
  return { port: host.port, door };
}

/** `mesh://` says neither host nor port of a provider, and its clients call one port only, whatever they are told. */
async function openMesh(options: DoorsOptions): Promise<OpenDoor | undefined> {
  const { config, apps, meshOutbound } = options;
  if (meshOutbound === undefined) return undefined;
  const door = await openMeshDoor(await contextOf(options, "mesh"), {
    boltPort: (application) => boltPortOf(config, application),
    advertise: config.advertise ?? machineAddress(),
    outboundPort: meshOutbound.port,
    untilAccepting: (host, appPort, signal) => apps.untilAccepting(host, appPort, signal),
  });
  return openHttpPort(options, door, "doors.mesh.port", meshDoorOf(config)?.port, usualPorts.mesh);
}

async function openEureka(options: DoorsOptions): Promise<OpenDoor | undefined> {
  const { eureka } = options.config.doors;
  if (eureka === false) return undefined;
  const door = await openEurekaDoor(await contextOf(options, "eureka"));
  return openHttpPort(options, door, "doors.eureka.port", eureka.port, usualPorts.eureka);
}

async function openHttp(options: DoorsOptions): Promise<OpenDoor | undefined> {
  const { config } = options;
  const { http } = config.doors;
  if (http === false) return undefined;
  const door = await openHttpDoor(await contextOf(options, "http"), {
    advertise: config.advertise ?? machineAddress(),
    addressNamed: (protocol) => isAddressed(`${protocol}/`),
    // Each stream of events holds a connection, and some are left for short questions.
    limits: { streams: Math.ceil(config.limits.doorConnections * 0.9) },
  });
  return openHttpPort(options, door, "doors.http.port", http.port, usualPorts.http);
}

async function openHttpPort(
  { config, free, scope, clock, log, dropped, ports }: DoorsOptions,
  door: HttpDoor,
  key: string,
  configured: number | undefined,
  usual: number,
): Promise<OpenDoor> {
  scope.use(door);
  const host = await free(key, configured, usual, (port) =>
    openHttpHost({
      host: loopback,
      port,
      service: door.handle,
      clock,
      log: log.child({ door: door.dialect }),
      maxConnections: config.limits.doorConnections,
      maxBodyBytes,
      dropped,
      onlyLocal: { names: [] },
      bind: ports.atOnce,
    }),
  );
  scope.defer(() => host.close());
  return { port: host.port, door };
}
