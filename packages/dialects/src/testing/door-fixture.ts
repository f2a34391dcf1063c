/** A ZooKeeper door over a directory in memory and a clock that stands still, for tests. */
import { FakeClock } from "@dualmesh/base/clock";
import { type Log, silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import type { Directory } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import type { Door, Standing } from "../door.ts";
import { openZooKeeperDoor } from "../zookeeper/door.ts";
import type { ZooKeeperLimits } from "../zookeeper/limits.ts";
import { MemoryDirectory } from "./memory-directory.ts";
import { MemoryJournal } from "./memory-journal.ts";
import { type ConnectOptions, ZooKeeperTestClient } from "./zookeeper-client.ts";

export interface DoorFixtureOptions {
  readonly place?: "registry" | "sidecar";
  readonly limits?: Partial<ZooKeeperLimits>;
  readonly clock?: FakeClock;
  readonly directory?: Directory;
  readonly journal?: MemoryJournal;
  readonly epoch?: number;
}

export class DoorFixture {
  readonly clock: FakeClock;
  readonly directory: MemoryDirectory;
  readonly journal: MemoryJournal;
  readonly door: Door;
  /** What the door logged, as `LEVEL text`. */
  readonly logged: string[];
  #clients = 0;

  private constructor(
    clock: FakeClock,
    directory: MemoryDirectory,
    journal: MemoryJournal,
    door: Door,
    logged: string[],
  ) {
    this.clock = clock;
    this.directory = directory;
    this.journal = journal;
    this.door = door;
    this.logged = logged;
  }

  static async open(options: DoorFixtureOptions = {}): Promise<DoorFixture> {
    const clock = options.clock ?? new FakeClock();
    const journal = options.journal ?? new MemoryJournal();
    const directory = options.directory ?? new MemoryDirectory({ clock });
    const logged: string[] = [];
    const note = (level: string) => (_fields: object, text: string) => void logged.push(`${level} ${text}`);
    const log: Log = { ...silentLog, info: note("info"), warn: note("warn"), error: note("error") };
    const { place = "registry", epoch = 1, limits = {} } = options;
    const random = seededRandom(epoch);
    const door = await openZooKeeperDoor({ place, directory, journal, epoch, clock, random, log }, { limits });
    return new DoorFixture(clock, directory as MemoryDirectory, journal, door, logged);
  }

  /** The door of the next process: the same journal and directory, a larger epoch; this one is gone without a word. */
  async restart(options: DoorFixtureOptions = {}): Promise<DoorFixture> {
    const journal = new MemoryJournal(this.journal);
    return DoorFixture.open({ clock: this.clock, directory: this.directory, epoch: 2, ...options, journal });
  }

  /** The same with the connections of these clients, each of which stands still first. */
  async upgrade(clients: readonly ZooKeeperTestClient[], options: DoorFixtureOptions = {}): Promise<DoorFixture> {
    this.door.serving?.(false);
    const standing = new Map<ZooKeeperTestClient, Standing>();
    for (let turn = 0; turn < 10 && standing.size < clients.length; turn += 1) {
      for (const client of clients) {
        const stands = standing.has(client) || client.closed ? undefined : client.connection.stand?.();
        if (stands !== undefined) standing.set(client, stands);
      }
      if (clients.every((client) => client.closed || standing.has(client))) break;
      await this.settle();
    }
    for (const client of clients) if (!client.closed && !standing.has(client)) client.drop();
    await this.door[Symbol.asyncDispose]();
    const next = await this.restart(options);
    for (const [client, stands] of standing) if (!client.goOn(next.door, stands)) client.drop();
    await next.settle();
    return next;
  }

  /** A client whose session is open. */
  async client(options: ConnectOptions = {}): Promise<ZooKeeperTestClient> {
    this.#clients += 1;
    const client = new ZooKeeperTestClient(this.door, `127.0.0.1:${this.#clients}`).open(options);
    await this.settle();
    return client;
  }

  /** Lets everything happen that needs no time. */
  settle(): Promise<void> {
    return this.clock.advance(0);
  }
}

/** What a sidecar's directory gives for a service that nobody provides: its own outbound port. */
export function loopbackStandIn(service: string): Instance {
  const [host, application, appPort] = ["127.0.0.1", "mesh", 20_882];
  return sampleInstance({ service, host, application, appPort, mode: "mesh", incarnation: 0 });
}
