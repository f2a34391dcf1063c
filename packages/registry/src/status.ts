/** What the admin port and `dualmesh status` show of a registry: plain data, without secrets, bounded. */
import { MetricsPage } from "@dualmesh/base/metrics";
import type { DoorSession } from "@dualmesh/dialects/door";
import type { Instance } from "@dualmesh/model/instance";
import { revisionText } from "@dualmesh/wire/stream/messages";
import { decodeInstance } from "@dualmesh/wire/stream/record";
import type { StreamConnection, StreamCounts } from "./connection.ts";
import type { OpenDoor } from "./doors.ts";
import type { Instances } from "./instance.ts";
import type { Pusher } from "./push.ts";
import type { Sessions } from "./session.ts";
import type { Store } from "./store.ts";

export interface SessionStatus {
  readonly session: string;
  readonly node: string;
  readonly kind: string;
  readonly agent: string;
  readonly remote: string;
  readonly instances: number;
  readonly subscriptions: number;
  /** The revision up to which the client says that everything is in force. */
  readonly applied: string;
  /** Wall time in milliseconds since which it has no connection; 0 while it has one. */
  readonly lostSince: number;
}

export interface ServiceStatus {
  readonly service: string;
  readonly applications: readonly string[];
  readonly instances: number;
}

export interface DoorStatus {
  readonly dialect: string;
  readonly port: number;
  readonly connections: number;
  readonly sessions: readonly DoorSession[];
}

export interface RegistryStatus {
  readonly epoch: number;
  readonly revision: string;
  readonly settled: boolean;
  readonly listen: string;
  /** What an operator should know and mend. */
  readonly warnings: readonly string[];
  readonly streamPort: number;
  readonly instanceCount: number;
  readonly serviceCount: number;
  readonly sessions: readonly SessionStatus[];
  readonly services: readonly ServiceStatus[];
  readonly doors: readonly DoorStatus[];
}

export interface StatusSource {
  readonly epoch: number;
  readonly listen: string;
  readonly streamPort: () => number;
  readonly streamRefused: () => number;
  readonly store: Store;
  readonly sessions: Sessions;
  readonly instances: Instances;
  readonly pusher: Pusher;
  readonly connections: ReadonlySet<StreamConnection>;
  readonly doors: readonly OpenDoor[];
  readonly counts: StreamCounts;
}

/** Lists are cut here, since an answer about a large registry must not stop it. */
const maxListed = 10_000;

export function registryStatus(source: StatusSource): RegistryStatus {
  const { store, sessions, instances, doors, epoch, listen } = source;
  const byText = new Map([...source.connections].map((connection) => [connection.session?.text, connection]));
  return {
    epoch,
    revision: revisionText(store.revision),
    settled: sessions.settled,
    listen,
    warnings: bindWarnings(listen),
    streamPort: source.streamPort(),
    instanceCount: store.instanceCount,
    serviceCount: store.serviceCount,
    sessions: firstOf(sessions.all).map((session) => ({
      session: session.text,
      node: session.nodeId,
      kind: session.kind,
      agent: session.agent,
      remote: session.connection?.remote ?? "",
      instances: instances.countOf(session.id),
      subscriptions: byText.get(session.text)?.subscriptions.size ?? 0,
      applied: revisionText(byText.get(session.text)?.applied ?? { epoch: 0, counter: 0 }),
      lostSince: session.lostSince,
    })),
    services: firstOf(store.services()),
    doors: doors.map(({ door, port, connections }) => ({
      dialect: door.dialect,
      port,
      connections: connections(),
      sessions: door.sessions().slice(0, maxListed),
    })),
  };
}

/** The instances of one service, at most `maxListed`. */
export function instancesOf(store: Store, service: string): Instance[] {
  return firstOf(store.rowsOf(service)).map((row) => decodeInstance(service, row.record));
}

export function registryMetrics(source: StatusSource): string {
  const { store, sessions, instances, pusher, connections, doors, counts } = source;
  let lost = 0;
  for (const session of sessions.all) if (session.connection === undefined) lost++;
  const outcomes = Object.entries(instances.counts).map(([outcome, count]) => [{ outcome }, count] as const);
  const events = Object.entries(counts).map(([event, count]) => [{ event }, count] as const);
  return new MetricsPage()
    .gauge("dualmesh_registry_instances", "Instances held", store.instanceCount)
    .gauge("dualmesh_registry_services", "Services with at least one instance", store.serviceCount)
    .gauge("dualmesh_registry_settled", "1 when the restart window has passed", sessions.settled ? 1 : 0)
    .gauge("dualmesh_registry_epoch", "Starts of this registry", source.epoch)
    .gauge("dualmesh_registry_sessions", "Sessions of the stream", [
      [{ state: "connected" }, sessions.count - lost],
      [{ state: "lost" }, lost],
    ])
    .gauge("dualmesh_registry_connections", "Open connections", [
      [{ port: "stream" }, connections.size],
      ...doors.map((one) => [{ port: one.door.dialect }, one.connections()] as const),
    ])
    .counter("dualmesh_registry_connections_refused_total", "Connections turned away at a limit", [
      [{ port: "stream" }, source.streamRefused()],
      ...doors.map((one) => [{ port: one.door.dialect }, one.refused()] as const),
    ])
    .gauge("dualmesh_registry_subscriptions", "Subscriptions of all connections", pusher.subscriptions)
    .counter("dualmesh_registry_instance_events_total", "What became of registers and leases", outcomes)
    .counter("dualmesh_registry_stream_events_total", "What happened to connections of the stream", events)
    .counter("dualmesh_registry_push_ticks_total", "Times that changes were gathered and sent", pusher.counts.ticks)
    .counter("dualmesh_registry_push_flushes_total", "Writes of changes to connections", pusher.counts.flushes)
    .counter("dualmesh_registry_push_frames_total", "Frames of changes sent", pusher.counts.frames)
    .counter("dualmesh_registry_push_bytes_total", "Bytes of changes sent", pusher.counts.bytes)
    .toString();
}

/** Whoever reaches a registry may publish and read, until clients can be authenticated. */
export function bindWarnings(listen: string): string[] {
  if (/^(127\.|localhost$|::1$)/.test(listen)) return [];
  return [
    `listens on ${listen} without authentication: everybody who reaches it may publish; bind to 127.0.0.1 or shield it`,
  ];
}

function firstOf<T>(items: Iterable<T>): T[] {
  const first: T[] = [];
  for (const item of items) {
    if (first.length >= maxListed) break;
    first.push(item);
  }
  return first;
}
