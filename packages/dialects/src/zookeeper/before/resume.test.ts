import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { BeforeFixture, dubboName, providers } from "./testing.ts";

const real = `${providers}/${dubboName("10.0.0.1", 20_880)}`;
const mesh = `${providers}/${dubboName("10.0.0.1", 30_880)}`;
const entry = "/services/shop/10.0.0.1:20880";
const ephemeral = 1;

async function resumed(options: { readonly knowsEphemerals?: boolean; readonly state?: "direct" | "mesh" } = {}) {
  const fixture = new BeforeFixture();
  const { ensemble } = fixture;
  ensemble.put(providers, 0n);
  ensemble.put("/services/shop", 0n);
  const client = await fixture.client();
  client.create(real, ephemeral, "a");
  client.create(entry, ephemeral, "json");
  client.create("/mine", ephemeral, "lock");
  await fixture.settle();
  if (options.state === "mesh") {
    const moved = fixture.door.toMesh(real);
    await fixture.clock.advance(6_000);
    await moved;
  }
  ensemble.knowsEphemerals = options.knowsEphemerals ?? true;
  client.drop();
  await fixture.settle();
  ensemble.changes.length = 0;
  return { fixture, ensemble, identity: client.identity };
}

describe("a session that is resumed through the door", () => {
  it("is told that it is connected once it is known what it owns", async () => {
    const { fixture, ensemble, identity } = await resumed();
    ensemble.paused = true;
    const client = await fixture.client(identity);
    ensemble.newest.run(1);
    await fixture.settle();
    assert.equal(client.connected === undefined, true);
    assert.equal(ensemble.newest.waiting, 1);
    ensemble.newest.run(1);
    await fixture.settle();
    assert.equal(client.connected?.sessionId, identity.sessionId);
    assert.deepEqual(client.said, []);
  });

  it("is told so all the same when that takes too long", async () => {
    const { fixture, ensemble, identity } = await resumed();
    ensemble.paused = true;
    const client = await fixture.client(identity);
    ensemble.newest.run(1);
    await fixture.clock.advance(5_000);
    assert.equal(client.connected?.sessionId, identity.sessionId);
    ensemble.paused = false;
    ensemble.newest.run();
    assert.deepEqual(client.said, []);
  });

  it("looks at the nodes one by one before servers that cannot be asked", async () => {
    const { fixture, identity } = await resumed({ knowsEphemerals: false });
    const refused = await fixture.client(identity);
    assert.equal(refused.closed, true, "such servers close the connection that asks");
    assert.equal(refused.connected, undefined);
    const client = await fixture.client(identity);
    await fixture.settle();
    assert.equal(client.connected?.sessionId, identity.sessionId);
    assert.deepEqual(
      fixture.door.registrations().map(({ path }) => path),
      [real],
    );
  });

  it("writes its nodes again without their being gone in between", async () => {
    for (const state of ["direct", "mesh"] as const) {
      const { fixture, ensemble, identity } = await resumed({ state });
      const client = await fixture.client(identity);
      const xids = [client.create(real, ephemeral, "a"), client.delete(entry), client.create(entry, ephemeral, "json")];
      await fixture.settle();
      assert.deepEqual(
        xids.map((xid) => client.error(xid)),
        [0, 0, 0],
      );
      const body = client.reply(xids[0] as number)?.body;
      assert.equal(body?.kind === "created" && body.path, real);
      await fixture.clock.advance(60_000);
      assert.deepEqual(ensemble.changes, [], state);
    }
  });

  it("brings the data to what was written now", async () => {
    for (const state of ["direct", "mesh"] as const) {
      const { fixture, ensemble, identity } = await resumed({ state });
      const client = await fixture.client(identity);
      client.create(real, ephemeral, "new");
      client.delete(entry);
      client.create(entry, ephemeral, "newer");
      await fixture.settle();
      assert.deepEqual(ensemble.changes, state === "mesh" ? [`set ${mesh}`] : [`set ${real}`, `set ${entry}`]);
      if (state === "direct") assert.equal(ensemble.nodes.get(entry)?.data?.toString(), "newer");
    }
  });

  it("takes a node away when it is not written again, in time or before whatever would show it", async () => {
    const look = [
      ["time", () => undefined],
      ["exists", (client) => client.exists(entry)],
      ["its list", (client) => client.list("/services/shop")],
      ["a transaction", (client) => client.send({ op: "unknown", code: 14, bytes: Buffer.alloc(9) })],
      ["the end of the session", (client) => client.send({ op: "closeSession" })],
      ["the end of the connection", (client) => client.drop()],
    ] as [string, (client: Awaited<ReturnType<BeforeFixture["client"]>>) => unknown][];
    for (const [what, act] of look) {
      const { fixture, ensemble, identity } = await resumed();
      const client = await fixture.client(identity);
      const gone = client.delete(entry);
      await fixture.settle();
      assert.equal(client.error(gone), 0);
      assert.equal(ensemble.nodes.has(entry), true, what);
      act(client);
      await fixture.settle();
      if (what === "time") await fixture.clock.advance(1_500);
      assert.equal(ensemble.changes[0], `delete ${entry}`, what);
    }
  });

  it("owes a deletion to the ensemble when the connection broke before it was done", async () => {
    const { fixture, ensemble, identity } = await resumed();
    const client = await fixture.client(identity);
    client.delete(entry);
    await fixture.settle();
    ensemble.newest.cut();
    assert.deepEqual(ensemble.changes, []);
    await fixture.client(identity);
    assert.deepEqual(ensemble.changes, [`delete ${entry}`]);
  });

  it("deletes and creates as ever what is not discovery, and what it does a second time", async () => {
    const { fixture, ensemble, identity } = await resumed();
    const client = await fixture.client(identity);
    client.delete("/mine");
    client.create("/mine", ephemeral);
    client.create(entry, ephemeral, "json");
    const exists = client.create(entry, ephemeral, "json");
    client.delete(entry);
    await fixture.settle();
    assert.equal(client.error(exists), -110);
    assert.deepEqual(ensemble.changes, ["delete /mine", "create /mine", `delete ${entry}`]);
  });

  it("hears from the ensemble itself that it has expired, and is forgotten", async () => {
    const { fixture, ensemble, identity } = await resumed();
    ensemble.expire(identity.sessionId ?? 0n);
    assert.equal(fixture.door.consumers().length, 1);
    const client = await fixture.client(identity);
    assert.equal(client.connected?.sessionId, 0n);
    assert.equal(client.connected?.timeoutMs, 0);
    assert.deepEqual(fixture.door.consumers(), []);
    assert.equal(ensemble.newest.received.length, 1);
  });
});
