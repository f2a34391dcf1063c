/**
 * The sidecar: its ports, its doors, its face and its data plane, put together in the order in which they may rely on each other, and ended in
 * the reverse. What it publishes is taken back first, and what callers still send is served until they have heard of it.
 */
import type { AdminRoute } from "@dualmesh/base/admin/server";
import { jsonReply, textReply } from "@dualmesh/base/admin/server";
import { type Clock, sleep } from "@dualmesh/base/clock";
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { metricsContentType } from "@dualmesh/base/metrics";
import type { Random } from "@dualmesh/base/random";
import { Scope } from "@dualmesh/base/scope";
import type { ControlHandler } from "@dualmesh/base/state/control-socket";
import type { Journal } from "@dualmesh/base/state/journal";
import type { StateDirectory } from "@dualmesh/base/state/state";
import { Apps } from "./apps/apps.ts";
import type { SidecarConfig } from "./config.ts";
import { crossingCommands } from "./crossing/commands.ts";
import type { Crossings } from "./crossing/crossings.ts";
import { DataSide } from "./data-side.ts";
import { openDirectory, type SidecarDirectory } from "./directory/directory.ts";
import { type FreePort, type OpenDoor, openDoors } from "./doors.ts";
import { CarriedProtocols, isAddressed } from "./face/carriage.ts";
import { publishDeclared } from "./face/declared.ts";
import { type Face, openFace } from "./face/face.ts";
import { StandIns } from "./face/stand-ins.ts";
import { listenAtFreePort } from "./ports/free-port.ts";
import { choosePair, type PortPair, pairStep } from "./ports/port-pair.ts";
import { PortTable } from "./ports/port-table.ts";
import { ServiceAddresses } from "./ports/service-addresses.ts";
import { Ready } from "./ready.ts";
import { SnapshotFeed } from "./request/feed.ts";
import { RouteGate } from "./request/gate.ts";
import { loopbackRangeOf, meshDoorOf, usualPorts } from "./settings.ts";
import { isLoopback, type Listener, listen } from "./transport/listener.ts";
import { machineAddress } from "./transport/machine.ts";
import type { PublishedPorts } from "./transport/published-ports.ts";
import { probe } from "./transport/tcp.ts";
import type { Transport } from "./transport/transport.ts";
import type { Before, Taken } from "./upgrade/taken.ts";

export interface SidecarOptions {
  readonly config: SidecarConfig;
  /** The same as anybody may see it. */
  readonly shown: unknown;
  readonly state: StateDirectory;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** What another process, or this one before, had begun. */
  readonly taken?: Taken;
}

export interface RunningSidecar {
  readonly outboundPort: number;
  readonly inboundPort: number;
  /** The ports of its open doors, by dialect. */
  readonly doors: Readonly<Record<string, number>>;
  /** Opens the admin port where the configuration has it, else at the usual port or the next free one. */
  openAdmin<Opened extends { readonly port: number }>(open: (port: number) => Promise<Opened>): Promise<Opened>;
  /** What somebody should know and mend. */
  readonly warnings: readonly string[];
  /** The pages of the admin port. */
  readonly routes: ReadonlyMap<string, AdminRoute>;
  /** What the control socket may be told. */
  readonly commands: ReadonlyMap<string, ControlHandler>;
  status(): unknown;
  /** Takes everything back, serves on until the inbound ports have been idle, then stops. */
  close(): Promise<void>;
  /** What carries calls, which may outlive the rest. */
  readonly data: DataSide;
  /** Lays down everything but that, for whoever takes it up from the same state directory: nothing is taken back. Resolves with what is in force and not on disk. */
  suspend(): Promise<Before>;
  /** Resolves once everything is known here again that `data` knew; rejects with `upgrade.routes` when that takes too long. */
  covered(): Promise<void>;
}

/** Starts everything, around a data side that is there already if there is one. Rejects with `listen.…`, `state.…` or `config.…`; what had been started is ended then. */
export async function startSidecar(options: SidecarOptions): Promise<RunningSidecar> {
  const scope = new Scope(options.log);
  const { taken = {} } = options;
  const data =
    taken.data ?? (await DataSide.open({ ...options, ...(taken.ports === undefined ? {} : { ports: taken.ports }) }));
  try {
    return await new Assembly(options, data, scope).start();
  } catch (error) {
    await scope.end();
    if (taken.data === undefined) await data.close();
    throw error;
  }
}

const loopback = "127.0.0.1";

class Assembly {
  readonly #options: SidecarOptions;
  readonly #scope: Scope;
  readonly #data: DataSide;
  readonly #ready: Ready;
  #doors: readonly OpenDoor[] = [];
  /** Where this sidecar itself listens, published ports apart: a registration that names one of these would call itself. */
  readonly #ownPorts = new Set<number>();
  readonly #warnings: string[] = [];
  #crossings: Crossings | undefined;

  constructor(options: SidecarOptions, data: DataSide, scope: Scope) {
    this.#options = options;
    this.#data = data;
    this.#scope = scope;
    this.#ready = new Ready(options.clock);
  }

  async start(): Promise<RunningSidecar> {
    const { config, state, clock, random, log, taken } = this.#options;
    const scope = this.#scope;
    const directory = await openDirectory(config, { state, clock, random, log });
    scope.defer(() => directory.close({ orderly: false }));

    const { plane, published } = this.#data;
    const ports = await state.journal("ports");
    const { pair, outbound } = await this.#ports(ports);

    const standIns = await this.#standIns(directory, pair);
    const apps = new Apps({ clock, random, log, dial: probe });
    const face = openFace({
      directory,
      clock,
      log,
      apps,
      ports: new PortTable({
        journal: ports,
        clock,
        log,
        inboundPort: pair.inbound,
        range: config.publishedPorts,
        isAddressed,
      }),
      protocols: new CarriedProtocols(this.#data.ownProtocols),
      standIns,
      loopback: { host: config.outbound.host, port: pair.outbound },
      ...(config.advertise === undefined ? {} : { advertise: config.advertise }),
      ...(config.inbound.host === undefined ? {} : { inboundHost: config.inbound.host }),
      openPort: async (host, port) => void (await published.open(host, port)),
      shutPort: async (host, port) => {
        await published.release(host, port);
        plane.endInbound(port);
      },
      isOwnPort: (port) => port === config.admin.port || port === pair.inbound || this.#ownPorts.has(port),
      zone: config.zone,
      lingerMs: config.drain.lingerMs,
      calledAt: (service) => plane.calledAt(service),
    });
    scope.defer(() => face.close());
    this.#data.informant = {
      ensure: (service) => face.ensure(service),
      suspect: (host, port) => face.suspect(host, port),
      onlyApplication: () => this.#onlyApplication(),
    };
    scope.defer(() => {
      this.#data.informant = undefined;
    });
    const gate = this.#feed(face, pair);
    await face.linger(taken?.before?.lingering ?? []);
    // From `#ports` to here the outbound port listens, but nothing waits for more than a promise: no call is read before these have routes.
    for (const { kind, name } of directory.status().feeds) if (kind === "service") face.ensure(name);

    await standIns.restore();
    const crossings = this.#crossingsOf(face, pair);
    if (config.directory === "zookeeper") await crossings();

    // The doors show what they showed last, which is on disk as well, whether or not the registry is there.
    const meshOutbound = await this.#meshOutbound();
    const free = this.#freePort(ports, pair);
    const dropped = (): void => this.#data.dropped();
    const { ports: listening, still } = this.#data;
    this.#doors = await openDoors({
      ...this.#options,
      face,
      apps,
      free,
      meshOutbound,
      scope,
      dropped,
      ports: listening,
      still,
    });
    still.settle();
    const host = config.advertise ?? machineAddress();
    publishDeclared(config.tcp, { face, apps, clock, log, host, signal: scope.signal });
    const doors = Object.fromEntries(this.#doors.map(({ door, port }) => [door.dialect, port]));
    this.#ready.listening();
    this.#ready.follow(directory);
    log.info({ outbound: pair.outbound, inbound: pair.inbound, ...doors }, "the sidecar listens");
    return {
      outboundPort: outbound.port,
      inboundPort: pair.inbound,
      doors,
      openAdmin: (open) => free("admin.port", config.admin.port, usualPorts.admin, open),
      warnings: this.#warnings,
      routes: this.#routes(face, directory),
      commands: crossingCommands(crossings),
      status: () => this.#status(face, directory, pair, published, standIns),
      close: () => this.#close(face, directory),
      data: this.#data,
      suspend: async () => {
        const before = { ...gate.snapshot, lingering: face.lingering() };
        await scope.end();
        return before;
      },
      covered: () => gate.opened(),
    };
  }

  /** Takes the two ports by which this sidecar is known: the ones it had, the configured ones, or the next free pair. */
  async #ports(
    journal: Awaited<ReturnType<StateDirectory["journal"]>>,
  ): Promise<{ pair: PortPair; outbound: Listener }> {
    const { published, ports } = this.#data;
    const { config } = this.#options;
    const inboundHost = config.inbound.host ?? config.advertise;
    const { listening } = await choosePair<{ outbound: Listener; inbound: number }>({
      journal,
      ...(config.outbound.port === undefined ? {} : { outbound: config.outbound.port }),
      ...(config.inbound.port === undefined ? {} : { inbound: config.inbound.port }),
      isReserved: (port) => this.#wishedPorts().includes(port) || this.#isPublishedPort(port),
      listen: async ({ inbound, outbound: port }) => {
        const isOurs = inboundHost === undefined && ports.has(inbound);
        const taken = isOurs
          ? inbound
          : await (inboundHost === undefined ? freePort(inbound) : published.open(inboundHost, inbound));
        try {
          // Last, since a call must find routes: see `start`.
          return { inbound: taken, outbound: await this.#listenOutbound(config.outbound.host, port) };
        } catch (error) {
          if (inboundHost !== undefined) await published.release(inboundHost, taken);
          throw error;
        }
      },
    });
    const { outbound, inbound } = listening;
    return { pair: { outbound: outbound.port, inbound }, outbound };
  }

  /** The loopback addresses of services that their requests do not name. */
  async #standIns(directory: SidecarDirectory, { outbound: port }: PortPair): Promise<StandIns> {
    const { config, state, clock, log } = this.#options;
    const range = loopbackRangeOf(config, port);
    const addresses = new ServiceAddresses({ journal: await state.journal("addresses"), clock, log, range });
    const listening = this.#data.services(port);
    const standIns = new StandIns({
      addresses,
      port,
      open: (service, address) => listening.open(service, address),
      shut: (service) => listening.shut(service),
      directory,
      clock,
      log,
      calledAt: (service) => this.#data.plane.calledAt(service),
    });
    this.#scope.defer(() => standIns.close());
    return standIns;
  }

  /** Puts what the face says in force in the data plane, in batches of one turn; where that knew something already, once as much is known again. */
  #feed(face: Face, pair: PortPair): RouteGate {
    const { config, clock, taken } = this.#options;
    const gate = new RouteGate({ target: this.#data.plane, clock, before: taken?.before });
    const feed = new SnapshotFeed({
      target: gate,
      defaultTimeoutMs: config.timeouts.defaultMs,
      isLoop: (address, port) => port === pair.outbound && isLoopback(address),
      above: taken?.before,
    });
    gate.follow(feed);
    feed.inbound(face.inbound());
    const inbound = face.onInbound((ports) => feed.inbound(ports));
    const outbound = face.onOutbound((service, state) => feed.outbound(service, state));
    this.#scope.defer(() => {
      inbound.close();
      outbound.close();
      gate.close();
    });
    return gate;
  }

  /** The ways of applications that are at their registry by themselves and come through here since they were moved. */
  #crossingsOf(face: Face, pair: PortPair): () => Promise<Crossings> {
    const { outbound } = this.#options.config;
    const open = async (): Promise<Crossings> => {
      const { openCrossings } = await import("./crossing/open.ts");
      const crossings = await openCrossings({
        ...this.#options,
        face,
        metrics: this.#data.metrics,
        ports: this.#data.ports,
        still: this.#data.still,
        outbound: { host: outbound.host, port: pair.outbound },
        reaches: (service) => this.#data.plane.reaches(service),
        isReserved: (port) =>
          [pair.inbound, ...this.#ownPorts, ...this.#wishedPorts()].includes(port) || this.#isPublishedPort(port),
      });
      this.#scope.defer(() => crossings.close());
      this.#crossings = crossings;
      return crossings;
    };
    let opening: Promise<Crossings> | undefined;
    return () => {
      opening ??= open();
      return opening;
    };
  }

  /** SOFA-RPC's `mesh://` clients call one port only, whatever they are told. */
  async #meshOutbound(): Promise<Listener | undefined> {
    const settings = meshDoorOf(this.#options.config);
    if (settings === undefined) return undefined;
    try {
      return await this.#listenOutbound(loopback, settings.outboundPort);
    } catch (error) {
      if (!isMeshError(error, "listen.port-taken")) throw error;
      const why = `${loopback}:${settings.outboundPort} is in use by another process; SOFA-RPC's mesh:// clients call this port only, so one sidecar of a machine can serve them`;
      if (settings.isAskedFor) {
        const text = `doors.mesh.outboundPort: ${why}; set doors.mesh to false here`;
        throw new MeshError(error.code, text, error.details, { cause: error });
      }
      this.#warnings.push(`mesh:// is not served here: ${why}; doors.mesh: false says that this is meant`);
      return undefined;
    }
  }

  /** A port that trusts its callers as this host's own applications. */
  async #listenOutbound(host: string, port: number): Promise<Listener> {
    const listener = await this.#data.listenOutbound(host, port);
    this.#ownPorts.add(listener.port);
    return listener;
  }

  /** The application that a request without a name is counted for: the only one that has registered here. */
  #onlyApplication(): string {
    const names = new Set(
      [
        ...this.#doors.flatMap(({ door }) => door.sessions().map(({ application }) => application)),
        ...(this.#crossings?.applications() ?? []),
      ].filter((name) => name !== ""),
    );
    return names.size === 1 ? (names.values().next().value ?? "") : "";
  }

  /** Opens something at its configured port, else at its usual one or the next that is free and not meant for something else. */
  #freePort(journal: Journal, pair: PortPair): FreePort {
    return async (key, configured, usual, open) => {
      const isReserved = (port: number): boolean =>
        [pair.inbound, ...this.#ownPorts].includes(port) ||
        this.#isPublishedPort(port) ||
        (port !== usual && this.#wishedPorts().includes(port));
      const step = key === "admin.port" ? pairStep : 1;
      const opened = await listenAtFreePort({ journal, key, configured, usual, step, isReserved, listen: open });
      this.#ownPorts.add(opened.port);
      if (configured === undefined && opened.port !== usual)
        this.#options.log.info(
          { key, usual, port: opened.port },
          "the usual port is in use; the next free one is kept",
        );
      return opened;
    };
  }

  #isPublishedPort(port: number): boolean {
    const { from, to } = this.#options.config.publishedPorts;
    return port >= from && port <= to;
  }

  /** What doors and the admin port have or would like to have, for who chooses before them. */
  #wishedPorts(): readonly number[] {
    const { config } = this.#options;
    const { zookeeper, eureka, http } = config.doors;
    const mesh = meshDoorOf(config);
    return [
      config.admin.port ?? usualPorts.admin,
      ...(zookeeper === false ? [] : [zookeeper.port ?? usualPorts.zookeeper]),
      ...(eureka === false ? [] : [eureka.port ?? usualPorts.eureka]),
      ...(http === false ? [] : [http.port ?? usualPorts.http]),
      ...(mesh === undefined ? [] : [mesh.port ?? usualPorts.mesh, mesh.outboundPort]),
    ];
  }

  #routes(face: Face, directory: SidecarDirectory): ReadonlyMap<string, AdminRoute> {
    const { shown } = this.#options;
    return new Map<string, AdminRoute>([
      ["/healthz", () => textReply("ok\n")],
      ["/readyz", () => this.#ready.reply()],
      [
        "/metrics",
        () => ({ status: 200, contentType: metricsContentType, body: this.#data.metrics.page().toString() }),
      ],
      ["/config", () => jsonReply(shown)],
      ["/endpoints", () => jsonReply({ outbound: [...face.outbound().values()], inbound: face.inbound() })],
      ["/directory", () => jsonReply(directory.status())],
    ]);
  }

  #status(
    face: Face,
    directory: SidecarDirectory,
    pair: PortPair,
    published: PublishedPorts,
    standIns: StandIns,
  ): unknown {
    return {
      ready: this.#ready.state,
      outbound: pair.outbound,
      inbound: pair.inbound,
      listening: published.addresses,
      directory: directory.status(),
      face: face.status(),
      ownAddresses: standIns.status(),
      doors: this.#doors.map(({ port, door }) => ({ dialect: door.dialect, port, sessions: door.sessions() })),
      crossings: this.#crossings?.views() ?? [],
      requests: [...this.#data.metrics.all()].map((series) => ({ ...series.labels, ...series.totals() })),
    };
  }

  async #close(face: Face, directory: SidecarDirectory): Promise<void> {
    const { config, clock, log } = this.#options;
    const { plane } = this.#data;
    this.#ready.ending();
    this.#crossings?.farewell();
    await face.deregister();
    plane.farewell();
    const end = clock.now() + config.drain.maxMs;
    // Callers elsewhere hold the address for a while yet: the inbound ports go on until nobody has called for long enough.
    const started = clock.now();
    while (
      clock.now() < end &&
      (plane.inFlight > 0 || Math.min(plane.inboundIdleMs, clock.now() - started) < config.drain.idleMs)
    )
      await sleep(clock, 50);
    log.info({ inFlight: plane.inFlight }, "drained");
    await directory.close({ orderly: true });
    await this.#scope.end();
    await this.#data.close();
  }
}

/**
 * Whether `port` can be had (0 asks for any). Where the inbound port will listen is known only once an application has registered,
 * unless it is configured.
 */
async function freePort(port: number): Promise<number> {
  const accept = (transport: Transport): void => transport.destroy("only asking");
  const listener = await listen({ host: "0.0.0.0", port, maxConnections: 1, accept, dropped: () => {} });
  await listener.close();
  return listener.port;
}
