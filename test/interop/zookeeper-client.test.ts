/** Our own client of ZooKeeper, and the directory on it, before a real server: what servers in memory cannot vouch for. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { type Journal, openJournal } from "@dualmesh/base/state/journal";
import { dialTcp } from "@dualmesh/client/tcp";
import { ZooKeeperClient, type ZooKeeperClientOptions } from "@dualmesh/dialects/zookeeper/client/client";
import { openZooKeeperDirectory } from "@dualmesh/dialects/zookeeper/client/directory";
import { ZooKeeperKeep } from "@dualmesh/dialects/zookeeper/client/keep";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { buildFixtures, javaCommand } from "./fixtures.ts";
import { repository } from "./product.ts";
import { eventually, Program, temporary } from "./program.ts";
import { takeTurn } from "./turn.ts";
import { freePort } from "./world.ts";

class Server implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "dualmesh-zookeeper-"));
  #program: Program | undefined;
  #port = 0;
  readonly #ends: (() => void)[] = [];

  static async start(): Promise<Server> {
    const server = new Server();
    temporary.add(server.folder);
    server.#port = await freePort();
    await server.restart();
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async restart(): Promise<void> {
    await this.#program?.end();
    const line = javaCommand("zookeeper", "interop.Server", this.folder, {
      port: String(this.#port),
      data: this.folder,
    });
    const log = join(this.folder, "server.log");
    this.#program = await new Program({ name: "zookeeper", ...line, cwd: repository, log }).ready();
  }

  async client(options: Partial<ZooKeeperClientOptions> = {}): Promise<{ client: ZooKeeperClient; told: string[] }> {
    const told: string[] = [];
    const client = new ZooKeeperClient({
      addresses: [this.address],
      dial: dialTcp,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      onConnected: (_, resumed) => void told.push(resumed ? "resumed" : "new"),
      onDisconnected: () => void told.push("down"),
      onExpired: () => void told.push("expired"),
      onEvent: ({ type, path }) => void told.push(`event ${type} ${path}`),
      onProven: () => {},
      ...options,
    });
    this.#ends.push(() => client.abandon());
    client.start();
    await eventually("the client is connected", 10_000, () => client.open);
    return { client, told };
  }

  journal(name: string): Promise<Journal> {
    return openJournal({ path: join(this.folder, `${name}.journal`) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends) end();
    await this.#program?.end();
    rmSync(this.folder, { recursive: true, force: true });
    temporary.delete(this.folder);
  }
}

const refusedFor = (code: string) => (error: unknown) => isMeshError(error, code);

test("a real ZooKeeper and our client of it", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  await using server = await Server.start();

  await t.test("operations mean what they say", async () => {
    const { client } = await server.client();
    const other = (await server.client()).client;
    await client.createWithParents("/a/b/one", Buffer.from("x"), "ephemeral");
    await assert.rejects(client.create("/a/b/one", Buffer.alloc(0), "ephemeral"), refusedFor("zookeeper.node-exists"));
    await assert.rejects(
      client.create("/a/b/one/two", Buffer.alloc(0), "persistent"),
      refusedFor("zookeeper.parent-is-ephemeral"),
    );
    await assert.rejects(client.delete("/a"), refusedFor("zookeeper.not-empty"));
    assert.deepEqual(await client.ephemerals(), ["/a/b/one"]);
    await client.sync("/a/b");
    const swap = [
      { op: "delete", path: "/a/b/one", version: -1 } as const,
      other.createPart("/a/b/one", Buffer.alloc(0), "ephemeral"),
    ];
    await assert.rejects(other.multi([...swap, ...swap.slice(1)]), refusedFor("zookeeper.node-exists"));
    assert.equal((await client.exists("/a/b/one"))?.ephemeralOwner, client.session.id, "all or nothing");
    await other.multi(swap);
    assert.equal((await client.exists("/a/b/one"))?.ephemeralOwner, other.session.id);
    assert.equal((await client.data("/a/b/one"))?.data?.length, 0);
    await other.close();
    assert.deepEqual((await client.children("/a/b"))?.children, []);
  });

  await t.test("credentials protect what is written, below a chroot", async () => {
    const credentials = [{ scheme: "digest", credentials: "me:secret" }];
    const { client } = await server.client({ credentials, chroot: "/kept/apart" });
    await client.createWithParents("/list/one", Buffer.from("x"), "ephemeral");
    assert.deepEqual(await client.ephemerals(), ["/list/one"]);
    const stranger = (await server.client()).client;
    await assert.rejects(stranger.data("/kept/apart/list/one"), refusedFor("zookeeper.no-permission"));
    const friend = (await server.client({ credentials })).client;
    assert.equal((await friend.data("/kept/apart/list/one"))?.data?.toString(), "x");
  });

  await t.test("a server that comes back finds session and watches again", async () => {
    const { client, told } = await server.client();
    const writer = (await server.client()).client;
    await writer.createWithParents("/watched/list", Buffer.alloc(0), "persistent");
    await client.createWithParents("/mine/one", Buffer.alloc(0), "ephemeral");
    await client.addRecursiveWatch("/watched");
    await client.children("/mine", true);
    await writer.create("/watched/list/one", Buffer.alloc(0), "persistent");
    await eventually("the event comes", 5_000, () => told.includes("event 1 /watched/list/one"));
    await server.restart();
    await eventually("both are back", 20_000, () => told.includes("resumed") && writer.open);
    assert.equal((await client.exists("/mine/one"))?.ephemeralOwner, client.session.id);
    const since = client.zxid;
    await writer.create("/mine/two", Buffer.alloc(0), "persistent");
    await client.setWatches({ recursive: ["/watched"], child: ["/mine"] }, since);
    await eventually("what was missed is told", 5_000, () => told.includes("event 4 /mine"));
    await writer.delete("/watched/list/one");
    await eventually("the watch is there again", 5_000, () => told.includes("event 2 /watched/list/one"));
  });

  await t.test("a directory replaces what its former session left, and nobody sees it go", async () => {
    const open = (journal: Journal): ReturnType<typeof openZooKeeperDirectory> =>
      openZooKeeperDirectory({
        addresses: [server.address],
        dial: dialTcp,
        journal,
        clock: systemClock,
        random: systemRandom,
        log: silentLog,
      });
    await using firstJournal = await server.journal("first");
    const first = open(firstJournal);
    const instance = sampleInstance({ mode: "mesh", port: 20_881, incarnation: 3 });
    await first.publish(instance);
    const kept = new ZooKeeperKeep(firstJournal).session();
    assert.ok(kept !== undefined);
    await using observerJournal = await server.journal("observer");
    const observer = open(observerJournal);
    const sizes: number[] = [];
    observer.watch(instance.service, ({ instances }) => void sizes.push(instances.length));
    await eventually("the observer sees it", 5_000, () => sizes.at(-1) === 1);
    const raw = await server.client();
    await raw.client.addRecursiveWatch("/sofa-rpc");
    // Its successor has another session, while the old one still stands.
    await first.close({ orderly: false });
    await using secondJournal = await server.journal("second");
    new ZooKeeperKeep(secondJournal).putSession({ id: 1n, password: Buffer.alloc(16) }, [kept.session.id]);
    const second = open(secondJournal);
    await second.publish(instance);
    assert.equal(second.status().counts["replaced"], 1);
    await eventually("the swap is told", 5_000, () => raw.told.length >= 3);
    assert.deepEqual(
      raw.told.slice(1).map((line) => line.slice(0, 7)),
      ["event 2", "event 1"],
    );
    assert.ok(
      sizes.slice(sizes.indexOf(1)).every((size) => size === 1),
      sizes.join(),
    );
    await second.close({ orderly: true });
    await observer.close({ orderly: true });
  });
});
