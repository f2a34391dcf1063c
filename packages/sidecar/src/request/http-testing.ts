/** For tests: a data plane whose one HTTP service leads to given ports, raw callers, and raw servers that answer as they are told. */
import net from "node:net";
import { systemClock } from "@dualmesh/base/clock";
import { seededRandom } from "@dualmesh/base/random";
import { rpcCodecs } from "@dualmesh/wire/protocols";
import { DataMetrics } from "../metrics.ts";
import type { Endpoint, ServiceRoute } from "../snapshot.ts";
import { type Listener, listen } from "../transport/listener.ts";
import type { Transport } from "../transport/transport.ts";
import { type DataLimits, DataPlane } from "./plane.ts";
import { testLimits } from "./testing.ts";

export const httpService = "http/orders::";

/** A socket that collects text (latin1), on either side. */
export class RawPeer {
  readonly socket: net.Socket;
  text = "";
  closed = false;
  ended = false;
  #notify: () => void = () => {};

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (bytes) => {
      this.text += bytes.toString("latin1");
      this.#notify();
    });
    socket.on("end", () => {
      this.ended = true;
      this.#notify();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
      this.#notify();
    });
  }

  send(text: string | Buffer): void {
    this.socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text);
  }

  /** Waits until `holds`; fails after 5 s with what has come so far. */
  async until(holds: () => boolean, what: string): Promise<void> {
    const end = Date.now() + 5_000;
    while (!holds()) {
      if (Date.now() > end)
        throw new Error(`waited in vain for ${what}; so far: ${JSON.stringify(this.text.slice(0, 2_000))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 50);
        this.#notify = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Takes out everything up to and with `mark`. */
  async take(mark: string): Promise<string> {
    await this.until(() => this.text.includes(mark), JSON.stringify(mark));
    const end = this.text.indexOf(mark) + mark.length;
    const taken = this.text.slice(0, end);
    this.text = this.text.slice(end);
    return taken;
  }
}

/** A server that hands each of its connections to the test. */
export class RawServer implements AsyncDisposable {
  readonly peers: RawPeer[] = [];
  readonly port: number;
  readonly #server: net.Server;

  private constructor(server: net.Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async open(onPeer: (peer: RawPeer, index: number) => void = () => {}): Promise<RawServer> {
    const server = net.createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const opened = new RawServer(server, (server.address() as net.AddressInfo).port);
    server.on("connection", (socket) => {
      const peer = new RawPeer(socket);
      opened.peers.push(peer);
      onPeer(peer, opened.peers.length - 1);
    });
    return opened;
  }

  /** The connection of this number, once it is there. */
  async peer(index = 0): Promise<RawPeer> {
    const end = Date.now() + 5_000;
    while (this.peers.length <= index) {
      if (Date.now() > end) throw new Error(`waited in vain for connection ${index}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return this.peers[index] as RawPeer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.peers) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

export interface HttpWorldOptions {
  readonly limits?: Partial<DataLimits>;
  readonly ports?: readonly number[];
  readonly endpoint?: Partial<Endpoint>;
  readonly direction?: "outbound" | "inbound";
  readonly known?: boolean;
  readonly timeoutMs?: number;
}

/** A data plane with one HTTP service at an address of its own (or behind a published port). */
export class HttpWorld implements AsyncDisposable {
  readonly metrics: DataMetrics = new DataMetrics();
  readonly plane: DataPlane;
  readonly ensured: string[] = [];
  /** The callers' connections as the sidecar has them. */
  readonly accepted: Transport[] = [];
  readonly #callers: RawPeer[] = [];
  readonly #direction: "outbound" | "inbound";
  #listener: Listener | undefined;
  #revision = 0;
  readonly #endpoint: Partial<Endpoint>;
  readonly #timeoutMs: number;

  constructor({
    limits,
    ports = [],
    endpoint = {},
    direction = "outbound",
    known = true,
    timeoutMs = 0,
  }: HttpWorldOptions = {}) {
    this.#timeoutMs = timeoutMs;
    this.#direction = direction;
    this.#endpoint = endpoint;
    this.plane = new DataPlane({
      clock: systemClock,
      random: seededRandom(1),
      metrics: this.metrics,
      limits: { ...testLimits, ...limits },
      codecs: rpcCodecs,
      unknownService: () => undefined,
      ensure: (service) => void this.ensured.push(service),
      localApplication: () => "local-app",
    });
    this.provide(ports, known);
  }

  /** Puts these ports in force as the service's endpoints. */
  provide(ports: readonly number[], known = true): void {
    const endpoints = ports.map((port) => ({
      address: "127.0.0.1",
      port,
      weight: 100,
      warmupMs: 0,
      startedAt: 0,
      security: "plain" as const,
      mode: "sdk" as const,
      ...this.#endpoint,
    }));
    const route: ServiceRoute = {
      service: httpService,
      protocol: "http",
      head: "orders:",
      group: "",
      timeoutMs: this.#timeoutMs,
      cell: { revision: ++this.#revision, known, endpoints },
    };
    const isOutbound = this.#direction === "outbound";
    this.plane.apply({
      revision: this.#revision,
      defaultTimeoutMs: 5_000,
      outbound: isOutbound ? [route] : [],
      inbound: isOutbound ? [] : [{ port: 1, routes: [route] }],
    });
  }

  get port(): Promise<number> {
    return this.#listen().then(({ port }) => port);
  }

  async #listen(): Promise<Listener> {
    this.#listener ??= await listen({
      host: "127.0.0.1",
      port: 0,
      maxConnections: 1_000,
      accept: (transport) => {
        this.accepted.push(transport);
        this.plane.accept(transport, this.#direction === "outbound" ? { service: httpService } : { inboundPort: 1 });
      },
      dropped: () => {},
    });
    return this.#listener;
  }

  async caller(): Promise<RawPeer> {
    const { port } = await this.#listen();
    const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    await new Promise<void>((resolve) => socket.once("connect", resolve));
    const peer = new RawPeer(socket);
    this.#callers.push(peer);
    return peer;
  }

  /** How many exchanges ended so. */
  count(result: string): number {
    return [...this.metrics.all()].reduce((sum, series) => sum + (series.totals()[result] ?? 0), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.#callers) socket.destroy();
    await this.#listener?.close();
    this.plane.close();
  }
}
