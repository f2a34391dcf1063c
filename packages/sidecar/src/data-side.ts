/**
 * What carries calls: the data plane, the ports that callers come to, and the figures. It goes on while the rest of the sidecar (directory, face,
 * doors) is laid down and taken up again, by this process or by its successor; then nothing new is heard of, and what was known stays in
 * force.
 */
import type { Clock } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Random } from "@dualmesh/base/random";
import { Scope } from "@dualmesh/base/scope";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import { serviceOf } from "@dualmesh/model/service-head";
import { rpcCodecs } from "@dualmesh/wire/protocols";
import type { RpcCodec } from "@dualmesh/wire/rpc";
import type { SidecarConfig } from "./config.ts";
import { DataMetrics } from "./metrics.ts";
import { type Entrance, isInbound } from "./request/downstream.ts";
import { DataPlane } from "./request/plane.ts";
import { type Listener, listen } from "./transport/listener.ts";
import { Ports } from "./transport/ports.ts";
import { PublishedPorts } from "./transport/published-ports.ts";
import { ServicePorts } from "./transport/service-ports.ts";
import { StillConnections } from "./transport/still-connections.ts";
import { adoptTransport } from "./transport/tcp.ts";
import type { Transport } from "./transport/transport.ts";

export interface DataSideOptions {
  readonly config: SidecarConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Where ports come from; a process without a predecessor opens its own. */
  readonly ports?: Ports;
}

/** What the rest of the sidecar is to the data plane, while it is there. */
export interface Informant {
  /** A call came for this service, of which nothing is known. */
  ensure(service: string): void;
  /** An endpoint refused a connection or broke one. */
  suspect(host: string, port: number): void;
  /** The only application that has registered here; empty when there are none or several. */
  onlyApplication(): string;
}

/** How a caller's connection came. */
interface Came {
  readonly entrance: Entrance;
  readonly port: number;
}

export class DataSide {
  readonly metrics: DataMetrics;
  readonly plane: DataPlane;
  readonly ports: Ports;
  readonly published: PublishedPorts;
  /** Connections of doors while those are laid down. */
  readonly still: StillConnections;
  /** The protocols that the configuration adds. */
  readonly ownProtocols: readonly string[];
  informant: Informant | undefined;
  readonly #options: DataSideOptions;
  readonly #scope: Scope;
  readonly #outbound = new Map<string, Promise<Listener>>();
  readonly #listening = new Map<number, Listener>();
  #services: ServicePorts | undefined;

  private constructor(options: DataSideOptions, ownCodecs: readonly RpcCodec[]) {
    const { config, log, ports = new Ports() } = options;
    this.#options = options;
    this.#scope = new Scope(log);
    this.ports = ports;
    this.metrics = new DataMetrics(config.limits.labelValues);
    this.ownProtocols = ownCodecs.map(({ protocol }) => protocol);
    this.still = new StillConnections({ log, lost: () => this.dropped() });
    this.plane = this.#plane(ownCodecs);
    this.#scope.defer(() => this.plane.close());
    this.published = new PublishedPorts({
      maxConnections: config.limits.connections,
      accept: (transport, port) => this.plane.accept(transport, { inboundPort: port }),
      dropped: () => this.dropped(),
      ports,
    });
    this.#scope.defer(() => this.published.close());
  }

  static async open(options: DataSideOptions): Promise<DataSide> {
    return new DataSide(options, await ownCodecs(options));
  }

  dropped(): void {
    this.metrics.event("downstream_dropped");
  }

  /** Listens where this host's own applications call, and trusts its callers as such; where it listens already it goes on. */
  async listenOutbound(host: string, port: number): Promise<Listener> {
    const name = `${host}|${port}`;
    const before = this.#outbound.get(name);
    if (before !== undefined) return before;
    const opening = listen({
      host,
      port,
      maxConnections: this.#options.config.limits.connections,
      dropped: () => this.dropped(),
      notFromLoopback: () => this.metrics.event("downstream_refused"),
      accept: (transport) => this.plane.accept(transport, "outbound"),
      ports: this.ports,
    });
    this.#outbound.set(name, opening);
    try {
      const listener = await opening;
      this.#outbound.delete(name);
      this.#outbound.set(`${host}|${listener.port}`, opening);
      this.#listening.set(listener.port, listener);
      return listener;
    } catch (error) {
      this.#outbound.delete(name);
      throw error;
    }
  }

  /** The addresses of services that have one of their own, at the outbound port. */
  services(port: number): ServicePorts {
    this.#services ??= new ServicePorts({
      port,
      maxConnections: this.#options.config.limits.connections,
      accept: (transport, service) => this.plane.accept(transport, { service }),
      dropped: () => this.dropped(),
      ports: this.ports,
    });
    return this.#services;
  }

  /** Makes a connection of a descriptor that another process had accepted; it counts at the port that it came to, if anybody listens there. */
  adopt(descriptor: number, wroteAll: boolean, { entrance, port }: Came): Transport {
    const listener = isInbound(entrance)
      ? this.published.at(entrance.inboundPort)
      : entrance === "outbound"
        ? this.#listening.get(port)
        : this.#services?.at(entrance.service);
    return listener?.adopt(descriptor, wroteAll) ?? adoptTransport(descriptor, wroteAll, () => {});
  }

  /** Takes nobody in any more; who is there is served. */
  async stopListening(): Promise<void> {
    for (const opening of this.#outbound.values()) await (await opening).close();
    this.#outbound.clear();
    this.#listening.clear();
    await this.#services?.close();
    this.#services = undefined;
    await this.published.close();
  }

  async close(): Promise<void> {
    await this.stopListening();
    this.still.settle();
    await this.#scope.end();
    this.ports.close();
  }

  #plane(codecs: readonly RpcCodec[]): DataPlane {
    const { config, clock, random } = this.#options;
    return new DataPlane({
      clock,
      random,
      metrics: this.metrics,
      limits: { ...config.limits, ...config.timeouts, maxTimeoutMs: config.timeouts.maxMs },
      codecs: rpcCodecs,
      ownCodecs: codecs,
      unknownService: (protocol, head, group) => {
        const service = serviceOf(protocol, head, group);
        if (service !== undefined) this.informant?.ensure(service);
        return service;
      },
      ensure: (service) => this.informant?.ensure(service),
      localApplication: () => this.informant?.onlyApplication() ?? "",
      suspect: (host, port) => this.informant?.suspect(host, port),
    });
  }
}

/** The protocols that the configuration adds. A fault in one costs the connection that met it, and is told. */
async function ownCodecs({ config, clock, log }: DataSideOptions): Promise<readonly RpcCodec[]> {
  if (config.protocols.length === 0) return [];
  const { loadCodecs } = await import("./protocols/load.ts");
  const told = new ThrottledLog({ clock, log });
  return loadCodecs(config.protocols, (protocol, method, error) =>
    told.error(
      `${protocol} ${method}`,
      { protocol, method, error: messageOf(error) },
      "the module of a protocol failed",
    ),
  );
}
