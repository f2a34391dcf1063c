/**
 * The registry's doors for applications that speak another registry's protocol: each has a port, shows real addresses, and keeps its
 * sessions in a journal of its own.
 */
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import { openHttpHost } from "@dualmesh/base/http/host";
import type { Scope } from "@dualmesh/base/scope";
import type { Door, DoorContext } from "@dualmesh/dialects/door";
import { openEurekaDoor } from "@dualmesh/dialects/eureka/door";
import { openHttpDoor } from "@dualmesh/dialects/http/door";
import type { HttpDoor } from "@dualmesh/dialects/http-door";
import { openZooKeeperDoor } from "@dualmesh/dialects/zookeeper/door";
import type { Directory } from "@dualmesh/model/directory";
import { openDoorHost } from "./door-host.ts";
import type { RegistryOptions } from "./registry.ts";

export interface OpenDoor {
  readonly door: Pick<Door, "dialect" | "sessions">;
  readonly port: number;
  readonly connections: () => number;
  /** Connections turned away at a limit. */
  readonly refused: () => number;
}

/** Opens those that are configured. Rejects with `listen.…`, `state.…`. */
export async function openDoors(
  options: RegistryOptions,
  directory: Directory,
  scope: Scope,
): Promise<readonly OpenDoor[]> {
  const doors = [
    await openZooKeeper(options, directory, scope),
    await openEureka(options, directory, scope),
    await openHttp(options, directory, scope),
  ];
  return doors.filter((door) => door !== undefined);
}

async function contextOf(
  { state, clock, random, log }: RegistryOptions,
  directory: Directory,
  dialect: string,
): Promise<DoorContext> {
  const journal = await state.journal(`door-${dialect}`);
  return {
    place: "registry",
    directory,
    journal,
    epoch: state.epoch,
    clock,
    random,
    log: log.child({ door: dialect }),
  };
}

async function openZooKeeper(
  options: RegistryOptions,
  directory: Directory,
  scope: Scope,
): Promise<OpenDoor | undefined> {
  const { config, clock, log } = options;
  if (config.doors.zookeeper === false) return undefined;
  const registrationsPerSession = config.limits.sessionInstances;
  const nodesPerSession = 2 * registrationsPerSession; // consumers and what is written at application level come on top
  const limits = { registrationsPerSession, nodesPerSession };
  const door = await openZooKeeperDoor(await contextOf(options, directory, "zookeeper"), { limits });
  scope.use(door);
  const { port } = config.doors.zookeeper;
  const maxConnections = config.limits.doorConnections;
  const { listener } = await named(
    "zookeeper",
    openDoorHost({ door, host: config.listen, port, maxConnections, clock, log }),
  );
  scope.defer(() => listener.close());
  return { door, port: listener.port, connections: () => listener.connections, refused: () => listener.refused };
}

async function openEureka(options: RegistryOptions, directory: Directory, scope: Scope): Promise<OpenDoor | undefined> {
  const { eureka } = options.config.doors;
  if (eureka === false) return undefined;
  const door = await openEurekaDoor(await contextOf(options, directory, "eureka"));
  return openHttpPort(options, door, eureka.port, scope);
}

async function openHttp(options: RegistryOptions, directory: Directory, scope: Scope): Promise<OpenDoor | undefined> {
  const { http } = options.config.doors;
  if (http === false) return undefined;
  const door = await openHttpDoor(await contextOf(options, directory, "http"));
  return openHttpPort(options, door, http.port, scope);
}

/** A port that is taken is told with its key, since nobody may have configured it. */
async function named<Opened>(dialect: string, opening: Promise<Opened>): Promise<Opened> {
  try {
    return await opening;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    const text = `doors.${dialect}.port: ${error.message}, or keep this door shut by doors.${dialect}: false`;
    throw new MeshError(error.code, text, error.details, { cause: error });
  }
}

/** What any door that speaks HTTP is sent at once. */
const maxBodyBytes = 256 * 1024;

async function openHttpPort(
  { config, clock, log }: RegistryOptions,
  door: HttpDoor,
  port: number,
  scope: Scope,
): Promise<OpenDoor> {
  scope.use(door);
  let refused = 0;
  const isLocal = /^(?:127\.|localhost$|::1$)/.test(config.listen);
  const opening = openHttpHost({
    host: config.listen,
    port,
    service: door.handle,
    clock,
    log: log.child({ door: door.dialect }),
    maxConnections: config.limits.doorConnections,
    maxBodyBytes,
    dropped: () => {
      refused++;
    },
    ...(isLocal ? { onlyLocal: { names: [] } } : {}),
  });
  const host = await named(door.dialect, opening);
  scope.defer(() => host.close());
  return { door, port: host.port, connections: () => host.connections, refused: () => refused };
}
