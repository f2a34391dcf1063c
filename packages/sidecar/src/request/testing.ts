/** For tests: frames as applications send them, a provider that answers as it is told, a caller that collects answers, and a data plane. */

import net from "node:net";
import { ByteBudget } from "@dualmesh/base/byte-budget";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { seededRandom } from "@dualmesh/base/random";
import { rpcCodecs } from "@dualmesh/wire/protocols";
import { frameKind, type RpcCodec, type RpcFrame } from "@dualmesh/wire/rpc";
import { DataMetrics } from "../metrics.ts";
import type { Endpoint, EndpointCell, ServiceRoute } from "../snapshot.ts";
import { FrameReader } from "../transport/frame-reader.ts";
import { type Listener, listen } from "../transport/listener.ts";
import { type DataLimits, DataPlane, type DataPlaneOptions } from "./plane.ts";

export const testLimits: DataLimits = {
  inFlightPerConnection: 32_768,
  upstreamQueueBytes: 4 << 20,
  largeFrameBytes: 256 * 1024,
  largeConnections: 4,
  connectMs: 500,
  heartbeatMs: 15_000,
  deadMs: 45_000,
  readOnlyMs: 30_000,
  stageBytes: 1 << 20,
  stageReplies: 1_024,
  frameMs: 60_000,
  idleMs: 900_000,
  httpConnections: 1_024,
  httpIdleMs: 4_000,
  tcpConnections: 4_096,
  tcpIdleMs: 3_600_000,
  httpHeadMs: 10_000,
  httpBodyMs: 30_000,
  httpKeepAliveMs: 75_000,
  partialFramesBytes: 64 << 20,
  heldBytes: 64 << 20,
  waitMs: 1_000,
  waitingCalls: 1_000,
  maxTimeoutMs: 3_600_000,
  replayBytes: 1 << 20,
};

export const boltService = "bolt/test.Echo:1.0:";

function text32(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

export interface BoltRequest {
  readonly id: number;
  readonly service?: string;
  readonly timeoutMs?: number;
  readonly oneway?: boolean;
  readonly body?: Buffer;
  readonly app?: string;
}

export function boltRequest(request: BoltRequest): Buffer {
  const service = request.service ?? "test.Echo:1.0";
  const header = Buffer.concat(
    ["sofa_head_target_service", service, "sofa_head_method_name", "echo", "app", request.app ?? "caller"].map(text32),
  );
  const className = Buffer.from("test.Request");
  const body = request.body ?? Buffer.from("hello");
  const head = Buffer.alloc(22);
  head[0] = 1;
  head[1] = request.oneway === true ? 2 : 1;
  head.writeUInt16BE(1, 2);
  head[4] = 1;
  head.writeUInt32BE(request.id, 5);
  head[9] = 1;
  head.writeInt32BE(request.oneway === true ? -1 : (request.timeoutMs ?? 3_000), 10);
  head.writeUInt16BE(className.length, 14);
  head.writeUInt16BE(header.length, 16);
  head.writeInt32BE(body.length, 18);
  return Buffer.concat([head, className, header, body]);
}

export function boltResponse(id: number, body: Buffer, status = 0): Buffer {
  const className = Buffer.from("test.Response");
  const head = Buffer.alloc(20);
  head[0] = 1;
  head.writeUInt16BE(2, 2);
  head[4] = 1;
  head.writeUInt32BE(id, 5);
  head[9] = 1;
  head.writeUInt16BE(status, 10);
  head.writeUInt16BE(className.length, 12);
  head.writeInt32BE(body.length, 16);
  return Buffer.concat([head, className, body]);
}

export const boltHeartbeat: Buffer = Buffer.from("01010000010000000a01ffffffff0000000000000000", "hex");

export interface Received {
  readonly id: number;
  readonly kind: number;
  readonly size: number;
  readonly bytes: Buffer;
  readonly status: number;
}

/** The codec of a protocol that is built in. */
export function codecOf(protocol: string): RpcCodec {
  return rpcCodecs.find((codec) => codec.protocol === protocol) as RpcCodec;
}

/** A plain socket that collects whole frames. */
export class Peer {
  readonly socket: net.Socket;
  readonly frames: Received[] = [];
  closed = false;
  readonly #reader: FrameReader<RpcFrame>;
  #notify: () => void = () => {};

  constructor(socket: net.Socket, protocol = "bolt", onFrame: (peer: Peer, frame: Received) => void = () => {}) {
    this.socket = socket;
    this.#reader = new FrameReader(codecOf(protocol), new ByteBudget(1 << 28), (frame) => {
      const { id, kind, size, status } = frame;
      const copy = {
        id,
        kind,
        size,
        status,
        bytes: Buffer.from(frame.bytes.subarray(frame.offset, frame.offset + size)),
      };
      this.frames.push(copy);
      onFrame(this, copy);
      return true;
    });
    socket.on("data", (bytes: Buffer) => {
      this.#reader.read(bytes, bytes.length);
      this.#notify();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
      this.#notify();
    });
  }

  send(...frames: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** Resolves when `condition` holds; it is looked at whenever something arrives. Fails after 10 s. */
  until(condition: () => boolean, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = systemClock.after(10_000, () => reject(new Error(`not within 10 s: ${what}`)), true);
      this.#notify = () => {
        if (!condition()) return;
        timer.cancel();
        this.#notify = () => {};
        resolve();
      };
      this.#notify();
    });
  }

  received(count: number): Promise<void> {
    return this.until(() => this.frames.length >= count, `${count} frames`);
  }
}

export interface Provider {
  readonly port: number;
  readonly endpoint: Endpoint;
  readonly peers: Peer[];
  readonly requests: () => number;
}

export function endpointAt(port: number): Endpoint {
  return { address: "127.0.0.1", port, weight: 100, warmupMs: 0, startedAt: 0, security: "plain", mode: "sdk" };
}

export function cell(revision: number, ports: readonly number[], known = true): EndpointCell {
  return { revision, known, endpoints: ports.map(endpointAt) };
}

export function boltRoute(endpoints: EndpointCell, service = "test.Echo:1.0", timeoutMs = 0): ServiceRoute {
  return { service: `bolt/${service}:`, protocol: "bolt", head: service, group: "", timeoutMs, cell: endpoints };
}

/** A data plane with its outbound port, providers and callers, all ended by `close`. */
export class TestPlane implements AsyncDisposable {
  readonly metrics: DataMetrics = new DataMetrics();
  readonly plane: DataPlane;
  readonly asked: string[] = [];
  readonly #closers: (() => void)[] = [];
  #listener: Listener | undefined;

  constructor(limits: Partial<DataLimits> = {}, options: Partial<DataPlaneOptions> & { readonly clock?: Clock } = {}) {
    this.plane = new DataPlane({
      clock: systemClock,
      random: seededRandom(1),
      metrics: this.metrics,
      limits: { ...testLimits, ...limits },
      codecs: rpcCodecs,
      unknownService: (protocol, head, group) => {
        this.asked.push(`${protocol} ${head} ${group}`);
        return undefined;
      },
      ensure: (service) => void this.asked.push(service),
      localApplication: () => "local-app",
      ...options,
    });
  }

  apply(...routes: readonly ServiceRoute[]): void {
    this.plane.apply({ revision: 1, defaultTimeoutMs: 5_000, outbound: routes, inbound: [] });
  }

  async caller(protocol = "bolt"): Promise<Peer> {
    this.#listener ??= await listen({
      host: "127.0.0.1",
      port: 0,
      maxConnections: 1_000,
      accept: (transport) => this.plane.accept(transport, "outbound"),
      dropped: () => {},
    });
    const socket = net.connect({ host: "127.0.0.1", port: this.#listener.port });
    await new Promise((resolve) => socket.once("connect", resolve));
    this.#closers.push(() => socket.destroy());
    return new Peer(socket, protocol);
  }

  /** A server that hands every request to `answer`; by default it echoes the body. */
  async provider(answer: (peer: Peer, frame: Received) => void = echo, protocol = "bolt"): Promise<Provider> {
    const peers: Peer[] = [];
    const server = net.createServer((socket) => {
      peers.push(new Peer(socket, protocol, answer));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.#closers.push(() => {
      server.close();
      for (const peer of peers) peer.socket.destroy();
    });
    const { port } = server.address() as net.AddressInfo;
    const requests = (): number => peers.reduce((sum, peer) => sum + peer.frames.length, 0);
    return { port, endpoint: endpointAt(port), peers, requests };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.plane.close();
    for (const close of this.#closers) close();
    await this.#listener?.close();
  }
}

export function echo(peer: Peer, frame: Received): void {
  if (frame.kind === frameKind.request) peer.send(boltResponse(frame.id, Buffer.from("echo")));
}

/** The last bytes of a response: its body. */
export function bodyText(frame: Received, length: number): string {
  return frame.bytes.subarray(frame.bytes.length - length).toString("latin1");
}
