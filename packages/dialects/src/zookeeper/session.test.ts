import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encodeRequest } from "@dualmesh/wire/jute/request";
import fc from "fast-check";
import { DoorFixture } from "../testing/door-fixture.ts";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import { ZooKeeperTestClient } from "../testing/zookeeper-client.ts";

const ephemeral = 1;

describe("sessions of the ZooKeeper door", () => {
  it("negotiate a timeout and answer the read-only byte only to those who sent it", async () => {
    const fixture = await DoorFixture.open();
    const long = await fixture.client({ timeoutMs: 60_000 });
    assert.equal(long.connected?.timeoutMs, 40_000);
    assert.equal(long.connected?.readOnly, false);
    assert.equal(long.connected?.password.length, 16);
    const old = await fixture.client({ timeoutMs: 1, readOnly: undefined });
    assert.equal(old.connected?.timeoutMs, 4_000);
    assert.equal(old.connected?.readOnly, undefined);
    assert.notEqual(old.connected?.sessionId, long.connected?.sessionId);
  });

  it("are resumed with their password, whatever zxid the client has seen", async () => {
    const fixture = await DoorFixture.open();
    const first = await fixture.client();
    first.create("/a/node", ephemeral);
    await fixture.settle();
    first.drop();
    const again = await fixture.client({ ...first.identity, lastZxid: 2n ** 62n });
    assert.equal(again.connected?.sessionId, first.connected?.sessionId);
    assert.equal(again.closed, false);
    const xid = again.exists("/a/node");
    assert.equal(again.stat(xid)?.ephemeralOwner, first.connected?.sessionId);
  });

  it("are told to be over when the password is wrong or nobody knows them", async () => {
    const fixture = await DoorFixture.open();
    const first = await fixture.client();
    const { sessionId = 0n } = first.identity;
    for (const identity of [
      { sessionId, password: Buffer.alloc(16) },
      { sessionId: 99n },
      { sessionId, password: Buffer.alloc(3) },
    ]) {
      const thief = await fixture.client(identity);
      assert.equal(thief.connected?.timeoutMs, 0);
      assert.equal(thief.closed, true);
    }
    assert.equal(first.closed, false);
  });

  it("are taken over by a second connection, and the first is closed", async () => {
    const fixture = await DoorFixture.open();
    const first = await fixture.client();
    first.create("/a", ephemeral);
    await fixture.settle();
    const second = await fixture.client(first.identity);
    assert.equal(first.closed, true);
    first.connection.closed();
    assert.equal(second.error(second.exists("/a")), 0);
    assert.equal(fixture.door.sessions().length, 1);
  });

  it("expire after silence, and pings keep them", async () => {
    const fixture = await DoorFixture.open();
    const silent = await fixture.client({ timeoutMs: 10_000 });
    const alive = await fixture.client({ timeoutMs: 10_000 });
    silent.create("/silent", ephemeral);
    alive.create("/alive", ephemeral);
    await fixture.settle();
    for (let second = 0; second < 12; second += 1) {
      await fixture.clock.advance(1_000);
      alive.send({ op: "ping" });
    }
    assert.equal(silent.closed, true);
    assert.equal(alive.error(alive.exists("/silent")), -101);
    assert.equal(alive.error(alive.exists("/alive")), 0);
    assert.equal(fixture.door.sessions().length, 1);
  });

  it("do not expire because the door itself stood still", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client({ timeoutMs: 10_000 });
    await fixture.clock.advance(1_000);
    // A stopped process: time passes and no timer runs.
    const now = fixture.clock.now.bind(fixture.clock);
    let asleep = 60_000;
    fixture.clock.now = () => now() + asleep;
    await fixture.clock.advance(1_000);
    assert.equal(client.closed, false);
    asleep = 60_000;
    await fixture.clock.advance(12_000);
    assert.equal(client.closed, true);
  });

  it("end in order with their ephemeral nodes", async () => {
    const fixture = await DoorFixture.open();
    const [leaving, watching] = [await fixture.client(), await fixture.client()];
    leaving.create("/a/b", ephemeral);
    await fixture.settle();
    watching.exists("/a/b", true);
    watching.list("/a", true);
    const xid = leaving.send({ op: "closeSession" });
    await fixture.settle();
    assert.equal(leaving.error(xid), 0);
    assert.equal(leaving.closed, true);
    assert.deepEqual(watching.events(), ["deleted /a/b", "children /a"]);
    assert.deepEqual([...fixture.journal.entries()].length, 1);
  });

  it("survive a restart of the door with what they own", async () => {
    const before = await DoorFixture.open();
    const client = await before.client();
    client.create("/a/mine", ephemeral, "data");
    client.create("/kept", 0, "for all");
    await before.settle();
    const after = await before.restart();
    const again = await after.client(client.identity);
    assert.equal(again.connected?.timeoutMs, 30_000);
    const data = again.reply(again.getData("/a/mine"))?.body;
    assert.equal(data?.kind === "data" && String(data.data), "data");
    assert.equal(again.error(again.exists("/kept")), 0);
    assert.ok((again.reply(again.exists("/"))?.zxid ?? 0n) >> 32n === 2n, "the epoch is the upper half of the zxid");
  });

  it("expire after a restart when they do not come back, counted from the restart", async () => {
    const before = await DoorFixture.open();
    const client = await before.client({ timeoutMs: 10_000 });
    client.create("/a", ephemeral);
    await before.clock.advance(9_000);
    const after = await before.restart();
    await after.clock.advance(9_000);
    const other = await after.client({ timeoutMs: 40_000 });
    assert.equal(other.error(other.exists("/a", true)), 0);
    await after.clock.advance(3_000);
    assert.deepEqual(other.events(), ["deleted /a"]);
  });
});

describe("watches of the ZooKeeper door", () => {
  it("fire once for data, existence and children", async () => {
    const fixture = await DoorFixture.open();
    const [writer, watcher] = [await fixture.client(), await fixture.client()];
    watcher.exists("/a/b", true);
    writer.create("/a/b");
    await fixture.settle();
    assert.deepEqual(watcher.events(), ["created /a/b"]);
    watcher.getData("/a/b", true);
    watcher.list("/a", true);
    watcher.list("/a/b", true);
    writer.send({ op: "setData", path: "/a/b", data: Buffer.from("y"), version: 0 }, "stat");
    writer.create("/a/c");
    writer.delete("/a/b");
    writer.create("/a/b");
    await fixture.settle();
    assert.deepEqual(watcher.events(), ["data /a/b", "children /a", "deleted /a/b"]);
  });

  it("stay when they are persistent, and see the whole tree below when they are recursive", async () => {
    const fixture = await DoorFixture.open();
    const [writer, one, all] = [await fixture.client(), await fixture.client(), await fixture.client()];
    assert.equal(one.error(one.addWatch("/a", 0)), 0);
    assert.equal(all.error(all.addWatch("/a", 1)), 0);
    for (let round = 0; round < 2; round += 1) {
      writer.create("/a/b/c");
      await fixture.settle();
      writer.delete("/a/b/c");
      await fixture.settle();
    }
    assert.deepEqual(all.events(), ["created /a/b/c", "deleted /a/b/c", "created /a/b/c", "deleted /a/b/c"]);
    writer.create("/a/d");
    await fixture.settle();
    assert.deepEqual(one.events(), ["children /a"]);
    assert.equal(one.error(one.send({ op: "checkWatches", path: "/a", kind: 3 })), 0);
    assert.equal(one.error(one.send({ op: "removeWatches", path: "/a", kind: 3 })), 0);
    assert.equal(one.error(one.send({ op: "removeWatches", path: "/a", kind: 3 })), -121);
    writer.delete("/a/d");
    await fixture.settle();
    assert.deepEqual(one.events(), []);
  });

  it("are set anew by a client that comes back, which hears of what it missed", async () => {
    for (const code of [101, 105] as const) {
      const fixture = await DoorFixture.open();
      const [writer, watcher] = [await fixture.client(), await fixture.client()];
      for (const path of ["/a/changed", "/a/deleted", "/a/same", "/l/x"]) writer.create(path);
      await fixture.settle();
      const since = watcher.reply(watcher.exists("/a"))?.zxid ?? 0n;
      watcher.drop();
      writer.send({ op: "setData", path: "/a/changed", data: undefined, version: -1 }, "stat");
      writer.delete("/a/deleted");
      writer.create("/a/created");
      writer.create("/l/y");
      await fixture.settle();
      const again = await fixture.client(watcher.identity);
      again.send({
        op: "setWatches",
        code,
        relativeZxid: since,
        data: ["/a/changed", "/a/deleted", "/a/same"],
        exist: ["/a/created", "/a/never"],
        child: ["/l", "/a/same"],
        persistent: [],
        recursive: code === 105 ? ["/a"] : [],
      });
      assert.deepEqual(again.events(), ["data /a/changed", "deleted /a/deleted", "created /a/created", "children /l"]);
      writer.create("/a/never");
      writer.send({ op: "setData", path: "/a/same", data: undefined, version: -1 }, "stat");
      await fixture.settle();
      assert.deepEqual(again.events(), ["created /a/never", "data /a/same"]);
    }
  });

  it("belong to the connection: a session that is resumed has none until it says so", async () => {
    const fixture = await DoorFixture.open();
    const [writer, watcher] = [await fixture.client(), await fixture.client()];
    watcher.exists("/a", true);
    watcher.drop();
    const again = await fixture.client(watcher.identity);
    writer.create("/a");
    await fixture.settle();
    assert.deepEqual(again.events(), []);
  });

  it("tell of a change before any read shows it, and lose none", async () => {
    const write = fc.record({
      name: fc.constantFrom("a", "b", "c"),
      remove: fc.boolean(),
      settle: fc.boolean(),
      read: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(write, { maxLength: 30 }), async (steps) => {
        const fixture = await DoorFixture.open();
        const [writer, reader] = [await fixture.client(), await fixture.client()];
        writer.create("/l");
        await fixture.settle();
        reader.list("/l", true);
        for (const { name, remove, settle, read } of steps) {
          if (remove) writer.delete(`/l/${name}`);
          else writer.create(`/l/${name}`);
          if (settle) await fixture.settle();
          if (read) reader.list("/l", true);
        }
        await fixture.settle();
        reader.list("/l", true);
        let shown = "";
        let told = true;
        for (const said of reader.said) {
          if ("event" in said) told = true;
          else if (said.reply.body?.kind === "children2") {
            const children = [...said.reply.body.children].sort().join();
            assert.ok(told || children === shown, "a changed list came without an event before it");
            shown = children;
            told = false;
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("the order of answers", () => {
  it("is that of the requests, while writes wait for the disk and reads for the directory", async () => {
    const clock = (await DoorFixture.open()).clock;
    const directory = new MemoryDirectory({ clock });
    directory.answering = false;
    const fixture = await DoorFixture.open({ clock, directory });
    const client = await fixture.client();
    const xids = [
      client.create("/a"),
      client.create("/b"),
      client.exists("/a"),
      client.list("/dubbo/fx.Greeter/providers"),
      client.create("/c"),
      client.exists("/c"),
    ];
    client.send({ op: "ping" });
    await fixture.settle();
    const answered = (): number[] => client.said.flatMap((said) => ("reply" in said ? [said.reply.xid] : []));
    assert.deepEqual(answered(), [-2, ...xids.slice(0, 3)], "a held read holds what comes after it, but no ping");
    await fixture.clock.advance(1_000);
    assert.deepEqual(answered(), [-2, ...xids]);
    assert.deepEqual(client.children(xids[3] ?? 0), []);
  });
});

describe("clients that do not behave", () => {
  it("are closed when they send garbage or too much, at every split", async () => {
    const fixture = await DoorFixture.open();
    const oversize = Buffer.alloc(4);
    oversize.writeInt32BE(1024 * 1024 + 1);
    const malformed = encodeRequest({ xid: 1, op: "unknown", code: 3, bytes: Buffer.from([0, 0, 0, 99, 1]) });
    for (const bytes of [Buffer.from("GET / HTTP/1.1\r\n\r\n"), oversize, Buffer.from([255, 255, 255, 255])]) {
      const client = new ZooKeeperTestClient(fixture.door);
      for (const byte of bytes) client.connection.receive(Buffer.from([byte]));
      assert.equal(client.closed, true);
    }
    const client = await fixture.client();
    for (const byte of malformed) client.connection.receive(Buffer.from([byte]));
    assert.equal(client.closed, true);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
        const peer = new ZooKeeperTestClient(fixture.door);
        peer.connection.receive(Buffer.from(garbage));
        peer.connection.closed();
      }),
    );
  });

  it("have ten seconds for their connect request", async () => {
    const fixture = await DoorFixture.open();
    const slow = new ZooKeeperTestClient(fixture.door);
    slow.connection.receive(Buffer.from([0, 0, 0]));
    await fixture.clock.advance(9_999);
    assert.equal(slow.closed, false);
    await fixture.clock.advance(1);
    assert.equal(slow.closed, true);
  });

  it("do not live by a byte a second: only whole requests count", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client({ timeoutMs: 4_000 });
    client.connection.receive(Buffer.from([0, 0, 0, 200]));
    for (let second = 0; second < 6 && !client.closed; second += 1) {
      client.connection.receive(Buffer.from([0]));
      await fixture.clock.advance(1_000);
    }
    assert.equal(client.closed, true);
  });

  it("are closed when they never read, ask for too much at once or watch too much", async () => {
    const limits = { queuedBytes: 1_000, pendingRequests: 10, watchesPerSession: 5, sessions: 4 };
    const fixture = await DoorFixture.open({ limits });
    const deaf = await fixture.client();
    deaf.queuedBytes = 1_001;
    deaf.exists("/a");
    assert.equal(deaf.closed, true);
    const eager = await fixture.client();
    for (let index = 0; index < 12 && !eager.closed; index += 1) eager.create(`/n${index}`);
    assert.equal(eager.closed, true);
    const curious = await fixture.client();
    for (let index = 0; index < 6; index += 1) curious.exists(`/n${index}`, true);
    assert.equal(curious.closed, true);
    await fixture.client();
    const late = await fixture.client();
    assert.equal(late.closed, true);
    assert.equal(late.connected, undefined);
  });

  it("are refused nodes beyond the limits, and the others are not", async () => {
    const fixture = await DoorFixture.open({ limits: { nodesPerSession: 3, dataBytes: 100 } });
    const [greedy, modest] = [await fixture.client(), await fixture.client()];
    const xids = [1, 2, 3, 4].map((index) => greedy.create(`/g${index}`, ephemeral));
    const big = modest.create("/big", 0, "x".repeat(101));
    const small = modest.create("/small", 0, "x");
    const path = modest.exists(`/${"deep/".repeat(40)}x`);
    await fixture.settle();
    assert.deepEqual(
      xids.map((xid) => greedy.error(xid)),
      [0, 0, 0, -1],
    );
    assert.deepEqual(
      [big, small, path].map((xid) => modest.error(xid)),
      [-1, 0, -8],
    );
  });

  it("hear that an operation is not implemented, which is logged once", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client();
    for (let round = 0; round < 3; round += 1) {
      assert.equal(client.error(client.send({ op: "unknown", code: 14, bytes: Buffer.from("multi") })), -6);
      const sequential = client.create("/a/n-", 3);
      assert.equal(client.error(sequential), -6);
    }
    assert.equal(client.closed, false);
    assert.equal(fixture.logged.filter((line) => line.includes("not implemented")).length, 1);
    assert.equal(fixture.logged.filter((line) => line.includes("sequential")).length, 1);
  });

  it("are refused changes that cannot be written to disk, and may try again", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client();
    fixture.journal.failing = true;
    const refused = client.create("/dubbo/fx.Greeter/providers/dubbo%3A%2F%2F10.0.0.1%3A20880%2Ffx.Greeter", ephemeral);
    await fixture.settle();
    assert.equal(client.error(refused), -1);
    assert.equal(fixture.directory.instances().length, 0);
    fixture.journal.failing = false;
    const accepted = client.create(
      "/dubbo/fx.Greeter/providers/dubbo%3A%2F%2F10.0.0.1%3A20880%2Ffx.Greeter",
      ephemeral,
    );
    await fixture.settle();
    assert.equal(client.error(accepted), 0);
    assert.equal(fixture.directory.instances().length, 1);
  });
});
