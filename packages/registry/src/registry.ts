/**
 * The registry: loads what it kept, opens its doors, and only then listens. `openRegistryCore` is the whole of it without sockets,
 * so that a simulation can run it; `startRegistry` puts it behind its ports.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import { Scope } from "@dualmesh/base/scope";
import type { Journal } from "@dualmesh/base/state/journal";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { Instance } from "@dualmesh/model/instance";
import { type Channel, type ChannelEvents, PartialBytes } from "@dualmesh/wire/stream/channel";
import type { GoodbyeReason } from "@dualmesh/wire/stream/messages";
import { compareRevisions } from "@dualmesh/wire/stream/messages";
import type { RegistryConfig } from "./config.ts";
import { StreamConnection, type StreamCounts, type StreamHost } from "./connection.ts";
import { LocalDirectory } from "./directory.ts";
import { type OpenDoor, openDoors } from "./doors.ts";
import { Instances } from "./instance.ts";
import { MemoryStore } from "./memory-store.ts";
import { type Loaded, RegistryJournal } from "./persist.ts";
import { Pusher } from "./push.ts";
import { Sessions, type SessionsOptions } from "./session.ts";
import {
  bindWarnings,
  instancesOf,
  type RegistryStatus,
  registryMetrics,
  registryStatus,
  type StatusSource,
} from "./status.ts";
import type { Store } from "./store.ts";
import { type Listener, listen } from "./tcp.ts";

/** The registry's state directory as far as it is used here; its owner closes it after the registry. */
export interface RegistryState {
  /** Grows at every start. */
  readonly epoch: number;
  /** Opens a journal of this name; it is closed with the state directory. */
  journal(name: string): Promise<Journal>;
}

export interface RegistryOptions {
  readonly config: RegistryConfig;
  readonly state: RegistryState;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface RunningRegistry {
  readonly streamPort: number;
  /** The ports of its open doors, by dialect. */
  readonly doors: Readonly<Record<string, number>>;
  readonly epoch: number;
  /** True once nobody from before the restart is missing any more. */
  readonly settled: boolean;
  status(): RegistryStatus;
  instances(service: string): readonly Instance[];
  /** Prometheus text. */
  metrics(): string;
  /** Tells the clients, which keep what they have and come back; nothing that they published is taken out. */
  close(): Promise<void>;
}

/** The registry without sockets. */
export interface RegistryCore {
  readonly store: Store;
  readonly instances: Instances;
  readonly sessions: Sessions;
  readonly pusher: Pusher;
  readonly directory: LocalDirectory;
  readonly connections: ReadonlySet<StreamConnection>;
  readonly counts: StreamCounts;
  connect(channel: Channel): ChannelEvents;
  /** Says goodbye to everybody and stops all timers. */
  close(reason: GoodbyeReason): Promise<void>;
  /** Stops all timers and says nothing: as far as clients can see, the process is gone. */
  stop(): void;
}

export async function openRegistryCore(options: RegistryOptions): Promise<RegistryCore> {
  const { config, state, clock, random, log } = options;
  const { epoch } = state;
  const journal = new RegistryJournal(await state.journal("registry"));
  const loaded = await journal.load(random, epoch);
  if (loaded.damaged > 0) log.warn({ entries: loaded.damaged }, "entries of the state file could not be read");
  const store = new MemoryStore(epoch);
  const instances = new Instances({ store, journal, epoch, limits: config.limits });
  instances.load(loaded.rows);
  const connections = new Set<StreamConnection>();
  const onSettled = (): void => {
    for (const connection of connections) connection.settled();
  };
  const sessions = openSessions(options, loaded, { instances, journal, onSettled });
  const pusher = new Pusher(store, clock, config.tickMs);
  const local = sessions.newId();
  const directory = new LocalDirectory({ store, instances, journal, pusher, clock, session: local });
  instances.onSuperseded = (former, owner) => {
    const connection = sessions.get(former.session)?.connection;
    if (connection instanceof StreamConnection) connection.superseded(former, owner);
    else if (compareRevisions(former.session, local) === 0) directory.superseded(former);
  };
  const counts = newCounts();
  const host: StreamHost = {
    config,
    store,
    instances,
    sessions,
    pusher,
    clock,
    log,
    epoch,
    counts,
    told: new ThrottledLog({ log, clock }),
    registryId: loaded.registryId,
    partialFrames: new PartialBytes(maxPartialBytes),
    onClosed: (connection) => void connections.delete(connection),
  };
  // Encoded snapshots are worth keeping while many ask for the same, not for good.
  const drops = clock.every(config.pingMs, () => store.dropSnapshots());
  const stop = (): void => {
    drops.cancel();
    sessions.close();
    pusher.close();
  };
  return {
    store,
    instances,
    sessions,
    pusher,
    directory,
    connections,
    counts,
    stop,
    connect(channel) {
      counts.accepted++;
      const connection = new StreamConnection(host, channel);
      connections.add(connection);
      return connection;
    },
    async close(reason) {
      for (const connection of [...connections]) connection.goodbye(reason, "the registry stops");
      stop();
      await journal.flushed();
    },
  };
}

/** Begins the restart window: from here on lost sessions are waited for. */
function openSessions(
  { config, state, clock, random, log }: RegistryOptions,
  { complete, sessions }: Loaded,
  parts: Pick<SessionsOptions, "instances" | "journal" | "onSettled">,
): Sessions {
  const { graceMs, restartWindowMs, limits } = config;
  // Lost sessions count too, so that connecting and vanishing in a loop fills nothing.
  const maxSessions = limits.connections * 2;
  const options = { ...parts, clock, random, log, epoch: state.epoch, graceMs, restartWindowMs, maxSessions, complete };
  return new Sessions(options, sessions);
}

/** Incomplete frames of all connections of the stream together. */
const maxPartialBytes = 64 * 1024 * 1024;

/** Loads, opens the doors, listens. Rejects with `listen.port-taken` and its like when a port cannot be had. */
export async function startRegistry(options: RegistryOptions): Promise<RunningRegistry> {
  const { config, state, log } = options;
  const scope = new Scope(log);
  try {
    const core = await openRegistryCore(options);
    scope.defer(() => core.close("shutting-down"));
    const doors = await openDoors(options, core.directory, scope);
    const stream = await listen({
      host: config.listen,
      port: config.stream.port,
      maxConnections: config.limits.connections,
      clock: options.clock,
      log,
      accept: (channel) => core.connect(channel),
    });
    scope.defer(() => stream.close());
    // Goodbyes leave before the port cuts its connections.
    scope.defer(() => core.close("shutting-down"));
    for (const warning of bindWarnings(config.listen)) log.warn({ listen: config.listen }, warning);
    log.info({ listen: config.listen, stream: stream.port, epoch: state.epoch }, "the registry listens");
    return runningRegistry(options, core, stream, doors, scope);
  } catch (error) {
    await scope.end();
    throw error;
  }
}

function runningRegistry(
  { config, state }: RegistryOptions,
  core: RegistryCore,
  stream: Listener,
  doors: readonly OpenDoor[],
  scope: Scope,
): RunningRegistry {
  const source: StatusSource = {
    ...core,
    doors,
    epoch: state.epoch,
    listen: config.listen,
    streamPort: () => stream.port,
    streamRefused: () => stream.refused,
  };
  return {
    streamPort: stream.port,
    doors: Object.fromEntries(doors.map(({ door, port }) => [door.dialect, port])),
    epoch: state.epoch,
    get settled() {
      return core.sessions.settled;
    },
    status: () => registryStatus(source),
    instances: (service) => instancesOf(core.store, service),
    metrics: () => registryMetrics(source),
    close: () => scope.end(),
  };
}

function newCounts(): StreamCounts {
  return {
    accepted: 0,
    refused: 0,
    malformed: 0,
    helloTimeouts: 0,
    takeovers: 0,
    resumed: 0,
    slowConsumers: 0,
    silent: 0,
    slowFrames: 0,
    resyncs: 0,
  };
}
