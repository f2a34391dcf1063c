import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import { dubboName } from "@dualmesh/dialects/zookeeper/before/testing";
import type { Crossing } from "@dualmesh/model/crossing";
import { CrossingFixture, greeter, host, providers, servers } from "./testing.ts";

const ephemeral = 1;
const standIn = /dubbo%3A%2F%2F2130706433%3A20882/;
const code =
  (wanted: string, text = /./) =>
  (error: unknown): boolean =>
    isMeshError(error, wanted) && text.test(error.message);

const statesOf = ({ registrations }: Crossing): readonly string[] => registrations.map(({ state }) => state);
const portsAt = (fixture: CrossingFixture): readonly number[] =>
  fixture.ensemble
    .children(providers)
    .map((name) => Number(/%3A(\d+)%2F/.exec(name)?.[1]))
    .sort();

describe("the doors of a crossing", () => {
  it("have a port for each server, the same for who asks again, and lead to that very server", async () => {
    const fixture = new CrossingFixture();
    const crossing = await fixture.openOne();
    assert.deepEqual(crossing.doors, [
      { server: servers[0], port: 21_100 },
      { server: servers[1], port: 21_102 },
    ]);
    assert.deepEqual(await fixture.openOne(), crossing);
    const other = await fixture.openOne("other");
    assert.deepEqual(
      other.doors.map(({ port }) => port),
      [21_103, 21_104],
    );
    await fixture.client(crossing);
    await fixture.client({ ...crossing, doors: [crossing.doors[1] as Crossing["doors"][0]] });
    assert.deepEqual(fixture.dialled, servers);
    const more = await fixture.command("open", { name: "shop", servers: ["[2001:db8::1]:2181"], chroots: [], host });
    assert.deepEqual(more.doors.at(-1), { server: "[2001:db8::1]:2181", port: 21_105 });
    assert.equal(fixture.doors.has("::1:21105"), true, "a rule leads what calls an IPv6 address to ::1");
  });

  it("are refused where the sidecar's directory is another one", async () => {
    const ask = { name: "shop", servers, chroots: [], host };
    const directory = { kind: "registry", addresses: [], chroot: "" };
    await assert.rejects(
      new CrossingFixture({ directory }).command("open", ask),
      code("crossing.other-directory", /directory is registry/),
    );
    const elsewhere = new CrossingFixture({ resolve: async () => ["192.0.2.99"] });
    await assert.rejects(elsewhere.command("open", ask), code("crossing.other-directory", /zoo\.example:2181/));
    await assert.rejects(
      new CrossingFixture().command("open", { ...ask, chroots: ["/team"] }),
      code("crossing.other-directory", /no root node of its own, the application \/team/),
    );
    assert.deepEqual((await elsewhere.list()).crossings, []);
  });

  it("cannot be open under one name for two applications", async () => {
    const fixture = new CrossingFixture();
    await fixture.openOne();
    const ask = { name: "shop", servers, chroots: [], host: "192.0.2.3" };
    await assert.rejects(fixture.command("open", ask), code("crossing.exists"));
  });

  it("take the ports that they had after a restart, and others where those are taken", async () => {
    const fixture = new CrossingFixture();
    const crossing = await fixture.openOne();
    await fixture.restart();
    assert.deepEqual((await fixture.list()).crossings[0]?.doors, crossing.doors);
    fixture.taken.add(21_100);
    await fixture.restart();
    assert.deepEqual(
      (await fixture.list()).crossings[0]?.doors.map(({ port }) => port),
      [21_103, 21_102],
    );
  });

  it("are shut when it is closed, which may be said twice", async () => {
    const fixture = new CrossingFixture();
    const crossing = await fixture.openOne();
    const client = await fixture.client(crossing);
    await fixture.command("close", { name: "shop" });
    assert.equal(client.closed, true);
    assert.equal(fixture.doors.size, 0);
    assert.deepEqual(await fixture.command("close", { name: "shop" }), {});
    await fixture.restart();
    assert.deepEqual((await fixture.list()).crossings, []);
    await assert.rejects(fixture.command("provide", { name: "shop", to: "mesh" }), code("crossing.unknown"));
  });
});

describe("a disk that takes nothing more", () => {
  it("lets nobody into the mesh, and keeps nobody there", async () => {
    const fixture = new CrossingFixture();
    const crossing = await fixture.openOne();
    await fixture.other();
    const { client } = await fixture.provider(crossing);
    client.list(providers, true);
    await fixture.settle();
    const isFull = (is: boolean): void => {
      for (const journal of Object.values(fixture.journals)) journal.failing = is;
    };
    const step = async (name: "provide" | "consume", to: "mesh" | "direct"): Promise<void> => {
      const going = fixture.command(name, { name: "shop", to });
      await fixture.clock.advance(20_000);
      await going;
    };
    isFull(true);
    for (const name of ["provide", "consume"] as const) {
      await assert.rejects(fixture.command(name, { name: "shop", to: "mesh" }), code("state.write-failed"));
    }
    assert.deepEqual(portsAt(fixture), [20_880, 20_880]);
    isFull(false);
    await step("provide", "mesh");
    await step("consume", "mesh");
    assert.deepEqual(portsAt(fixture), [20_880, 20_881]);
    isFull(true);
    await step("consume", "direct");
    await step("provide", "direct");
    assert.deepEqual(portsAt(fixture), [20_880, 20_880]);
    const [shown] = (await fixture.list()).crossings;
    assert.deepEqual([shown?.provides, shown?.consumes, shown?.sessions[0]?.consumes], ["direct", "direct", "direct"]);
    assert.deepEqual(await fixture.command("close", { name: "shop" }), {});
    assert.equal(fixture.doors.size, 0);
    isFull(false);
    await fixture.restart();
    assert.deepEqual((await fixture.list()).crossings, []);
  });
});

describe("what an application provides through a crossing", () => {
  it("stands at both addresses, then at the published one, behind which it is called, and back", async () => {
    const fixture = new CrossingFixture();
    const { path } = await fixture.provider(await fixture.openOne());
    const moving = fixture.command("provide", { name: "shop", to: "mesh" });
    await fixture.clock.advance(3_000);
    assert.deepEqual(portsAt(fixture), [20_880, 20_881]);
    assert.deepEqual(fixture.world.opened, ["192.0.2.2:20881"]);
    await fixture.clock.advance(3_100);
    const moved = await moving;
    assert.deepEqual(portsAt(fixture), [20_881]);
    const { session: _, ...row } = moved.registrations[0] as Crossing["registrations"][0];
    assert.deepEqual(row, {
      path,
      service: greeter,
      application: "shop",
      host,
      appPort: 20_880,
      published: "192.0.2.2:20881",
      bypassed: "",
      state: "mesh",
    });
    const [inbound] = fixture.world.face.inbound();
    assert.deepEqual(
      inbound?.services.map(({ service, appPort, leaving }) => [inbound.host, inbound.port, service, appPort, leaving]),
      [["192.0.2.2", 20_881, greeter, 20_880, false]],
    );
    const back = fixture.command("provide", { name: "shop", to: "direct" });
    await fixture.clock.advance(6_100);
    assert.deepEqual(statesOf(await back), ["direct"]);
    assert.deepEqual(portsAt(fixture), [20_880]);
    await fixture.command("close", { name: "shop" });
    await fixture.settle();
    assert.equal(fixture.world.face.inbound()[0]?.services[0]?.leaving, true, "callers that have not heard go on");
    await fixture.clock.advance(30_000);
    assert.deepEqual(fixture.world.face.inbound(), []);
  });

  it("says to other sidecars which instance it is, and to callers how to watch over the connection", async () => {
    const fixture = new CrossingFixture();
    await fixture.provider(await fixture.openOne());
    const moving = fixture.command("provide", { name: "shop", to: "mesh", overlapMs: 0 });
    await fixture.clock.advance(3_000);
    await moving;
    const name = decodeURIComponent(fixture.ensemble.children(providers)[0] ?? "");
    assert.match(name, /^dubbo:\/\/192\.0\.2\.2:20881\/demo\.Greeter\?application=shop&.*heartbeat=3000/);
    assert.match(name, /dualmesh\.mode=mesh&dualmesh\.app-port=20880&dualmesh\.host=192\.0\.2\.2/);
  });

  it("is undone at once: what waits is given up, and the address that never went needs no overlap", async () => {
    const fixture = new CrossingFixture();
    await fixture.provider(await fixture.openOne());
    const moving = fixture.command("provide", { name: "shop", to: "mesh" });
    await fixture.clock.advance(2_000);
    const back = fixture.command("provide", { name: "shop", to: "direct" });
    await assert.rejects(moving, code("crossing.overtaken"));
    await fixture.settle();
    assert.deepEqual(statesOf(await back), ["direct"]);
    assert.deepEqual(portsAt(fixture), [20_880]);
    assert.equal(fixture.clock.now() < 5_000, true);
  });

  it("begins in the mesh when it is registered later, once it is reached there", async () => {
    const fixture = new CrossingFixture();
    const crossing = await fixture.openOne();
    await fixture.command("provide", { name: "shop", to: "mesh" });
    const client = await fixture.client(crossing);
    fixture.world.accepting.add(`${host}:20880`);
    const made = client.create(`${providers}/${dubboName(host, 20_880)}`, ephemeral);
    await fixture.clock.advance(1_000);
    assert.equal(client.error(made), 0);
    assert.deepEqual(portsAt(fixture), [20_881]);
    assert.deepEqual(fixture.world.opened, ["192.0.2.2:20881"]);
  });

  it("stays where it is when it cannot be carried, and that is said", async () => {
    const fixture = new CrossingFixture();
    const crossing = await fixture.openOne();
    const client = await fixture.client(crossing);
    const triple = `${providers}/${dubboName(host, 20_880).replace("dubbo%3A", "tri%3A")}`;
    client.create(triple, ephemeral);
    await fixture.settle();
    const moving = fixture.command("provide", { name: "shop", to: "mesh" });
    await assert.rejects(moving, code("crossing.not-carried", /tri\/demo\.Greeter.*protocol tri is not carried/));
    const [found] = (await fixture.list()).crossings;
    assert.equal(found?.provides, "direct", "nothing was decided");
    const rows = found?.registrations.map(({ bypassed, published, state }) => [bypassed, published, state]);
    assert.deepEqual(rows, [["protocol tri is not carried", "", "direct"]]);
    await fixture.provider(crossing, 20_890);
    const some = fixture.command("provide", { name: "shop", to: "mesh", overlapMs: 0 });
    await fixture.clock.advance(3_000);
    assert.deepEqual([...statesOf(await some)].sort(), ["direct", "mesh"]);
  });

  it("stays where it is while its published port cannot be had", async () => {
    const fixture = new CrossingFixture();
    fixture.world.taken.add(20_881);
    await fixture.provider(await fixture.openOne());
    const moving = fixture.command("provide", { name: "shop", to: "mesh" });
    const refused = assert.rejects(moving, code("crossing.not-carried", /20881 is in use/));
    await fixture.clock.advance(3_000);
    await refused;
    assert.deepEqual(portsAt(fixture), [20_880]);
    fixture.world.taken.clear();
    const again = fixture.command("provide", { name: "shop", to: "mesh" });
    await fixture.clock.advance(9_000);
    assert.deepEqual(statesOf(await again), ["mesh"]);
  });

  it("is moved for the sessions that are named alone", async () => {
    const fixture = new CrossingFixture();
    const crossing = await fixture.openOne();
    const first = await fixture.provider(crossing, 20_880);
    await fixture.provider(crossing, 20_890);
    const id = (first.client.connected?.sessionId ?? 0n).toString(16);
    const moving = fixture.command("provide", { name: "shop", to: "mesh", sessions: [id], overlapMs: 0 });
    await fixture.clock.advance(3_000);
    const moved = await moving;
    assert.equal(moved.provides, "direct");
    assert.deepEqual(
      moved.registrations.map(({ appPort, state }) => [appPort, state]),
      [
        [20_880, "mesh"],
        [20_890, "direct"],
      ],
    );
  });

  it("goes on where it was after a restart, in the same session", async () => {
    const fixture = new CrossingFixture();
    const { client, path } = await fixture.provider(await fixture.openOne());
    const moving = fixture.command("provide", { name: "shop", to: "mesh", overlapMs: 0 });
    await fixture.clock.advance(3_000);
    await moving;
    await fixture.restart();
    const [crossing] = (await fixture.list()).crossings;
    assert.equal(crossing?.provides, "mesh");
    const again = await fixture.client(crossing as Crossing, client.identity);
    assert.equal(again.connected?.sessionId, client.identity.sessionId);
    const [found] = (await fixture.list()).crossings;
    assert.deepEqual(
      found?.registrations.map((one) => [one.path, one.published, one.state]),
      [[path, "192.0.2.2:20881", "mesh"]],
    );
    const back = fixture.command("provide", { name: "shop", to: "direct", overlapMs: 0 });
    await fixture.clock.advance(1_000);
    await back;
    assert.deepEqual(portsAt(fixture), [20_880]);
  });

  it("finds its way back although the disk was lost", async () => {
    const fixture = new CrossingFixture();
    const { client, path } = await fixture.provider(await fixture.openOne());
    const moving = fixture.command("provide", { name: "shop", to: "mesh", overlapMs: 0 });
    await fixture.clock.advance(3_000);
    await moving;
    client.drop(); // nobody is there who could be brought back before
    await fixture.settle();
    await fixture.command("close", { name: "shop" });
    const crossing = await fixture.openOne();
    await fixture.client(crossing, client.identity);
    const rows = (await fixture.list()).crossings[0]?.registrations.map((one) => [one.path, one.appPort, one.state]);
    assert.deepEqual(rows, [[path, 20_880, "mesh"]]);
    const back = fixture.command("provide", { name: "shop", to: "direct", overlapMs: 0 });
    await fixture.clock.advance(3_000);
    await back;
    assert.deepEqual(fixture.ensemble.children(providers), [path.slice(providers.length + 1)]);
  });

  it("goes back before its crossing is closed, when somebody is there: nobody would serve the port that it names", async () => {
    const fixture = new CrossingFixture();
    const crossing = await fixture.openOne();
    const { client } = await fixture.provider(crossing);
    const { client: other } = await fixture.provider(crossing, 20_890);
    const moving = fixture.command("provide", { name: "shop", to: "mesh", overlapMs: 0 });
    await fixture.clock.advance(3_000);
    await moving;
    client.drop(); // its process has ended
    await fixture.settle();
    const closing = fixture.command("close", { name: "shop" });
    await fixture.clock.advance(1_000);
    assert.equal(other.closed, false, "it is still being brought back");
    await fixture.clock.advance(7_000);
    await closing;
    assert.equal(other.closed, true);
    assert.deepEqual(portsAt(fixture), [20_881, 20_890], "what the dead session left ends with that session");
  });

  it("is completed after a restart in the middle, when that is asked for again", async () => {
    const fixture = new CrossingFixture();
    const { client } = await fixture.provider(await fixture.openOne());
    const moving = fixture.command("provide", { name: "shop", to: "mesh" });
    const cut = assert.rejects(moving, code("crossing.closed"));
    await fixture.clock.advance(3_000);
    await fixture.restart();
    await cut;
    const [crossing] = (await fixture.list()).crossings;
    await fixture.client(crossing as Crossing, client.identity);
    assert.deepEqual(portsAt(fixture), [20_880, 20_881]);
    const again = fixture.command("provide", { name: "shop", to: "mesh" });
    await fixture.clock.advance(6_100);
    assert.deepEqual(statesOf(await again), ["mesh"]);
    assert.deepEqual(portsAt(fixture), [20_881]);
  });
});

describe("what an application is shown through a crossing", () => {
  async function consumer(fixture: CrossingFixture) {
    const crossing = await fixture.openOne();
    const client = await fixture.client(crossing);
    const shown = async (): Promise<readonly string[]> => {
      const xid = client.list(providers, true);
      await fixture.settle();
      return [...(client.children(xid) ?? [])].sort();
    };
    return { client, shown };
  }

  it("is both for a while, then the stand-in, and back", async () => {
    const fixture = new CrossingFixture();
    const name = await fixture.other();
    const { shown } = await consumer(fixture);
    assert.deepEqual(await shown(), [name]);
    const moving = fixture.command("consume", { name: "shop", to: "mesh" });
    await fixture.clock.advance(1_000);
    const beside = await shown();
    assert.equal(beside.includes(name) && beside.some((one) => standIn.test(one)) && beside.length === 2, true);
    await fixture.clock.advance(6_000);
    assert.deepEqual(
      (await moving).sessions.map(({ consumes, lists }) => [consumes, lists]),
      [["mesh", [providers]]],
    );
    const alone = await shown();
    assert.equal(alone.length === 1 && standIn.test(alone[0] ?? ""), true);
    const back = fixture.command("consume", { name: "shop", to: "direct" });
    await fixture.clock.advance(6_100);
    await back;
    assert.deepEqual(await shown(), [name]);
  });

  it("is the providers themselves until the sidecar can call them, and then both for a while", async () => {
    const fixture = new CrossingFixture();
    const name = await fixture.other();
    fixture.reached.clear();
    const { shown } = await consumer(fixture);
    await shown();
    const moving = fixture.command("consume", { name: "shop", to: "mesh", overlapMs: 0 });
    const refused = assert.rejects(moving, code("crossing.not-carried", /demo\.Greeter/));
    await fixture.clock.advance(6_000);
    await refused;
    assert.deepEqual(await shown(), [name]);
    assert.equal((await fixture.list()).crossings[0]?.consumes, "direct");

    await fixture.other({ service: "dubbo/demo.Other::" });
    const begin = fixture.command("consume", { name: "shop", to: "mesh", sessions: [], overlapMs: 0 });
    await fixture.settle();
    await begin;
    fixture.reached.add(greeter);
    const late = fixture.command("consume", { name: "shop", to: "mesh", overlapMs: 0 });
    await fixture.clock.advance(1_000);
    await late;
    const alone = await shown();
    assert.equal(alone.length === 1 && standIn.test(alone[0] ?? ""), true);
  });

  it("goes on with the stand-in after a restart, whatever the directory has not said yet", async () => {
    const fixture = new CrossingFixture();
    await fixture.other();
    const { client, shown } = await consumer(fixture);
    await shown();
    const moving = fixture.command("consume", { name: "shop", to: "mesh", overlapMs: 0 });
    await fixture.clock.advance(1_000);
    await moving;
    const before = await shown();
    await fixture.restart();
    const [crossing] = (await fixture.list()).crossings;
    const again = await fixture.client(crossing as Crossing, client.identity);
    const xid = again.list(providers, true);
    await fixture.settle();
    assert.deepEqual(again.children(xid), before);
    assert.equal((await fixture.list()).crossings[0]?.sessions[0]?.consumes, "mesh");
  });

  it("shows a service that comes later beside its providers at first", async () => {
    const fixture = new CrossingFixture();
    const { shown } = await consumer(fixture);
    await shown();
    await fixture.command("consume", { name: "shop", to: "mesh", overlapMs: 0 });
    const name = await fixture.other();
    await fixture.settle();
    const first = await shown();
    assert.equal(first.includes(name), true);
    await fixture.clock.advance(6_000);
    const later = await shown();
    assert.equal(later.length === 1 && standIn.test(later[0] ?? ""), true, later.join());
  });

  it("shows the providers beside a new stand-in for as long as was meant, also after a restart", async () => {
    const fixture = new CrossingFixture();
    const { client, shown } = await consumer(fixture);
    await shown();
    await fixture.command("consume", { name: "shop", to: "mesh", overlapMs: 0 });
    const name = await fixture.other();
    await fixture.settle();
    assert.equal((await shown()).length, 2);
    await fixture.restart(); // which takes five of the six seconds
    const [crossing] = (await fixture.list()).crossings;
    const again = await fixture.client(crossing as Crossing, client.identity);
    const read = async (): Promise<readonly string[]> => {
      const xid = again.list(providers, true);
      await fixture.settle();
      return again.children(xid) ?? [];
    };
    const beside = await read();
    assert.equal(beside.includes(name) && beside.some((one) => standIn.test(one)), true, beside.join());
    await fixture.clock.advance(1_500);
    const alone = await read();
    assert.equal(alone.length === 1 && standIn.test(alone[0] ?? ""), true, alone.join());
  });

  it("does not believe a list that is suddenly empty, also after a restart", async () => {
    const fixture = new CrossingFixture();
    const name = await fixture.other();
    const { client, shown } = await consumer(fixture);
    await shown();
    const moving = fixture.command("consume", { name: "shop", to: "mesh", overlapMs: 0 });
    await fixture.clock.advance(1_000);
    await moving;
    const before = await shown();
    assert.equal(before.length === 1 && standIn.test(before[0] ?? ""), true);
    fixture.ensemble.delete(`${providers}/${name}`);
    await fixture.settle();
    assert.deepEqual(await shown(), before, "the sidecar can call it still");
    await fixture.restart();
    const [crossing] = (await fixture.list()).crossings;
    const again = await fixture.client(crossing as Crossing, client.identity);
    const xid = again.list(providers, true);
    await fixture.settle();
    assert.deepEqual(again.children(xid), before);
  });
});
