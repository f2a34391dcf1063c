/** For tests: a data plane whose one tcp service leads to given ports; callers and servers are the raw ones of http-testing.ts. */
import net from "node:net";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { seededRandom } from "@dualmesh/base/random";
import { rpcCodecs } from "@dualmesh/wire/protocols";
import { DataMetrics } from "../metrics.ts";
import type { Endpoint, ServiceRoute } from "../snapshot.ts";
import { type Listener, listen } from "../transport/listener.ts";
import { RawPeer } from "./http-testing.ts";
import { type DataLimits, DataPlane } from "./plane.ts";
import { endpointAt, testLimits } from "./testing.ts";

const tcpService = "tcp/redis::";

export interface TcpWorldOptions {
  readonly limits?: Partial<DataLimits>;
  readonly ports?: readonly number[];
  readonly endpoint?: Partial<Endpoint>;
  readonly direction?: "outbound" | "inbound";
  readonly known?: boolean;
  /** No route at all until the first `provide`. */
  readonly withoutRoutes?: boolean;
}

export class TcpWorld implements AsyncDisposable {
  readonly metrics: DataMetrics = new DataMetrics();
  readonly plane: DataPlane;
  readonly #callers: RawPeer[] = [];
  readonly #isOutbound: boolean;
  readonly #endpoint: Partial<Endpoint>;
  #listener: Listener | undefined;
  #revision = 0;

  constructor({
    limits,
    ports = [],
    endpoint = {},
    direction = "outbound",
    known = true,
    withoutRoutes = false,
  }: TcpWorldOptions = {}) {
    this.#isOutbound = direction === "outbound";
    this.#endpoint = endpoint;
    this.plane = new DataPlane({
      clock: systemClock,
      random: seededRandom(1),
      metrics: this.metrics,
      limits: { ...testLimits, ...limits },
      codecs: rpcCodecs,
      unknownService: () => undefined,
      ensure: () => {},
      localApplication: () => "local-app",
    });
    if (!withoutRoutes) this.provide(ports, known);
  }

  /** Puts these ports in force as the service's endpoints. */
  provide(ports: readonly number[], known = true): void {
    const endpoints = ports.map((port) => ({ ...endpointAt(port), ...this.#endpoint }));
    const cell = { revision: ++this.#revision, known, endpoints };
    const route: ServiceRoute = { service: tcpService, protocol: "tcp", head: "redis:", group: "", timeoutMs: 0, cell };
    this.plane.apply({
      revision: this.#revision,
      defaultTimeoutMs: 5_000,
      outbound: this.#isOutbound ? [route] : [],
      inbound: this.#isOutbound ? [] : [{ port: 1, routes: [route] }],
    });
  }

  get port(): Promise<number> {
    return this.#listen().then(({ port }) => port);
  }

  async caller(): Promise<RawPeer> {
    const { port } = await this.#listen();
    const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    await new Promise<void>((resolve) => socket.once("connect", resolve));
    const peer = new RawPeer(socket);
    this.#callers.push(peer);
    return peer;
  }

  /** How many connections ended so. */
  count(result: string): number {
    return [...this.metrics.all()].reduce((sum, series) => sum + (series.totals()[result] ?? 0), 0);
  }

  async until(holds: () => boolean, what: string): Promise<void> {
    for (const end = systemClock.now() + 5_000; !holds(); await sleep(systemClock, 10))
      if (systemClock.now() > end) throw new Error(`waited in vain: ${what}`);
  }

  async #listen(): Promise<Listener> {
    this.#listener ??= await listen({
      host: "127.0.0.1",
      port: 0,
      maxConnections: 1_000,
      accept: (transport) =>
        this.plane.accept(transport, this.#isOutbound ? { service: tcpService } : { inboundPort: 1 }),
      dropped: () => {},
    });
    return this.#listener;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.#callers) socket.destroy();
    await this.#listener?.close();
    this.plane.close();
  }
}
