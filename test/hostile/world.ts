/**
 * A registry and sidecars as they run in production, each behind its real ports in this process, with providers whose behaviour a test
 * chooses. What hostile peers do is in the tests; here is only who they do it to.
 */
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import v8 from "node:v8";
import { runInNewContext } from "node:vm";
import { type Admin, openAdmin, textReply } from "@dualmesh/base/admin/server";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { Scope } from "@dualmesh/base/scope";
import { openState } from "@dualmesh/base/state/state";
import { openRegistryDirectory, type RegistryDirectory } from "@dualmesh/client/directory";
import type { Instance } from "@dualmesh/model/instance";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { registryConfigShape } from "@dualmesh/registry/config";
import { type RunningRegistry, startRegistry } from "@dualmesh/registry/registry";
import { sidecarConfig } from "@dualmesh/sidecar/config";
import { boltRequest, codecOf, echo, Peer, type Received } from "@dualmesh/sidecar/request/testing";
import { type RunningSidecar, startSidecar } from "@dualmesh/sidecar/sidecar";
import { frameKind } from "@dualmesh/wire/rpc";
import { type DubboRequest, dubboEcho, dubboRequest } from "./dubbo.ts";

export type Answer = (peer: Peer, frame: Received) => void;

export interface Sidecar {
  readonly running: RunningSidecar;
  readonly admin: Admin;
}

const silent = { clock: systemClock, random: systemRandom, log: silentLog };

export class World implements AsyncDisposable {
  readonly registry: RunningRegistry;
  readonly registryAdmin: Admin;
  readonly #scope: Scope;
  readonly #folder: string;
  readonly #publisher: RegistryDirectory;
  #sidecars = 0;

  private constructor(
    scope: Scope,
    folder: string,
    registry: RunningRegistry,
    admin: Admin,
    publisher: RegistryDirectory,
  ) {
    this.#scope = scope;
    this.#folder = folder;
    this.registry = registry;
    this.registryAdmin = admin;
    this.#publisher = publisher;
  }

  static async open(config: object = {}): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), "hostile-"));
    const scope = new Scope(silentLog);
    scope.defer(() => rm(folder, { recursive: true, force: true }));
    const state = await openState({ path: join(folder, "registry"), part: "registry" });
    scope.use(state);
    const ports = { stream: { port: 0 }, doors: { zookeeper: { port: 0 }, eureka: { port: 0 }, http: { port: 0 } } };
    const registry = await startRegistry({
      ...silent,
      state,
      config: registryConfigShape.parse({ ...ports, ...config }),
    });
    scope.defer(() => registry.close());
    const pages = new Map([
      ["/healthz", () => textReply("ok\n")],
      ["/metrics", () => textReply(registry.metrics())],
    ]);
    const admin = await openAdmin({ port: 0, routes: pages, clock: systemClock });
    scope.defer(() => admin.close());
    const own = await openState({ path: join(folder, "publisher"), part: "publisher" });
    scope.use(own);
    const publisher = openRegistryDirectory({
      ...silent,
      addresses: [`127.0.0.1:${registry.streamPort}`],
      nodeId: "publisher",
      kind: "sdk",
      journal: await own.journal("directory"),
    });
    scope.defer(() => publisher.close({ orderly: true }));
    return new World(scope, folder, registry, admin, publisher);
  }

  /** A sidecar with an admin port, on free ports of 127.0.0.1; `config` is added to that. */
  async sidecar(config: object = {}): Promise<Sidecar> {
    const name = `sidecar-${++this.#sidecars}`;
    const state = await openState({ path: join(this.#folder, name), part: "sidecar" });
    this.#scope.use(state);
    const parsed = sidecarConfig.parse({
      registry: { address: `127.0.0.1:${this.registry.streamPort}` },
      inbound: { host: "127.0.0.1", port: 0 },
      outbound: { port: 0 },
      admin: { port: 0 },
      doors: { zookeeper: { port: 0 }, mesh: { port: 0, outboundPort: 0 }, eureka: { port: 0 }, http: { port: 0 } },
      drain: { idleMs: 0, lingerMs: 0, maxMs: 1_000 },
      ...config,
    });
    const running = await startSidecar({ ...silent, state, config: parsed, shown: {} });
    this.#scope.defer(() => running.close());
    const admin = await openAdmin({ port: 0, routes: running.routes, clock: systemClock });
    this.#scope.defer(() => admin.close());
    return { running, admin };
  }

  /** A server that hands every frame to `answer`, published as an SDK instance of `service`. */
  async provider(service: string, answer: Answer = echo, changes: Partial<Instance> = {}): Promise<Provider> {
    const protocol = service.startsWith("dubbo/") ? "dubbo" : "bolt";
    const provider = await openProvider(protocol, answer);
    this.#scope.defer(() => provider.close());
    await this.publish(service, provider.port, changes);
    return provider;
  }

  async publish(service: string, port: number, changes: Partial<Instance> = {}): Promise<void> {
    await this.#publisher.publish(instance(service, port, changes));
  }

  /** A caller at this port; its connection ends with the world. */
  async caller(port: number, protocol = "bolt"): Promise<Peer> {
    const socket = await this.socket(port);
    return new Peer(socket, protocol);
  }

  /** A plain connection that ends with the world. */
  async socket(port: number): Promise<net.Socket> {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.on("error", () => {}); // being cut is what most of these tests are about
    this.#scope.defer(() => void socket.destroy());
    await new Promise((resolve) => socket.once("connect", resolve));
    return socket;
  }

  defer(close: () => void | Promise<void>): void {
    this.#scope.defer(close);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.end();
  }
}

export interface Provider {
  readonly port: number;
  readonly peers: readonly Peer[];
  close(): void;
}

export async function openProvider(protocol: string, answer: Answer): Promise<Provider> {
  const peers: Peer[] = [];
  const codec = codecOf(protocol);
  const onFrame: Answer = (peer, frame) => {
    if (frame.kind !== frameKind.heartbeat) return answer(peer, frame);
    const view = codec.view();
    codec.decode(frame.bytes, 0, frame.size, view);
    peer.send(codec.heartbeatReply(view));
  };
  const server = net.createServer((socket) => void peers.push(new Peer(socket, protocol, onFrame)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    peers,
    close() {
      server.close();
      for (const { socket } of peers) socket.destroy();
    },
  };
}

export function instance(service: string, port: number, changes: Partial<Instance> = {}): Instance {
  return sampleInstance({ service, host: "127.0.0.1", application: "provider", appPort: port, ...changes });
}

export const boltEchoService = "bolt/test.Echo:1.0:";
export const dubboEchoService = "dubbo/test.Echo:1.0:";

/** Both protocols by the same words: how a normal call looks, and a provider that answers it. */
export interface Dialect {
  readonly protocol: "bolt" | "dubbo";
  readonly service: string;
  readonly answer: Answer;
  request(id: number): Buffer;
}

export const dialects: readonly Dialect[] = [
  { protocol: "bolt", service: boltEchoService, answer: echo, request: (id) => boltRequest({ id }) },
  {
    protocol: "dubbo",
    service: dubboEchoService,
    answer: dubboEcho,
    request: (id) => dubboRequest({ id } satisfies DubboRequest),
  },
];

/** Calls once at a time until `until` resolves; returns the longest wait for an answer, in milliseconds. */
export async function keepCalling(
  caller: Peer,
  request: (id: number) => Buffer,
  until: Promise<unknown>,
): Promise<number> {
  let over = false;
  void until.finally(() => {
    over = true;
  });
  let longest = 0;
  for (let id = 1; !over; id++) {
    const before = performance.now();
    const count = caller.frames.length + 1;
    caller.send(request(id));
    await caller.received(count);
    longest = Math.max(longest, performance.now() - before);
  }
  return longest;
}

/** One call on a connection of its own, answered by the provider. */
export async function callOnce(world: World, port: number, dialect: Dialect): Promise<Received> {
  const caller = await world.caller(port, dialect.protocol);
  caller.send(dialect.request(1));
  await caller.received(1);
  caller.socket.destroy();
  return caller.frames[0] as Received;
}

/** The value of one line of a metrics page; 0 when there is none. */
export async function metric(admin: Admin, line: string): Promise<number> {
  const page = await (await fetch(`http://${admin.address}/metrics`)).text();
  const found = page.split("\n").find((one) => one.startsWith(`${line} `));
  return Number(found?.split(" ").at(-1) ?? 0);
}

export function event(admin: Admin, name: string): Promise<number> {
  return metric(admin, `dualmesh_sidecar_events_total{event="${name}"}`);
}

/** Resolves when `condition` holds; it is looked at every few milliseconds. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 10_000,
): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Milliseconds until the other side has closed this connection. */
export async function untilClosed(socket: net.Socket, limitMs: number): Promise<number> {
  const before = performance.now();
  socket.resume();
  await eventually("the connection is closed", () => socket.closed || socket.readableEnded, limitMs);
  socket.destroy();
  return performance.now() - before;
}

const collect = ((): (() => void) => {
  v8.setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
})();

/** What is left after a collection. */
export function keptBytes(): number {
  collect();
  return heldBytes();
}

/** Memory of this process, garbage included: an upper bound of what it holds. */
export function heldBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

export const mebibyte = 1024 * 1024;
