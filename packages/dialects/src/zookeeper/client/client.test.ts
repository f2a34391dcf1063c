import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import { FrameError } from "@dualmesh/wire/codec";
import { ZooKeeperServers } from "../../testing/zookeeper-servers.ts";
import { type Session, ZooKeeperClient, type ZooKeeperClientOptions } from "./client.ts";
import { JuteFrames } from "./frames.ts";

interface Told {
  readonly clock: FakeClock;
  readonly servers: ZooKeeperServers;
  readonly client: ZooKeeperClient;
  readonly told: string[];
  sessions: Session[];
}

function setUp(options: Partial<ZooKeeperClientOptions> = {}, shared?: Told): Told {
  const clock = shared?.clock ?? new FakeClock();
  const servers = shared?.servers ?? new ZooKeeperServers(clock);
  const told: string[] = [];
  const sessions: Session[] = [];
  const client = new ZooKeeperClient({
    addresses: ["a:1", "b:1", "c:1"],
    dial: servers.dial,
    clock,
    random: seededRandom(1),
    log: silentLog,
    sessionTimeoutMs: 6_000,
    onConnected: (session, resumed) => {
      sessions.push(session);
      told.push(resumed ? "resumed" : "new");
    },
    onDisconnected: () => void told.push("down"),
    onExpired: () => void told.push("expired"),
    onEvent: ({ type, path }) => void told.push(`event ${type} ${path}`),
    onProven: () => void told.push("proven"),
    ...options,
  });
  return { clock, servers, client, told, sessions };
}

async function connected(options: Partial<ZooKeeperClientOptions> = {}): Promise<Told> {
  const all = setUp(options);
  all.client.start();
  await all.clock.advance(0);
  assert.equal(all.client.state, "connected");
  return all;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "";
  } catch (error) {
    assert.ok(isMeshError(error), String(error));
    return error.code;
  }
}

test("operations do what they say, many at once, and are refused by name", async () => {
  const { client, servers } = await connected();
  const data = Buffer.from("x");
  const work = [
    codeOf(client.create("/a/b", data, "persistent")),
    codeOf(client.createWithParents("/a/b/c", data, "ephemeral")),
    codeOf(client.create("/a/b/c", data, "ephemeral")),
    codeOf(client.delete("/a")),
  ];
  assert.deepEqual((await Promise.all(work)).slice(0, 1), ["zookeeper.no-node"]);
  assert.equal(await codeOf(client.create("/a/b/c", data, "ephemeral")), "zookeeper.node-exists");
  assert.equal(await codeOf(client.delete("/a/b")), "zookeeper.not-empty");
  assert.equal((await client.exists("/a/b/c"))?.ephemeralOwner, client.session.id);
  assert.equal(await client.exists("/nothing"), undefined);
  assert.deepEqual((await client.children("/a/b"))?.children, ["c"]);
  assert.equal(await client.children("/nothing"), undefined);
  assert.deepEqual(await client.ephemerals(), ["/a/b/c"]);
  await client.sync("/a");
  await client.delete("/a/b/c");
  assert.equal(servers.nodes.has("/a/b/c"), false);
  assert.equal((await client.data("/a"))?.data?.length, 0);
});

test("several writes happen in one step or not at all", async () => {
  const { client, servers } = await connected();
  servers.put("/list/one", 99n);
  const swap = [
    { op: "delete", path: "/list/one", version: -1 } as const,
    client.createPart("/list/one", Buffer.alloc(0), "ephemeral"),
  ];
  await client.multi(swap);
  assert.equal(servers.nodes.get("/list/one")?.owner, client.session.id);
  assert.equal(await codeOf(client.multi([...swap.slice(1), ...swap])), "zookeeper.node-exists");
  assert.equal(
    await codeOf(client.multi([{ op: "delete", path: "/list/two", version: -1 }, ...swap])),
    "zookeeper.no-node",
  );
  assert.deepEqual(servers.childrenOf("/list"), ["one"]);
});

test("below a chroot paths are as if there were none", async () => {
  const { client, servers, told } = await connected({ chroot: "/company/zone" });
  await client.createWithParents("/dubbo/x", Buffer.alloc(0), "ephemeral");
  assert.ok(servers.nodes.has("/company/zone/dubbo/x"));
  await client.addRecursiveWatch("/dubbo");
  servers.put("/company/zone/dubbo/y");
  await new Promise(setImmediate);
  assert.deepEqual(told.slice(1), ["event 1 /dubbo/y"]);
  assert.deepEqual(await client.ephemerals(), ["/dubbo/x"]);
});

test("the next server takes the session over, and what was under way is undecided", async () => {
  const { client, servers, told, clock } = await connected();
  const first = client.address;
  servers.silent = true;
  const lost = codeOf(client.exists("/"));
  servers.silent = false;
  servers.down.add(first);
  servers.cut();
  assert.equal(await lost, "zookeeper.connection-lost");
  assert.equal(await codeOf(client.exists("/")), "zookeeper.connection-lost");
  await clock.advance(500);
  assert.deepEqual(told, ["new", "down", "resumed"]);
  assert.notEqual(client.address, first);
  assert.ok(await client.exists("/"));
});

test("a server that falls silent is left within a third of the session's time", async () => {
  const { client, servers, told, clock } = await connected();
  await clock.advance(1_500);
  assert.deepEqual(told, ["new", "proven"]);
  servers.silent = true;
  await clock.advance(4_000);
  assert.equal(told[2], "down");
  servers.silent = false;
  await clock.advance(6_000);
  assert.equal(client.state, "connected");
});

test("an operation that is not answered in time ends its connection, since nothing behind it would be", async () => {
  const { client, servers, told, clock } = await connected({ deadlineMs: 300, sessionTimeoutMs: 60_000 });
  servers.silent = true;
  const late = codeOf(client.exists("/"));
  await clock.advance(301);
  assert.equal(await late, "zookeeper.timeout");
  assert.deepEqual(told, ["new", "down"]);
});

test("a session that expired is followed by a new one at once, with another id", async () => {
  const { servers, told, clock, sessions } = await connected();
  const first = sessions[0]?.id as bigint;
  servers.expire(first);
  await clock.advance(500);
  assert.deepEqual(told, ["new", "down", "expired", "new"]);
  assert.notEqual(sessions[1]?.id, first);
});

test("when all servers were down for longer than the session lives, it is resumed if they still know it", async () => {
  const { client, servers, told, clock } = await connected();
  for (const address of ["a:1", "b:1", "c:1"]) servers.down.add(address);
  servers.cut();
  for (const session of servers.sessions.values()) session.heardAt = Number.POSITIVE_INFINITY;
  await clock.advance(30_000);
  assert.equal(client.counts.lost, 1);
  servers.down.clear();
  await clock.advance(2_500);
  assert.deepEqual(told.slice(0, 3), ["new", "down", "resumed"]);
});

test("an ensemble that was set up anew is joined, although it knows less than this client has seen", async () => {
  const { client, servers, told, clock } = await connected();
  for (let count = 0; count < 50; count += 1) await client.create(`/n${count}`, Buffer.alloc(0), "persistent");
  servers.wipe();
  servers.cut();
  await clock.advance(5_000);
  assert.deepEqual(told, ["new", "down"], "its servers refuse a client from the future");
  await clock.advance(4_000);
  assert.deepEqual(told.slice(0, 4), ["new", "down", "expired", "new"]);
});

test("a successor goes on with the session that was left to it", async () => {
  const first = await connected();
  await first.client.create("/mine", Buffer.alloc(0), "ephemeral");
  first.client.abandon();
  const second = setUp({ session: first.client.session }, first);
  second.client.start();
  await first.clock.advance(0);
  assert.deepEqual(second.told, ["resumed"]);
  assert.equal((await second.client.exists("/mine"))?.ephemeralOwner, second.client.session.id);
  await second.client.close();
  assert.equal(first.servers.nodes.has("/mine"), false, "an orderly end ends the session");
});

test("watches are set again after a reconnect, and what they missed is told", async () => {
  const { client, servers, told, clock } = await connected();
  servers.put("/list");
  servers.put("/quiet");
  await Promise.all([client.children("/list", true), client.children("/quiet", true), client.exists("/new", true)]);
  const since = client.zxid;
  servers.cut();
  servers.put("/list/one");
  servers.put("/new");
  await clock.advance(500);
  await client.setWatches({ child: ["/list", "/quiet"], exist: ["/new"] }, since);
  assert.deepEqual(told.slice(3), ["event 4 /list", "event 1 /new"]);
  servers.put("/quiet/one");
  await clock.advance(0);
  assert.deepEqual(told.slice(5), ["event 4 /quiet"]);
});

test("servers before 3.6 say that they know no recursive watch, and close", async () => {
  const { client, servers, clock } = await connected();
  servers.old = true;
  assert.equal(await codeOf(client.addRecursiveWatch("/")), "zookeeper.unimplemented");
  await clock.advance(500);
  assert.equal(await codeOf(client.ephemerals()), "zookeeper.unimplemented");
});

test("credentials go with every connection, and wrong ones are told", async () => {
  const right = setUp({ credentials: [{ scheme: "digest", credentials: "me:secret" }] });
  right.servers.secret = "me:secret";
  right.client.start();
  await right.clock.advance(0);
  assert.ok(await right.client.exists("/"));
  const wrong = setUp({ credentials: [{ scheme: "digest", credentials: "me:wrong" }] });
  wrong.servers.secret = "me:secret";
  wrong.client.start();
  await wrong.clock.advance(0);
  assert.equal(wrong.client.state, "waiting");
  assert.match(wrong.client.lastError, /credentials/);
});

test("servers are tried in an order of chance, each before any is tried again", async () => {
  const orders = new Set<string>();
  for (let seed = 0; seed < 20; seed += 1) {
    const { client, servers, clock } = setUp({ random: seededRandom(seed) });
    for (const address of ["a:1", "b:1", "c:1"]) servers.down.add(address);
    client.start();
    await clock.advance(300);
    assert.equal(new Set(servers.dialled.slice(0, 3)).size, 3);
    orders.add(servers.dialled.slice(0, 3).join());
    client.abandon();
  }
  assert.ok(orders.size > 2);
});

test("frames are cut at every byte alike, and no length is believed that is not accepted", () => {
  const frame = Buffer.concat([Buffer.from([0, 0, 0, 3]), Buffer.from("abc"), Buffer.from([0, 0, 0, 0])]);
  for (let cut = 0; cut <= frame.length; cut += 1) {
    const records: string[] = [];
    const frames = new JuteFrames((record) => {
      records.push(record.toString());
      return true;
    });
    frames.read(frame.subarray(0, cut));
    frames.read(frame.subarray(cut));
    assert.deepEqual(records, ["abc", ""]);
    assert.equal(frames.heldBytes, 0);
  }
  const small = new JuteFrames(() => true, 10);
  assert.throws(() => small.read(Buffer.from([0, 0, 0, 11])), FrameError);
  assert.throws(() => new JuteFrames(() => true).read(Buffer.from([0xff, 0, 0, 0])), FrameError);
});
