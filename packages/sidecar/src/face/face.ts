/**
 * What the sidecar's own doors see in place of the registry: a directory in which every carried provider stands behind the sidecar's
 * loopback address, and in which an application that registers is published at the sidecar's inbound port. The other side of it tells the
 * data plane what follows from that: which endpoints to call, and which published port leads to which application.
 */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import type { StandIn } from "@dualmesh/dialects/door";
import type { Directory, Watch } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import type { AppHealth, Apps } from "../apps/apps.ts";
import type { PortEntry, PortTable } from "../ports/port-table.ts";
import { CarriedProtocols } from "./carriage.ts";
import { Carrier } from "./carrier.ts";
import { type Carried, Elsewhere } from "./elsewhere.ts";
import type { InboundListener, InboundPort, LingeringEntry } from "./inbound.ts";
import type { LoopbackAddress } from "./loopback.ts";
import { Provided, type ProvidedStatus } from "./provided.ts";
import type { StandIns } from "./stand-ins.ts";
import { type OutboundListener, type OutboundService, Wanted, type WantedStatus } from "./wanted.ts";

export interface FaceOptions {
  /** Where instances come from and go to. The face does not close it. */
  readonly directory: Directory;
  readonly clock: Clock;
  readonly log: Log;
  /** Closed with the face. */
  readonly apps: Apps;
  readonly ports: PortTable;
  /** Those that the data plane speaks; those of every sidecar when left out. */
  readonly protocols?: CarriedProtocols;
  /** The outbound port as this host's applications call it. */
  readonly loopback: LoopbackAddress;
  /** The addresses of services that have one of their own. */
  readonly standIns?: Pick<StandIns, "get" | "addressOf">;
  /** The host of every instance; without it, the address that each application registered. */
  readonly advertise?: string;
  /** Where published ports listen; without it, at the instance's host. */
  readonly inboundHost?: string;
  /** Resolves once `host:port` listens, also when it does already. Rejects with `listen.…`; another port is then tried where there is one. */
  readonly openPort: (host: string, port: number) => Promise<void>;
  /** Ends the connections of `host:port` and refuses further ones, until it is opened again. */
  readonly shutPort: (host: string, port: number) => Promise<void>;
  /** Further ports on which this sidecar listens: outbound, admin, doors. */
  readonly isOwnPort: (port: number) => boolean;
  readonly zone?: string;
  /** How long a withdrawn instance goes on being served, in milliseconds. */
  readonly lingerMs?: number;
  /** Clock time of the last call to a service: one that is called is not dropped as idle. */
  readonly calledAt?: (service: string) => number | undefined;
}

export interface FaceStatus {
  readonly apps: readonly AppHealth[];
  readonly provided: readonly ProvidedStatus[];
  readonly wanted: readonly WantedStatus[];
  readonly inbound: readonly InboundPort[];
  readonly ports: readonly PortEntry[];
}

export interface Face extends Directory {
  /** The services that the data plane is to know now, and each one that changes. */
  outbound(): ReadonlyMap<string, OutboundService>;
  onOutbound(listener: OutboundListener): Watch;
  /** A call came for a service that nobody has subscribed to: it is followed from now on. */
  ensure(service: string): void;
  /** A local consumer of a service registered, and states its patience in milliseconds; 0 when it states none. */
  consumer(service: string, timeoutMs: number): void;
  /** The published ports and what is behind them. */
  inbound(): readonly InboundPort[];
  onInbound(listener: InboundListener): Watch;
  /** What has left and is served for a while yet: another process goes on with it by `linger`. */
  lingering(): readonly LingeringEntry[];
  linger(all: readonly LingeringEntry[]): Promise<void>;
  /** Brings an instance behind a published port of `host`, while its application itself tells others of it. */
  carry(instance: Instance, host: string): Carried;
  /** Where this host's applications reach a service that has an address of its own; undefined for others, and when none can be had. */
  standIn(service: string): Promise<StandIn | undefined>;
  /** A connection to an application of this host was refused, or broke: whether it is alive is found out at once. */
  suspect(host: string, port: number): void;
  /**
   * The first half of an orderly end: nothing is published any more, everything is served still. Resolves when that is in force, or after
   * a while when the directory is out of reach.
   */
  deregister(): Promise<void>;
  status(): FaceStatus;
  /** Stops at once; what is published stays with the directory. */
  close(): void;
}

/** Twice what subscribers take to let go of an address: they show it for 6 s and call it up to 15 s longer. */
const defaultLingerMs = 30_000;

export function openFace(options: FaceOptions): Face {
  const { directory, apps, ports, zone = "", lingerMs = defaultLingerMs } = options;
  const isOwnPort = (port: number): boolean => options.isOwnPort(port) || ports.isOwn(port);
  const { standIns, protocols = new CarriedProtocols() } = options;
  const wanted = new Wanted(
    standIns === undefined
      ? { ...options, protocols }
      : { ...options, protocols, addressOf: (service) => standIns.addressOf(service) },
  );
  const told = new ThrottledLog(options);
  const carrier = new Carrier({ ...options, protocols, lingerMs, told });
  const provided = new Provided({ ...options, carrier, zone, isOwnPort });
  const elsewhere = new Elsewhere({ ...options, protocols, carrier, isOwnPort });
  return {
    publish: (instance, publishing) => provided.publish(instance, publishing),
    watch: (service, listener) => wanted.watch(service, listener),
    watchCatalogue: (pattern, listener) => directory.watchCatalogue(pattern, listener),
    outbound: () => wanted.outbound(),
    onOutbound: (listener) => wanted.onOutbound(listener),
    ensure: (service) => wanted.ensure(service),
    consumer: (service, timeoutMs) => wanted.consumer(service, timeoutMs),
    inbound: () => carrier.inbound.ports(),
    onInbound: (listener) => carrier.inbound.listen(listener),
    lingering: () => carrier.inbound.lingering(),
    linger: async (all) => void (await Promise.all(all.map((one) => carrier.linger(one)))),
    carry: (instance, host) => elsewhere.carry(instance, host),
    standIn: async (service) => standIns?.get(service),
    suspect: (host, port) => apps.suspect(host, port),
    deregister: () => provided.deregister(),
    status: () => ({
      apps: apps.status(),
      provided: provided.status(),
      wanted: wanted.status(),
      inbound: carrier.inbound.ports(),
      ports: ports.entries(),
    }),
    close: () => {
      provided.close();
      elsewhere.close();
      carrier.close();
      wanted.close();
      apps.close();
    },
  };
}
