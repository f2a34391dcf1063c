/** Crossings of a sidecar whose ensemble, applications and ports are in memory: for the tests of this folder. */
import type { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import type { Door } from "@dualmesh/dialects/door";
import { MemoryJournal } from "@dualmesh/dialects/testing/memory-journal";
import { type ConnectOptions, ZooKeeperTestClient } from "@dualmesh/dialects/testing/zookeeper-client";
import { dubboName, ModelEnsemble } from "@dualmesh/dialects/zookeeper/before/testing";
import type { Crossing, CrossingList } from "@dualmesh/model/crossing";
import type { Instance } from "@dualmesh/model/instance";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { openWorld, type World } from "../face/testing.ts";
import type { DoorHost, HostedDoor } from "../transport/door-host.ts";
import type { Transport, TransportEvents } from "../transport/transport.ts";
import type { Server } from "./arguments.ts";
import type { CrossingCommands } from "./commands.ts";
import { Crossings, type CrossingsOptions } from "./crossings.ts";
import { CrossingKeep } from "./keep.ts";

export const providers = "/dubbo/demo.Greeter/providers";
export const greeter = "dubbo/demo.Greeter::";
export const servers: readonly string[] = ["192.0.2.11:2181", "192.0.2.12:2181"];
export const host = "192.0.2.2";
const ephemeral = 1;

export class CrossingFixture {
  readonly world: World = openWorld();
  readonly ensemble = new ModelEnsemble();
  /** The servers that were dialled. */
  readonly dialled: string[] = [];
  /** Services that a call at the outbound port would find a provider of. */
  readonly reached = new Set<string>();
  /** Ports that another process has. */
  readonly taken = new Set<number>();
  readonly doors = new Map<string, HostedDoor>();
  readonly journals = { crossings: new MemoryJournal(), entries: new MemoryJournal() };
  crossings: Crossings;
  readonly #changes: Partial<CrossingsOptions>;
  #clients = 0;

  constructor(changes: Partial<CrossingsOptions> = {}) {
    this.#changes = changes;
    this.ensemble.put(providers, 0n);
    this.crossings = this.#open();
  }

  get clock(): FakeClock {
    return this.world.clock;
  }

  /** Another process with the same disk. */
  async restart(): Promise<void> {
    await this.crossings.close();
    this.doors.clear();
    this.crossings = this.#open();
    const restoring = this.crossings.restore();
    await this.clock.advance(5_000);
    await restoring;
  }

  async command<Result = Crossing>(
    name: keyof CrossingCommands,
    words: Readonly<Record<string, unknown>> = {},
  ): Promise<Result> {
    return (await this.crossings.commands[name](words)) as Result;
  }

  openOne(name = "shop"): Promise<Crossing> {
    return this.command("open", { name, servers, chroots: [], host });
  }

  async list(): Promise<CrossingList> {
    return this.command<CrossingList>("list");
  }

  /** A client whose connection arrives at the door of the first server. */
  async client(crossing: Crossing, options: ConnectOptions = {}): Promise<ZooKeeperTestClient> {
    this.#clients += 1;
    const port = crossing.doors[0]?.port ?? 0;
    const door = this.doors.get(`127.0.0.1:${port}`) as Door;
    const client = new ZooKeeperTestClient(door, `${host}:${this.#clients}`).open(options);
    await this.settle();
    return client;
  }

  /** A client that has registered a provider, whose port accepts. */
  async provider(crossing: Crossing, appPort = 20_880): Promise<{ client: ZooKeeperTestClient; path: string }> {
    const client = await this.client(crossing);
    const path = `${providers}/${dubboName(host, appPort)}`;
    this.world.accepting.add(`${host}:${appPort}`);
    client.create(path, ephemeral);
    await this.settle();
    await this.clock.advance(1_000);
    return { client, path };
  }

  /** Somebody else's provider, which the sidecar's directory knows as well. */
  async other(changes: Partial<Instance> = {}): Promise<string> {
    const [at, port] = ["192.0.2.7", 20_880];
    const name = dubboName(at, port, "elsewhere");
    this.ensemble.put(`${providers}/${name}`);
    const registration = { dialect: "dubbo", text: decodeURIComponent(name) };
    const instance = { service: greeter, host: at, address: at, port, appPort: port, application: "elsewhere" };
    await this.world.directory.publish(sampleInstance({ ...instance, registration, ...changes }));
    this.reached.add(greeter);
    return name;
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 6; turn += 1) await this.clock.advance(0);
  }

  #open(): Crossings {
    const { face } = this.world;
    return new Crossings({
      face,
      reaches: (service) => this.reached.has(service),
      outbound: { host: "127.0.0.1", port: 20_882 },
      keep: new CrossingKeep(this.journals.crossings, silentLog),
      entries: this.journals.entries,
      dial: (server, done) => this.#dial(server, done),
      host: (door, at, port) => this.#host(door, at, port),
      dubboRoot: "dubbo",
      sofaRoot: "sofa-rpc",
      clock: this.clock,
      log: silentLog,
      directory: { kind: "zookeeper", addresses: ["zoo.example:2181"], chroot: "" },
      isReserved: (port) => port === 21_101,
      resolve: async () => ["192.0.2.9", "192.0.2.12"],
      series: () => [],
      ...this.#changes,
    });
  }

  async #host(door: HostedDoor, at: string, port: number): Promise<DoorHost> {
    const key = `${at}:${port}`;
    if (this.taken.has(port) || this.doors.has(key)) throw new MeshError("listen.port-taken", `${key} is in use`);
    this.doors.set(key, door);
    return { host: at, port, connections: 0, close: async () => void this.doors.delete(key) };
  }

  #dial(server: Server, done: (transport: Transport | undefined) => void): () => void {
    this.dialled.push(`${server.host}:${server.port}`);
    queueMicrotask(() => done(this.#transport()));
    return () => undefined;
  }

  #transport(): Transport {
    let events: TransportEvents | undefined;
    const upstream = this.ensemble.open({
      received: (bytes) => events?.onBytes(Buffer.from(bytes), bytes.length),
      closed: () => events?.onClose("closed"),
    });
    return {
      open: (owner: TransportEvents) => {
        events = owner;
      },
      write: (bytes: Buffer, start: number, end: number) => upstream.send(bytes.subarray(start, end)),
      end: () => upstream.close(),
      queuedBytes: 0,
    } as Partial<Transport> as Transport;
  }
}
