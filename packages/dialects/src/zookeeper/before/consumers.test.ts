import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { ZooKeeperTestClient } from "../../testing/zookeeper-client.ts";
import { BeforeFixture, dubboName, providers } from "./testing.ts";

const first = dubboName("10.0.0.1", 20_880);
const second = dubboName("10.0.0.2", 20_880);
/** What stands in the list for the service, made from the first of its providers. */
const standIn = dubboName("10.9.9.9", 15_002);
const recursive = 1;

async function consumerFixture() {
  const fixture = new BeforeFixture();
  fixture.ensemble.put(`${providers}/${first}`);
  fixture.ensemble.put(`${providers}/${second}`);
  const client = await fixture.client();
  const session = (client.connected?.sessionId ?? 0n).toString(16);
  return { fixture, client, session };
}

async function list(fixture: BeforeFixture, client: ZooKeeperTestClient, watch = true) {
  const xid = client.list(providers, watch);
  await fixture.settle();
  return client.children(xid);
}

/** A client as a framework has it: it reads the list again, and watches it again, whenever it is told of a change. */
class Follower {
  #client: ZooKeeperTestClient;
  /** The question that has no answer yet. */
  #asked: number | undefined;
  #zxid = 0n;
  names: readonly string[] = [];

  constructor(client: ZooKeeperTestClient) {
    this.#client = client;
    this.#asked = client.list(providers, true);
  }

  get client(): ZooKeeperTestClient {
    return this.#client;
  }

  /** Takes in what has come, in its order. */
  hear(): void {
    for (const said of this.#client.said.splice(0)) {
      if ("event" in said) {
        if (said.event.type === 4) this.#asked = this.#client.list(providers, true);
        continue;
      }
      if (said.reply.zxid > this.#zxid) this.#zxid = said.reply.zxid;
      const { body } = said.reply;
      if (said.reply.xid !== this.#asked || body?.kind !== "children2") continue;
      this.names = [...body.children].sort();
      this.#asked = undefined;
    }
  }

  /** Another connection: it says what it watches, and reads again only when it is told to. */
  resume(client: ZooKeeperTestClient): void {
    this.hear();
    this.#client = client;
    const none = { data: [], exist: [], persistent: [], recursive: [] };
    client.send({ op: "setWatches", code: 101, relativeZxid: this.#zxid, child: [providers], ...none });
    if (this.#asked !== undefined) this.#asked = client.list(providers, true); // its last question was lost with the connection
  }
}

describe("whatever happens while a consumer is moved", () => {
  it("shows the client in the end what is to be shown, although it reads only when it is told to", async () => {
    const states = ["direct", "both", "mesh"] as const;
    const step = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constant("other" as const), port: fc.integer({ min: 1, max: 4 }) }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("consume" as const), state: fc.constantFrom(...states) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("provide" as const), state: fc.constantFrom(...states) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("run" as const), most: fc.integer({ min: 1, max: 3 }) }) },
      { weight: 3, arbitrary: fc.constantFrom({ kind: "hear" as const }, { kind: "settle" as const }) },
      { weight: 1, arbitrary: fc.constant({ kind: "resume" as const }) },
    );
    const own = `${providers}/${dubboName("10.0.0.5", 20_880)}`;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { fixture, client, session } = await consumerFixture();
        const { ensemble, door, clock } = fixture;
        client.create(own, 1, "own");
        await fixture.settle();
        const follower = new Follower(client);
        await fixture.settle();
        follower.hear();
        ensemble.paused = true;
        const commands: Promise<unknown>[] = [];
        for (const one of steps) {
          if (one.kind === "other") {
            const path = `${providers}/${dubboName("10.0.0.3", 9_000 + one.port)}`;
            if (ensemble.nodes.has(path)) ensemble.delete(path);
            else ensemble.put(path);
          } else if (one.kind === "consume") commands.push(door.consume(session, one.state));
          else if (one.kind === "provide") commands.push(door.provide(own, one.state));
          else if (one.kind === "run") ensemble.newest.run(one.most);
          else if (one.kind === "hear") follower.hear();
          else if (one.kind === "settle") await fixture.settle();
          else {
            ensemble.newest.cut();
            ensemble.paused = false;
            const again = await fixture.client(client.identity);
            ensemble.paused = true;
            follower.resume(again);
          }
        }
        ensemble.paused = false;
        for (let turn = 0; turn < 30; turn += 1) {
          ensemble.newest.run();
          await clock.advance(100);
          follower.hear();
        }
        await Promise.all(commands);
        const fresh = follower.client.list(providers);
        await fixture.settle();
        assert.deepEqual(follower.names, follower.client.children(fresh));
        assert.ok(follower.names.length > 0);
      }),
      { numRuns: 200 },
    );
  });
});

describe("a consumer that is moved through a door before an ensemble", () => {
  it("is shown both for a while, then the stand-in alone, and back, each with one event", async () => {
    const { fixture, client, session } = await consumerFixture();
    const { clock, door } = fixture;
    assert.deepEqual(await list(fixture, client), [first, second]);
    const moved = door.consumerToMesh(session);
    await clock.advance(0);
    assert.deepEqual(client.events(), [`children ${providers}`]);
    assert.deepEqual(await list(fixture, client), [first, second, standIn].sort());
    await clock.advance(5_900);
    assert.deepEqual(client.events(), []);
    await clock.advance(100);
    await moved;
    assert.deepEqual(client.events(), [`children ${providers}`]);
    assert.deepEqual(await list(fixture, client), [standIn]);
    const back = door.consumerToDirect(session);
    await clock.advance(0);
    assert.deepEqual(client.events(), [`children ${providers}`]);
    assert.deepEqual(await list(fixture, client), [first, second, standIn].sort());
    await clock.advance(6_000);
    await back;
    assert.deepEqual(client.events(), [`children ${providers}`]);
    assert.deepEqual(await list(fixture, client), [first, second]);
    fixture.ensemble.delete(`${providers}/${first}`);
    assert.deepEqual(client.events(), [`children ${providers}`]);
  });

  it("says what it will call when it writes that down, and when it is resumed", async () => {
    const { fixture, client } = await consumerFixture();
    const url = "consumer://10.0.0.1/demo.Greeter?application=shop&interface=demo.Greeter&version=1.0&timeout=700";
    fixture.ensemble.put("/dubbo/demo.Greeter/consumers", 0n);
    client.create(`/dubbo/demo.Greeter/consumers/${encodeURIComponent(url)}`, 1);
    await fixture.settle();
    assert.deepEqual(fixture.owner.wanted, ["dubbo/demo.Greeter:1.0: 700"]);
    const { identity } = client;
    await fixture.restart();
    await fixture.client(identity);
    assert.deepEqual(fixture.owner.wanted, Array(2).fill("dubbo/demo.Greeter:1.0: 700"));
  });

  it("has lists that can be asked for as the ensemble has them, in every state", async () => {
    const { fixture, client, session } = await consumerFixture();
    await list(fixture, client);
    for (const state of ["direct", "both", "mesh"] as const) {
      await fixture.door.consume(session, state);
      const [only, ...others] = await fixture.door.lists(session);
      assert.deepEqual([only?.dialect, only?.interfaceName, others], ["dubbo", "demo.Greeter", []]);
      assert.deepEqual(only?.instances.map(({ host }) => host).sort(), ["10.0.0.1", "10.0.0.2"]);
    }
  });

  it("fires a watch only when the client has set one, and once", async () => {
    const { fixture, client, session } = await consumerFixture();
    await list(fixture, client, false);
    await fixture.door.consume(session, "both");
    assert.deepEqual(client.events(), []);
    await list(fixture, client, true);
    await fixture.door.consume(session, "mesh");
    await fixture.door.consume(session, "both");
    assert.deepEqual(client.events(), [`children ${providers}`]);
  });

  it("hears of a change at the ensemble when what it is shown changes, and only then", async () => {
    const { fixture, client, session } = await consumerFixture();
    const { ensemble } = fixture;
    await fixture.door.consume(session, "mesh");
    assert.deepEqual(await list(fixture, client), [standIn]);
    for (const port of [20_881, 20_882, 20_883]) {
      ensemble.put(`${providers}/${dubboName("10.0.0.3", port)}`);
      await fixture.settle();
      ensemble.delete(`${providers}/${dubboName("10.0.0.3", port)}`);
      await fixture.settle();
    }
    assert.deepEqual(client.events(), []);
    fixture.owner.bypassed.add("10.0.0.4");
    const bypassed = dubboName("10.0.0.4", 9_000);
    ensemble.put(`${providers}/${bypassed}`);
    await fixture.settle();
    assert.deepEqual(client.events(), [`children ${providers}`]);
    assert.deepEqual(await list(fixture, client), [bypassed, standIn]);
    for (const name of [first, second, bypassed]) ensemble.delete(`${providers}/${name}`);
    await fixture.settle();
    assert.deepEqual(client.events(), [`children ${providers}`]);
    assert.deepEqual(await list(fixture, client), []);
  });

  it("is told before it reads a list that has changed", async () => {
    const { fixture, client, session } = await consumerFixture();
    const { ensemble } = fixture;
    await fixture.door.consume(session, "mesh");
    await list(fixture, client);
    client.said.length = 0;
    ensemble.paused = true;
    client.list(providers, true);
    ensemble.delete(`${providers}/${first}`);
    ensemble.delete(`${providers}/${second}`);
    ensemble.newest.run();
    await fixture.settle();
    assert.deepEqual(
      client.said.map((said) => ("event" in said ? "event" : "reply")),
      ["event", "reply"],
    );
  });

  it("reads what it is shown, and finds nothing of what it is not", async () => {
    const { fixture, client, session } = await consumerFixture();
    await list(fixture, client);
    await fixture.door.consume(session, "mesh");
    const data = client.getData(`${providers}/${standIn}`, true);
    const exists = client.exists(`${providers}/${standIn}`);
    const hidden = client.exists(`${providers}/${first}`, true);
    const none = client.exists(`${providers}/none`);
    await fixture.settle();
    assert.deepEqual(
      [data, exists, hidden, none].map((xid) => client.error(xid)),
      [0, 0, -101, -101],
    );
    const body = client.reply(data)?.body;
    assert.equal(body?.kind === "data" && body.data?.toString(), "10.0.0.1");
    client.events();
    await fixture.door.consume(session, "direct");
    assert.deepEqual(client.events().sort(), [`created ${providers}/${first}`, `deleted ${providers}/${standIn}`]);
  });

  it("answers a look at one name before the list was ever read", async () => {
    const { fixture, client, session } = await consumerFixture();
    await fixture.door.consume(session, "mesh");
    const shown = client.getData(`${providers}/${standIn}`);
    const hidden = client.getData(`${providers}/${second}`);
    const after = client.exists(providers);
    await fixture.settle();
    assert.deepEqual(
      [shown, hidden, after].map((xid) => client.error(xid)),
      [0, -101, 0],
    );
  });

  it("tells a recursive watch of the names that come and go, and of nothing that is not shown", async () => {
    const { fixture, client, session } = await consumerFixture();
    client.addWatch("/dubbo", recursive);
    await list(fixture, client, false);
    await fixture.door.consume(session, "both");
    assert.deepEqual(client.events(), [`created ${providers}/${standIn}`]);
    await fixture.door.consume(session, "mesh");
    assert.deepEqual(client.events().sort(), [`deleted ${providers}/${first}`, `deleted ${providers}/${second}`]);
    fixture.ensemble.put(`${providers}/${dubboName("10.0.0.3", 20_880)}`);
    fixture.ensemble.set(`${providers}/${first}`, Buffer.from("y"));
    await fixture.settle();
    assert.deepEqual(client.events(), []);
    fixture.ensemble.put("/dubbo/other.Service/configurators/x");
    assert.deepEqual(client.events().at(-1), "created /dubbo/other.Service/configurators/x");
  });

  it("comes back to what it was shown: its watches are set again, and only a change fires them", async () => {
    const { fixture, client, session } = await consumerFixture();
    await fixture.door.consume(session, "mesh");
    await list(fixture, client);
    client.getData(`${providers}/${standIn}`, true);
    await fixture.settle();
    fixture.ensemble.newest.cut();
    fixture.ensemble.put(`${providers}/${dubboName("10.0.0.3", 20_880)}`); // not seen by the client, whoever it is
    const again = await fixture.client(client.identity);
    const watches = {
      op: "setWatches",
      code: 101,
      relativeZxid: 0n,
      data: [`${providers}/${standIn}`, "/mine/lock"],
      exist: [`${providers}/${first}`],
      child: [providers, "/mine"],
      persistent: [],
      recursive: [],
    } as const;
    const set = again.send(watches);
    await fixture.settle();
    assert.equal(again.error(set), 0);
    assert.deepEqual(again.events(), ["deleted /mine/lock"]);
    await fixture.door.consume(session, "both");
    assert.deepEqual(again.events().sort(), [`children ${providers}`, `created ${providers}/${first}`]);
  });

  it("is told to read again when the door does not know what it was shown", async () => {
    const { fixture, client } = await consumerFixture();
    fixture.owner.begins = { provides: "direct", consumes: "mesh" };
    await fixture.restart();
    const again = await fixture.client(client.identity);
    again.send({
      op: "setWatches",
      code: 105,
      relativeZxid: 0n,
      data: [`${providers}/${first}`, `${providers}/${standIn}`],
      exist: [],
      child: [providers],
      persistent: [],
      recursive: [],
    });
    await fixture.settle();
    assert.deepEqual(again.events().sort(), [`children ${providers}`, `deleted ${providers}/${first}`]);
    assert.deepEqual(await list(fixture, again), [standIn]);
  });

  it("does not find applications by their instances whose interfaces it is shown, and others as they are", async () => {
    const { fixture, client, session } = await consumerFixture();
    const { ensemble } = fixture;
    ensemble.put("/services/shop/10.0.0.1:20880");
    ensemble.put("/services/plain/10.0.0.7:80");
    await list(fixture, client);
    const other = await fixture.client();
    other.list("/services/shop", true);
    other.list("/services/plain", true);
    await fixture.settle();
    const moved = Promise.all([
      fixture.door.consumerToMesh(session),
      fixture.door.consumerToMesh((other.connected?.sessionId ?? 0n).toString(16)),
    ]);
    await fixture.clock.advance(5_000);
    assert.deepEqual(other.events(), []);
    await fixture.clock.advance(1_000);
    await moved;
    assert.deepEqual(other.events(), ["children /services/shop"]);
    const shop = other.list("/services/shop");
    const plain = other.list("/services/plain");
    await fixture.settle();
    assert.deepEqual(other.children(shop), []);
    assert.deepEqual(other.children(plain), ["10.0.0.7:80"]);
  });

  it("refreshes what is shown when the owner says so", async () => {
    const { fixture, client, session } = await consumerFixture();
    await fixture.door.consume(session, "mesh");
    await list(fixture, client);
    fixture.owner.bypassed.add("10.0.0.2");
    fixture.door.refresh();
    assert.deepEqual(client.events(), [`children ${providers}`]);
    assert.deepEqual(await list(fixture, client), [second, standIn].sort());
  });
});
