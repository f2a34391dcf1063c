/**
 * One crossing: the door before the ensemble that one application's registry connections go through, with a port for each server, and the
 * decisions that the door asks for. What is decided is on disk before it is done; only the way back to the application's own addresses is gone
 * when the disk takes nothing as well.
 */
import type { Clock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Journal } from "@dualmesh/base/state/journal";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { DoorPeer, Standing } from "@dualmesh/dialects/door";
import { type BeforeDoor, openBeforeDoor, type StepOptions } from "@dualmesh/dialects/zookeeper/before/door";
import type { SessionModes, UpstreamEvents } from "@dualmesh/dialects/zookeeper/before/owner";
import type { Wanted } from "@dualmesh/dialects/zookeeper/layout";
import type { Crossing, CrossingDoor, CrossingStepArguments, Place } from "@dualmesh/model/crossing";
import type { Face } from "../face/face.ts";
import type { DoorHost, HostedDoor } from "../transport/door-host.ts";
import type { Transport } from "../transport/transport.ts";
import { readServer } from "./arguments.ts";
import { CarriedInstances } from "./carried-instances.ts";
import type { CrossingKeep, CrossingRecord } from "./keep.ts";
import { ShownServices } from "./shown-services.ts";
import { Turn } from "./turn.ts";
import { adoptUpstream, type DialServer, openUpstream, type ServerConnection } from "./upstream.ts";
import { crossingOf } from "./view.ts";

export interface CrossingContext {
  readonly face: Pick<Face, "carry" | "watch" | "consumer">;
  /** True when a call to the service at the outbound port finds a provider. */
  readonly reaches: (service: string) => boolean;
  readonly outbound: { readonly host: string; readonly port: number };
  readonly keep: CrossingKeep;
  /** The doors' own: what they have taken back at the ensemble. */
  readonly entries: Journal;
  readonly dial: DialServer;
  /** Opens a port of a door on loopback: the one that it had, or one that is free. Rejects with `listen.…`. */
  readonly listen: (door: CrossingDoorHost, host: string, port: number | undefined) => Promise<DoorHost>;
  readonly dubboRoot: string;
  readonly sofaRoot: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** What stands behind a port of a crossing's door. */
export interface CrossingDoorHost extends HostedDoor {
  /** The same in the process before and after. */
  readonly key: string;
}

type Side = "provides" | "consumes";

/** How long a service that is to be called through the sidecar may take to be known. */
const knownWithinMs = 5_000;
const restoredWithinMs = 2_000;
/** Sessions for which something else was decided than for the crossing. */
const maxOwnModes = 1_000;
/** Names of applications; one crossing is of one process, which has one. */
const maxCallers = 16;

export class OpenCrossing {
  readonly #context: CrossingContext;
  #record: CrossingRecord;
  readonly #door: BeforeDoor;
  readonly #carried: CarriedInstances;
  readonly #shown: ShownServices;
  readonly #hosts = new Map<string, DoorHost>();
  /** Which server a connection of the application called. */
  readonly #called = new WeakMap<DoorPeer, string>();
  /** The connection to it; for one that another process sent, before the door goes on with it. */
  readonly #servers = new WeakMap<DoorPeer, ServerConnection>();
  readonly #sent = new WeakMap<DoorPeer, Transport>();
  /** Those that said what they will call. */
  readonly #callers = new Set<string>();
  #closed = false;
  readonly #turns: Readonly<Record<Side, Turn>> = { provides: new Turn(), consumes: new Turn() };

  constructor(record: CrossingRecord, context: CrossingContext) {
    const { keep, clock, log, face, dial, entries, dubboRoot, sofaRoot } = context;
    const { name, host, chroots } = record;
    const told = new ThrottledLog({ clock, log });
    this.#context = context;
    this.#record = record;
    const carried = new CarriedInstances({ face, keep, log, name, host });
    this.#carried = carried;
    const onChange = (): void => this.#door.refresh();
    const shown = new ShownServices({ ...context, told, name, onChange });
    this.#shown = shown;
    const owner = {
      open: (client: DoorPeer, events: UpstreamEvents) => {
        const server = openUpstream(dial, readServer(this.#called.get(client) ?? ""), events);
        this.#servers.set(client, server);
        return server;
      },
      adopted: (client: DoorPeer, events: UpstreamEvents) => {
        const sent = this.#sent.get(client);
        const server = sent && adoptUpstream(sent, events);
        if (server !== undefined) this.#servers.set(client, server);
        return server;
      },
      modes: ({ id }: { readonly id: string }) => this.#modesOf(id),
      published: carried.published.bind(carried),
      carried: carried.carried.bind(carried),
      original: carried.original.bind(carried),
      shown: shown.shown.bind(shown),
      wants: ({ application, services, timeoutMs }: Wanted) => {
        if (this.#callers.size < maxCallers) this.#callers.add(application);
        for (const service of services) face.consumer(service, timeoutMs);
        if (this.#record.consumes === "mesh") for (const service of services) shown.expect(service);
      },
    };
    const roots = { dubboRoots: [dubboRoot], sofaRoots: [sofaRoot] };
    this.#door = openBeforeDoor({ owner, journal: entries, clock, log }, { ...roots, chroots });
  }

  get name(): string {
    return this.#record.name;
  }

  get record(): CrossingRecord {
    return this.#record;
  }

  /** Anybody's applications depend on it now. */
  get connections(): number {
    return [...this.#hosts.values()].reduce((sum, { connections }) => sum + connections, 0);
  }

  applications(): readonly string[] {
    return [...this.#callers, ...this.#door.sessions().map(({ application }) => application)];
  }

  /** What stood behind published ports stands there again, and stand-ins lead somewhere. */
  async restore(): Promise<void> {
    await this.#carried.restore();
    if (this.#someConsumeInMesh()) await this.#shown.restore(restoredWithinMs);
  }

  /** Has a port for each server, and the disk know of them. Rejects with `listen.…`, `state.…`. */
  async open(servers: readonly string[]): Promise<void> {
    const doors: CrossingDoor[] = [];
    for (const server of servers) {
      const host = this.#hosts.get(server) ?? (await this.#listen(server));
      doors.push({ server, port: host.port });
    }
    await this.#keep({ doors });
  }

  async provide(asked: CrossingStepArguments): Promise<void> {
    await this.#step("provides", asked, async (only, options) => {
      const registrations = this.#door.registrations().filter(({ session }) => only(session));
      if (registrations.length === 0 && asked.to === "mesh") {
        const [other] = this.#door.uncarried().filter(({ session }) => only(session));
        if (other !== undefined) throw notCarried(other.instance.service, this.#carried.bypassed(other.instance));
      }
      const paths = [...new Set(registrations.map(({ path }) => path))];
      const move = asked.to === "mesh" ? this.#door.toMesh.bind(this.#door) : this.#door.toDirect.bind(this.#door);
      try {
        await all(paths.map((path) => move(path, options)));
      } catch (error) {
        const [first] = registrations;
        if (first === undefined || !isMeshError(error, "zookeeper.not-carried")) throw error;
        throw notCarried(first.instance.service, this.#carried.bypassed(first.instance));
      }
    });
  }

  async consume(asked: CrossingStepArguments): Promise<void> {
    await this.#step("consumes", asked, async (only, options, signal) => {
      const sessions = this.#door.consumers().filter(({ session }) => only(session));
      if (asked.to === "mesh") await this.#prepare(sessions, signal);
      const move = asked.to === "mesh" ? "consumerToMesh" : "consumerToDirect";
      await all(sessions.map(({ session }) => this.#door[move](session, options)));
      if (!this.#someConsumeInMesh() && this.#door.consumers().every(({ state }) => state === "direct"))
        this.#shown.clear();
    });
    await this.#flushed(asked.to);
  }

  view(): Crossing {
    const { name, doors, chroots, host, provides, consumes } = this.#record;
    const { connections } = this;
    const shape = { name, doors, chroots, host, provides, consumes, connections };
    return crossingOf(shape, this.#door, this.#carried);
  }

  /** Nothing comes through any more; what is published goes on being served for a while, unless the process ends. Rejects with `crossing.closed` when that comes in between. */
  async close(how: "for good" | "with the process"): Promise<void> {
    if (how === "for good") await this.#bringBack();
    if (this.#closed) throw closedError(this.name);
    this.#closed = true;
    for (const turn of Object.values(this.#turns)) turn.end();
    await Promise.all([...this.#hosts.values()].map((host) => host.close()));
    this.#hosts.clear();
    await this.#door[Symbol.asyncDispose]();
    if (how === "for good") {
      this.#shown.clear();
      this.#carried.release();
    } else this.#shown.close();
  }

  /**
   * Whoever still comes through goes back to its own addresses first: what it wrote would name ports that nobody serves any more, and it would
   * not write it again. It may be another process than the one that this was opened for. What has no connection is not waited for.
   */
  async #bringBack(): Promise<void> {
    const { sessions: seen, registrations } = this.view();
    const connected = seen.filter((session) => session.connected);
    const sessions = connected.map(({ id }) => id);
    const isInMesh =
      connected.some(({ consumes }) => consumes !== "direct") ||
      registrations.some(({ session, state }) => state !== "direct" && sessions.includes(session));
    if (!isInMesh) return;
    const { name, log } = { name: this.name, log: this.#context.log };
    log.warn(
      { crossing: name, sessions },
      "a crossing is closed through which somebody is in the mesh, who is brought back",
    );
    try {
      await this.#keep({ provides: "direct", consumes: "direct", sessions: {} }, "direct");
      const back: CrossingStepArguments = { name, to: "direct", sessions };
      await all([this.provide(back), this.consume(back)]);
    } catch (error) {
      log.error(
        { crossing: name, error: messageOf(error) },
        "not everybody could be brought back before the crossing was closed",
      );
    }
  }

  async #listen(server: string): Promise<DoorHost> {
    const kept = this.#record.doors.find((door) => door.server === server)?.port;
    const loopback = readServer(server).host.includes(":") ? "::1" : "127.0.0.1";
    const door: CrossingDoorHost = {
      key: `crossing:${this.name}:${server}`,
      connect: (peer) => {
        this.#called.set(peer, server);
        return this.#door.connect(peer);
      },
      adopt: (peer: DoorPeer, standing: Standing, [sent]: readonly Transport[]) => {
        this.#called.set(peer, server);
        if (sent !== undefined) this.#sent.set(peer, sent);
        return this.#door.adopt?.(peer, standing);
      },
      beside: (peer) => {
        const transport = this.#servers.get(peer)?.transport;
        return transport === undefined ? [] : [transport];
      },
    };
    const host = await this.#context.listen(door, loopback, kept);
    if (this.#closed) {
      await host.close();
      throw closedError(this.name);
    }
    this.#hosts.set(server, host);
    return host;
  }

  /** Decides, and does what follows for what is there already. */
  #step(
    side: Side,
    { to, sessions, overlapMs }: CrossingStepArguments,
    work: (only: (session: string) => boolean, options: StepOptions, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    return this.#turns[side].take(to, (sessions ?? []).join(), async (signal) => {
      const before = this.#record;
      await this.#decide(side, to, sessions);
      const only = (session: string): boolean => sessions === undefined || sessions.includes(session);
      try {
        await work(only, { signal, ...(overlapMs === undefined ? {} : { overlapMs }) }, signal);
      } catch (error) {
        if (isMeshError(error, "crossing.not-carried"))
          await this.#keep({ [side]: before[side], sessions: before.sessions });
        throw error;
      }
    });
  }

  async #decide(side: Side, to: Place, sessions: readonly string[] | undefined): Promise<void> {
    const known = Object.entries(this.#record.sessions);
    if (sessions === undefined) {
      const other: Side = side === "provides" ? "consumes" : "provides";
      const left = known.flatMap(([id, modes]) => {
        const place = modes[other];
        return place === undefined ? [] : [[id, { [other]: place }] as const];
      });
      return this.#keep({ [side]: to, sessions: Object.fromEntries(left) }, to);
    }
    const told = sessions.map((id) => [id, { ...this.#record.sessions[id], [side]: to }] as const);
    const others = known.filter(([id]) => !sessions.includes(id));
    // Ids are not used again: those of long ago are the ones that nobody has any more.
    return this.#keep({ sessions: Object.fromEntries([...others, ...told].slice(-maxOwnModes)) }, to);
  }

  async #prepare(sessions: readonly { readonly session: string }[], signal: AbortSignal): Promise<void> {
    const lists = await Promise.all(sessions.map(({ session }) => this.#door.lists(session)));
    const services = new Set(lists.flat(2).flatMap(({ instances }) => instances.map(({ service }) => service)));
    const without = await this.#shown.prepare([...services], knownWithinMs, signal);
    await this.#flushed("mesh");
    const [first] = without;
    if (first !== undefined && without.length === services.size)
      throw notCarried(first, "the sidecar knows no provider of it that it can call");
    if (first === undefined) return;
    const fields = { crossing: this.name, services: without.slice(0, 20), count: without.length };
    this.#context.log.warn(fields, "services are called past the sidecar, which cannot carry them");
  }

  #modesOf(session: string): SessionModes {
    const { provides, consumes, sessions } = this.#record;
    const own = sessions[session];
    return { provides: own?.provides ?? provides, consumes: own?.consumes ?? consumes };
  }

  #someConsumeInMesh(): boolean {
    const { consumes, sessions } = this.#record;
    return consumes === "mesh" || Object.values(sessions).some((modes) => modes.consumes === "mesh");
  }

  async #keep(change: Partial<CrossingRecord>, to: Place = "mesh"): Promise<void> {
    if (this.#closed) throw closedError(this.name);
    this.#record = { ...this.#record, ...change };
    this.#context.keep.put(this.#record);
    await this.#flushed(to);
  }

  /** Nobody is kept in the mesh by a full disk. What it does not take now it is given again. */
  async #flushed(to: Place): Promise<void> {
    try {
      await this.#context.keep.flushed();
    } catch (error) {
      if (to === "mesh" || !isMeshError(error, "state.write-failed")) throw error;
      const fields = { crossing: this.name, error: error.message };
      this.#context.log.warn(fields, "a crossing goes back though the disk does not take that");
    }
  }
}

/**
 * Does all of it, whatever fails, and then says what failed first. What the application took away meanwhile is no failure, and what cannot
 * be carried only when that is everything.
 */
async function all(steps: readonly Promise<void>[]): Promise<void> {
  const failures = (await Promise.allSettled(steps)).flatMap((one) =>
    one.status === "rejected" &&
    !isMeshError(one.reason, "zookeeper.unknown") &&
    !isMeshError(one.reason, "zookeeper.withdrawn")
      ? [one.reason as unknown]
      : [],
  );
  const [first] = failures.filter((reason) => !isMeshError(reason, "zookeeper.not-carried"));
  if (first !== undefined) throw first;
  const [refused] = failures;
  if (refused !== undefined && failures.length === steps.length) throw refused;
}

function closedError(name: string): MeshError {
  return new MeshError("crossing.closed", `the crossing ${name} was closed`);
}

function notCarried(service: string, reason: string): MeshError {
  return new MeshError("crossing.not-carried", `${service} cannot be carried: ${reason}`, { service, reason });
}
