import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { BeforeFixture, dubboName, providers } from "./testing.ts";

const real = `${providers}/${dubboName("10.0.0.1", 20_880)}`;
const mesh = `${providers}/${dubboName("10.0.0.1", 30_880)}`;
const ephemeral = 1;

async function providerFixture() {
  const fixture = new BeforeFixture();
  fixture.ensemble.put(providers, 0n);
  fixture.ensemble.put(`${providers}/${dubboName("10.0.0.2", 20_880)}`);
  fixture.ensemble.put("/services/shop", 0n);
  const client = await fixture.client();
  client.create(real, ephemeral, "10.0.0.1");
  await fixture.settle();
  fixture.ensemble.changes.length = 0;
  return { fixture, client };
}

describe("a provider that is moved through a door before an ensemble", () => {
  it("stands at both addresses for a while, then at that of the mesh, and back, and never nowhere", async () => {
    const { fixture } = await providerFixture();
    const { ensemble, clock, door } = fixture;
    assert.deepEqual(
      door.registrations().map(({ path, meshPath, state }) => ({ path, meshPath, state })),
      [{ path: real, meshPath: mesh, state: "direct" }],
    );
    const moved = door.toMesh(real);
    await clock.advance(5_999);
    assert.deepEqual(ensemble.changes, [`create ${mesh}`]);
    await clock.advance(1);
    await moved;
    assert.deepEqual(ensemble.changes, [`create ${mesh}`, `delete ${real}`]);
    assert.equal(ensemble.nodes.get(mesh)?.owner, ensemble.newest.session);
    assert.equal(ensemble.nodes.get(mesh)?.data?.toString(), "10.0.0.1");
    ensemble.changes.length = 0;
    const back = door.toDirect(real);
    await clock.advance(6_000);
    await back;
    assert.deepEqual(ensemble.changes, [`create ${real}`, `delete ${mesh}`]);
    assert.equal(door.registrations()[0]?.state, "direct");
  });

  it("finds its own node where it put it, in every state", async () => {
    const { fixture, client } = await providerFixture();
    for (const state of ["direct", "both", "mesh", "both", "direct"] as const) {
      await fixture.door.provide(real, state);
      const exists = client.exists(real);
      const data = client.getData(real);
      const list = client.list(providers);
      const again = client.create(real, ephemeral);
      await fixture.settle();
      assert.equal(client.error(exists), 0, state);
      const body = client.reply(data)?.body;
      assert.equal(body?.kind === "data" && body.data?.toString(), "10.0.0.1", state);
      assert.equal(client.error(again), -110);
      const expected = [dubboName("10.0.0.1", 20_880), dubboName("10.0.0.2", 20_880)];
      assert.deepEqual(client.children(list), expected, state);
    }
    assert.deepEqual(client.events(), []);
  });

  it("takes both nodes away when the application takes its own away, in every state and in the middle of a move", async () => {
    for (const state of ["direct", "both", "mesh"] as const) {
      const { fixture, client } = await providerFixture();
      await fixture.door.provide(real, state);
      const gone = client.delete(real);
      await fixture.settle();
      assert.equal(client.error(gone), 0);
      assert.equal(fixture.ensemble.nodes.has(real), false);
      assert.equal(fixture.ensemble.nodes.has(mesh), false, state);
      assert.equal(fixture.door.registrations().length, 0);
    }
    const { fixture, client } = await providerFixture();
    fixture.ensemble.paused = true;
    const moved = assert.rejects(fixture.door.provide(real, "both"), { code: "zookeeper.withdrawn" });
    for (let turn = 0; turn < 3; turn += 1) {
      fixture.ensemble.newest.run();
      await fixture.settle();
    }
    client.delete(real);
    fixture.ensemble.paused = false;
    fixture.ensemble.newest.run();
    await moved;
    await fixture.settle();
    assert.equal(fixture.ensemble.nodes.has(real), false);
    assert.equal(fixture.ensemble.nodes.has(mesh), false);
  });

  it("registers in the mesh from the start when it is told to, under the name of the application", async () => {
    const fixture = new BeforeFixture();
    fixture.ensemble.put(providers, 0n);
    fixture.owner.begins = { provides: "mesh", consumes: "direct" };
    const client = await fixture.client();
    const made = client.create(real, ephemeral);
    await fixture.settle();
    const body = client.reply(made)?.body;
    assert.equal(body?.kind === "created" && body.path, real);
    assert.deepEqual(fixture.ensemble.children(providers), [dubboName("10.0.0.1", 30_880)]);
    assert.equal(fixture.door.registrations()[0]?.state, "mesh");
  });

  it("waits only for the address that came last, whatever it was told before", async () => {
    const { fixture } = await providerFixture();
    const { clock, door } = fixture;
    const undo = new AbortController();
    const moving = door.toMesh(real, { signal: undo.signal });
    await clock.advance(2_000);
    undo.abort(new Error("undone"));
    await assert.rejects(moving, /undone/);
    const before = clock.now();
    const back = door.toDirect(real);
    await fixture.settle();
    await back;
    assert.equal(clock.now(), before, "the application's own address was never away");
    const again = door.toMesh(real, { overlapMs: 1_000 });
    await clock.advance(1_000);
    await again;
    const returning = door.toDirect(real);
    await clock.advance(5_900);
    assert.equal(door.registrations()[0]?.state, "both");
    await clock.advance(100);
    await returning;
    assert.equal(door.registrations()[0]?.state, "direct");
  });

  it("stays where it is when nobody can reach it in the mesh, also when it is to begin there", async () => {
    const { fixture } = await providerFixture();
    const { owner, door, ensemble } = fixture;
    owner.reached = false;
    await assert.rejects(door.toMesh(real), { code: "zookeeper.not-carried" });
    assert.deepEqual(ensemble.changes, []);
    owner.begins = { provides: "mesh", consumes: "direct" };
    const client = await fixture.client();
    const path = `${providers}/${dubboName("10.0.0.3", 20_880)}`;
    const made = client.create(path, ephemeral);
    await fixture.settle();
    assert.equal(client.error(made), 0);
    assert.deepEqual(ensemble.changes, [`create ${path}`]);
    assert.deepEqual(
      door.registrations().map(({ state }) => state),
      ["direct", "direct"],
    );
  });

  it("is told of beside those that are moved when it is not carried at all, while it is there", async () => {
    const { fixture, client } = await providerFixture();
    const path = `${providers}/${dubboName("10.0.0.1", 80)}`;
    client.create(path, ephemeral);
    await fixture.settle();
    const told = () => fixture.door.uncarried().map((one) => [one.path, one.instance.appPort]);
    assert.deepEqual(told(), [[path, 80]]);
    const { identity } = client;
    await fixture.restart();
    const again = await fixture.client(identity);
    assert.deepEqual(told(), [[path, 80]]);
    again.create(path, ephemeral);
    again.delete(path);
    await fixture.settle();
    assert.deepEqual(told(), []);
  });

  it("is resumed by another process of the door, which learns from the ensemble what is moved", async () => {
    for (const state of ["direct", "both", "mesh"] as const) {
      const { fixture, client } = await providerFixture();
      await fixture.door.provide(real, state);
      const { identity } = client;
      await fixture.restart();
      await fixture.client(identity);
      assert.deepEqual(
        fixture.door.registrations().map((one) => [one.path, one.meshPath, one.state]),
        [[real, mesh, state]],
      );
    }
  });

  it("moves on after its connection broke in the middle", async () => {
    const { fixture, client } = await providerFixture();
    const { door, ensemble, clock } = fixture;
    const moved = door.toMesh(real);
    await clock.advance(2_000);
    ensemble.newest.cut();
    assert.equal(client.closed, true);
    await clock.advance(4_500);
    await fixture.client(client.identity);
    await clock.advance(1_000);
    await moved;
    assert.deepEqual(ensemble.changes, [`create ${mesh}`, `delete ${real}`]);
  });

  it("says so when a session that is to be moved does not come back", async () => {
    const { fixture, client } = await providerFixture();
    client.drop();
    const moved = assert.rejects(fixture.door.toMesh(real), { code: "zookeeper.away" });
    await fixture.clock.advance(25_000);
    await moved;
    await fixture.clock.advance(60_000);
    await assert.rejects(fixture.door.toMesh(real), { code: "zookeeper.unknown" });
  });

  it("keeps the application's watch on its own node over the move", async () => {
    const { fixture, client } = await providerFixture();
    client.getData(real, true);
    await fixture.settle();
    await fixture.door.provide(real, "mesh");
    await fixture.settle();
    assert.deepEqual(client.events(), []);
    fixture.ensemble.set(mesh, Buffer.from("new"));
    assert.deepEqual(client.events(), [`data ${real}`]);
    client.exists(real, true);
    await fixture.settle();
    fixture.ensemble.delete(mesh);
    await fixture.settle();
    assert.deepEqual(client.events(), [`deleted ${real}`]);
  });
});

describe("whatever happens while a provider is moved", () => {
  it("stands somewhere at the ensemble, at every moment", async () => {
    const step = fc.constantFrom("mesh", "direct", "run", "time", "cut", "other", "recreate", "both");
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const { fixture, client } = await providerFixture();
        const { ensemble, door, clock } = fixture;
        let now = client;
        let gaps = 0;
        ensemble.onChange = () => {
          if (!ensemble.nodes.has(real) && !ensemble.nodes.has(mesh)) gaps += 1;
        };
        ensemble.paused = true;
        const moves: Promise<unknown>[] = [];
        for (const one of steps) {
          if (one === "mesh") moves.push(door.toMesh(real).catch(() => undefined));
          else if (one === "direct") moves.push(door.toDirect(real).catch(() => undefined));
          else if (one === "both") moves.push(door.provide(real, "both").catch(() => undefined));
          else if (one === "run") ensemble.newest.run(1);
          else if (one === "time") await clock.advance(3_000);
          else if (one === "other") ensemble.put(`${providers}/${dubboName("10.0.0.9", 20_000 + ensemble.nodes.size)}`);
          else {
            ensemble.newest.cut();
            ensemble.paused = false;
            now = await fixture.client(now.identity);
            ensemble.paused = true;
            if (one === "recreate") {
              now.delete(real);
              now.create(real, ephemeral, "10.0.0.1");
            }
          }
          await fixture.settle();
        }
        ensemble.paused = false;
        ensemble.newest.run();
        await clock.advance(60_000);
        await Promise.all(moves);
        assert.equal(gaps, 0);
        const state = door.registrations()[0]?.state;
        assert.equal(ensemble.nodes.has(real), state !== "mesh");
        assert.equal(ensemble.nodes.has(mesh), state !== "direct");
      }),
      { numRuns: 150 },
    );
  });

  it("is found below the root that its client was given", async () => {
    const fixture = new BeforeFixture();
    const path = `/team${real}`;
    fixture.ensemble.put(`/team${providers}`, 0n);
    const client = await fixture.client();
    client.create(path, ephemeral);
    await fixture.settle();
    await fixture.door.provide(path, "mesh");
    assert.deepEqual(fixture.ensemble.children(`/team${providers}`), [dubboName("10.0.0.1", 30_880)]);
    assert.equal(client.error(client.exists(path)), 0);
  });
});

describe("an application's entry among its instances", () => {
  const entry = "/services/shop/10.0.0.1:20880";

  async function withEntry() {
    const { fixture, client } = await providerFixture();
    const other = await fixture.client();
    other.create(entry, ephemeral, "json");
    await fixture.settle();
    fixture.ensemble.changes.length = 0;
    return { fixture, client, other };
  }

  it("goes after the interface's node is there, and comes back before that one goes", async () => {
    const { fixture } = await withEntry();
    const moved = fixture.door.toMesh(real);
    await fixture.clock.advance(6_000);
    await moved;
    assert.deepEqual(fixture.ensemble.changes, [`create ${mesh}`, `delete ${real}`, `delete ${entry}`]);
    fixture.ensemble.changes.length = 0;
    const back = fixture.door.toDirect(real);
    await fixture.clock.advance(6_000);
    await back;
    assert.deepEqual(fixture.ensemble.changes, [`create ${real}`, `create ${entry}`, `delete ${mesh}`]);
    assert.equal(fixture.ensemble.nodes.get(entry)?.data?.toString(), "json");
  });

  it("is for the application where it put it, while it is not at the ensemble", async () => {
    const { fixture, other } = await withEntry();
    const moved = fixture.door.toMesh(real);
    await fixture.clock.advance(6_000);
    await moved;
    const exists = other.exists(entry);
    const data = other.getData(entry);
    const list = other.list("/services/shop");
    const again = other.create(entry, ephemeral, "other");
    const gone = other.delete(entry);
    const after = other.exists(entry);
    const made = other.create(entry, ephemeral, "newer");
    await fixture.settle();
    assert.deepEqual(
      [exists, data, list, again, gone, after, made].map((xid) => other.error(xid)),
      [0, 0, 0, -110, 0, -101, 0],
    );
    assert.deepEqual(other.children(list), ["10.0.0.1:20880"]);
    assert.equal(fixture.ensemble.nodes.has(entry), false);
    assert.deepEqual(other.events(), []);
    const back = fixture.door.toDirect(real);
    await fixture.clock.advance(6_000);
    await back;
    assert.equal(fixture.ensemble.nodes.get(entry)?.data?.toString(), "newer");
  });

  it("is put back by another process of the door", async () => {
    const { fixture, client, other } = await withEntry();
    const moved = fixture.door.toMesh(real);
    await fixture.clock.advance(6_000);
    await moved;
    await fixture.restart();
    await fixture.client(client.identity);
    const resumed = await fixture.client(other.identity);
    const exists = resumed.exists(entry);
    await fixture.settle();
    assert.equal(resumed.error(exists), 0);
    const back = fixture.door.toDirect(real);
    await fixture.clock.advance(6_000);
    await back;
    assert.equal(fixture.ensemble.nodes.get(entry)?.data?.toString(), "json");
    assert.equal([...fixture.journal.entries()].length, 0);
  });
});
