import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Directory } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { overlapMs } from "../overlap.ts";
import { DoorFixture, loopbackStandIn } from "../testing/door-fixture.ts";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import { MemoryJournal } from "../testing/memory-journal.ts";
import type { ZooKeeperTestClient } from "../testing/zookeeper-client.ts";
import { decodeName, encodeName } from "./provider-url.ts";

const ephemeral = 1;
const providers = "/dubbo/fx.Greeter/providers";

function dubboUrl(address: string, parameters = ""): string {
  return `dubbo://${address}/fx.Greeter?application=p&interface=fx.Greeter&methods=a,b&side=provider&timestamp=1795475652816${parameters}`;
}

function providerPath(url: string): string {
  return `${providers}/${encodeName(url)}`;
}

function urls(client: ZooKeeperTestClient, xid: number): string[] | undefined {
  return client.children(xid)?.map((name) => decodeName(name) ?? name);
}

const consumerPath = `/dubbo/fx.Greeter/consumers/${encodeName("consumer://10.0.0.9/fx.Greeter?application=c&interface=fx.Greeter")}`;

describe("discovery at a registry's door", () => {
  it("publishes what a provider writes, shows it to everybody and withdraws it with its node", async () => {
    const fixture = await DoorFixture.open();
    const [provider, consumer] = [await fixture.client(), await fixture.client()];
    const url = dubboUrl("10.0.0.1:20880");
    assert.deepEqual(
      urls(consumer, consumer.list(providers, true)),
      undefined,
      "held until the directory has answered",
    );
    await fixture.settle();
    const created = provider.create(providerPath(url), ephemeral, "10.0.0.1");
    const inOneGo = provider.list(providers, true);
    await fixture.settle();
    assert.equal(provider.error(created), 0);
    assert.deepEqual(urls(provider, inOneGo), [url], "reading one's own write works");
    assert.deepEqual(
      fixture.directory.instances().map((one) => [one.service, one.address, one.port, one.registration.text]),
      [["dubbo/fx.Greeter::", "10.0.0.1", 20880, url]],
    );
    assert.deepEqual(consumer.events(), [`children ${providers}`]);
    const list = consumer.list(providers, true);
    await fixture.settle();
    assert.deepEqual(urls(consumer, list), [url]);
    assert.equal(consumer.stat(list)?.numChildren, 1);
    const data = consumer.getData(providerPath(url), true);
    await fixture.settle();
    assert.equal(consumer.error(data), 0);
    provider.delete(providerPath(url));
    const gone = provider.list(providers);
    await fixture.settle();
    assert.deepEqual(urls(provider, gone), []);
    assert.deepEqual(fixture.directory.instances(), []);
    assert.deepEqual(consumer.events(), [`deleted ${providerPath(url)}`, `children ${providers}`]);
    const after = consumer.list(providers);
    await fixture.settle();
    assert.deepEqual(urls(consumer, after), []);
    assert.ok((consumer.stat(after)?.cversion ?? 0) > (consumer.stat(list)?.cversion ?? 0));
    assert.ok((consumer.stat(after)?.pzxid ?? 0n) > (consumer.stat(list)?.pzxid ?? 0n));
    assert.deepEqual(
      fixture.door.sessions().map((session) => session.application),
      ["p", ""],
    );
  });

  it("shows the instances that others published, each under its own registration or a built one", async () => {
    const clock = new FakeClock();
    const directory = new MemoryDirectory({ clock });
    const fixture = await DoorFixture.open({ clock, directory });
    const other = await DoorFixture.open({ clock, directory });
    const elsewhere = await other.client();
    elsewhere.create(providerPath(dubboUrl("10.0.0.1:20880", "&version=2.0&group=blue")), ephemeral);
    const native: Instance = { ...loopbackStandIn("tri/fx.Greeter::"), host: "10.0.0.3", address: "10.0.0.3", port: 7 };
    await directory.publish(native);
    await directory.publish({ ...native, service: "bolt/fx.Greeter:1.0:" });
    const client = await fixture.client();
    const xid = client.list(providers);
    await fixture.settle();
    assert.deepEqual(urls(client, xid), [
      dubboUrl("10.0.0.1:20880", "&version=2.0&group=blue"),
      "tri://10.0.0.3:7/fx.Greeter?application=mesh&dubbo=2.0.2&dynamic=true&interface=fx.Greeter&methods=*&side=provider&warmup=0&weight=100",
    ]);
    const sofa = client.list("/sofa-rpc/fx.Greeter/providers");
    await fixture.settle();
    assert.equal(urls(client, sofa)?.length, 1);
    assert.match(urls(client, sofa)?.[0] ?? "", /^bolt:\/\/10\.0\.0\.3:7\?version=1\.0&/);
  });

  it("shows an address that changed beside the former one for six seconds", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client();
    const first: Instance = {
      ...loopbackStandIn("bolt/fx.Greeter:1.0:"),
      host: "10.0.0.1",
      address: "10.0.0.1",
      port: 12200,
    };
    const publication = await fixture.directory.publish(first);
    const ports = async (): Promise<string[]> => {
      const xid = client.list("/sofa-rpc/fx.Greeter/providers", true);
      await fixture.settle();
      return (urls(client, xid) ?? []).map((url) => url.slice(7, url.indexOf("?")));
    };
    assert.deepEqual(await ports(), ["10.0.0.1:12200"]);
    await publication.update({ ...first, port: 20881, mode: "mesh" });
    await fixture.settle();
    assert.deepEqual(client.events(), ["children /sofa-rpc/fx.Greeter/providers"]);
    assert.deepEqual(await ports(), ["10.0.0.1:12200", "10.0.0.1:20881"]);
    await fixture.clock.advance(overlapMs - 100);
    assert.deepEqual(client.events(), []);
    await fixture.clock.advance(100);
    assert.deepEqual(client.events(), ["children /sofa-rpc/fx.Greeter/providers"]);
    assert.deepEqual(await ports(), ["10.0.0.1:20881"]);
  });

  it("withdraws what a session published when it expires, and lets a newer process of the same instance live on", async () => {
    const fixture = await DoorFixture.open();
    const url = dubboUrl("10.0.0.1:20880");
    const killed = await fixture.client({ timeoutMs: 10_000 });
    killed.create(providerPath(url), ephemeral);
    await fixture.settle();
    killed.drop();
    const successor = await fixture.client({ timeoutMs: 40_000 });
    const newer = url.replace("1795475652816", "1795475699999");
    const created = successor.create(providerPath(newer), ephemeral);
    await fixture.settle();
    assert.equal(successor.error(created), 0);
    assert.deepEqual(
      fixture.directory.instances().map((one) => one.startedAt),
      [1795475699999],
    );
    await fixture.clock.advance(11_000);
    assert.equal(fixture.door.sessions().length, 1);
    assert.deepEqual(
      fixture.directory.instances().map((one) => one.startedAt),
      [1795475699999],
    );
    await fixture.clock.advance(40_000);
    assert.deepEqual(fixture.directory.instances(), []);
  });

  it("lets the same node be written again by a session that came anew, as SOFA-RPC and Dubbo do", async () => {
    const fixture = await DoorFixture.open();
    const url = dubboUrl("10.0.0.1:20880");
    const [former, anew] = [await fixture.client({ timeoutMs: 10_000 }), await fixture.client({ timeoutMs: 40_000 })];
    for (const path of [providerPath(url), consumerPath]) {
      former.create(path, ephemeral);
      await fixture.settle();
      assert.equal(former.error(former.create(path, ephemeral)), -110);
      const exists = anew.exists(path);
      await fixture.settle();
      assert.equal(anew.error(exists), 0);
      const deleted = anew.delete(path);
      const created = anew.create(path, ephemeral);
      await fixture.settle();
      assert.deepEqual([anew.error(deleted), anew.error(created)], [0, 0]);
    }
    former.drop();
    await fixture.clock.advance(11_000);
    assert.equal(fixture.directory.instances().length, 1);
    assert.equal(anew.error(anew.exists(consumerPath)), 0);
    assert.equal(anew.error(anew.exists(providerPath(url))), 0);
  });

  it("keeps what is written at application level to its session, and says who registers only there", async () => {
    const fixture = await DoorFixture.open();
    const [application, other] = [await fixture.client(), await fixture.client()];
    const paths = [
      "/services/app/10.0.0.1:20880",
      "/dubbo/mapping/fx.Greeter",
      "/dubbo/metadata/fx.Greeter/provider/app",
    ];
    for (const path of [...paths, "/dubbo/config/dubbo/app.tag-router"]) {
      const created = application.create(path, path.startsWith("/services") ? ephemeral : 0);
      await fixture.settle();
      assert.equal(application.error(created), 0);
      assert.equal(application.error(application.exists(path)), 0);
      assert.equal(other.error(other.exists(path)), -101);
    }
    assert.deepEqual(application.children(application.list("/services")), ["app"]);
    assert.deepEqual(application.children(application.list("/services/app")), ["10.0.0.1:20880"]);
    assert.deepEqual(other.children(other.list("/services")), []);
    assert.equal(other.error(other.list("/services/app")), -101);
    const bypassed = () => fixture.door.sessions().flatMap((session) => session.bypassed);
    assert.deepEqual(bypassed(), []);
    await fixture.clock.advance(6_000);
    assert.deepEqual(bypassed(), [{ registration: "/services/app/10.0.0.1:20880", reason: "application-level only" }]);
    other.create(providerPath(dubboUrl("10.0.0.1:20880").replace("application=p", "application=app")), ephemeral);
    await fixture.settle();
    assert.deepEqual(bypassed(), []);
    application.send({ op: "closeSession" });
    const again = await fixture.client();
    assert.equal(again.error(again.exists("/dubbo/mapping/fx.Greeter")), -101);
  });

  it("publishes nothing for a session that ended before its write was durable", async () => {
    const journal = new MemoryJournal();
    const fixture = await DoorFixture.open({ journal });
    const client = await fixture.client({ timeoutMs: 10_000 });
    let release = (): void => {};
    journal.flushed = () => new Promise((resolve) => (release = resolve));
    client.create(providerPath(dubboUrl("10.0.0.1:20880")), ephemeral);
    await fixture.clock.advance(11_000);
    assert.equal(client.closed, true);
    release();
    await fixture.settle();
    assert.deepEqual(fixture.directory.instances(), []);
    assert.deepEqual([...journal.entries()], []);
  });

  it("lists the catalogue's interfaces below each layout's root, whether they were used at this door or not", async () => {
    const clock = new FakeClock();
    const directory = new MemoryDirectory({ clock });
    const fixture = await DoorFixture.open({ clock, directory });
    const native = loopbackStandIn("dubbo/fx.Greeter::");
    await directory.publish(native);
    await directory.publish({ ...native, service: "tri/fx.Other:1.0:blue", appPort: 2 });
    const bolt = await directory.publish({ ...native, service: "bolt/fx.Bolt:1.0:" });
    await directory.publish({ ...native, service: "bolt/not%2Fa%2Fnode:1.0:" });
    const client = await fixture.client();
    const names = async (root: string): Promise<string[]> => {
      const xid = client.list(root, true);
      await fixture.settle();
      return [...(client.children(xid) ?? [])].sort();
    };
    assert.deepEqual(await names("/dubbo"), ["fx.Greeter", "fx.Other"]);
    assert.deepEqual(await names("/sofa-rpc"), ["fx.Bolt"]);
    const below = client.list("/dubbo/fx.Other/providers");
    await fixture.settle();
    assert.equal(client.children(below)?.length, 1);
    await directory.publish({ ...native, service: "dubbo/fx.Third::" });
    await bolt.withdraw();
    await fixture.settle();
    assert.deepEqual(client.events().sort(), ["children /dubbo", "children /sofa-rpc"]);
    assert.deepEqual(await names("/dubbo"), ["fx.Greeter", "fx.Other", "fx.Third"]);
    assert.deepEqual(await names("/sofa-rpc"), []);
    await directory.publish({ ...native, service: "dubbo/fx.Third::", port: 5 });
    await fixture.settle();
    assert.deepEqual(client.events(), []);
  });

  it("lists no more interfaces than clients take in one answer, and says so once", async () => {
    const clock = new FakeClock();
    const directory = new MemoryDirectory({ clock });
    const fixture = await DoorFixture.open({ clock, directory, limits: { interfaceBytes: 40 } });
    for (const name of ["fx.One", "fx.Two", "fx.Three", "fx.Four", "fx.Five"])
      await directory.publish(loopbackStandIn(`dubbo/${name}::`));
    const client = await fixture.client();
    const xid = client.list("/dubbo", true);
    await fixture.settle();
    assert.equal(client.children(xid)?.length, 3);
    assert.deepEqual(fixture.logged, ["error not all interfaces fit into one answer"]);
  });

  it("tells of interfaces that came while the door was down, and of later ones, without another read", async () => {
    const clock = new FakeClock();
    const directory = new MemoryDirectory({ clock });
    const before = await DoorFixture.open({ clock, directory });
    const client = await before.client();
    const list = client.list("/dubbo", true);
    await before.settle();
    const relativeZxid = client.reply(list)?.zxid ?? 0n;
    const after = await before.restart({ directory });
    const again = await after.client(client.identity);
    const nothing = { data: [], exist: [], persistent: [], recursive: [] };
    again.send({ op: "setWatches", code: 101, relativeZxid, child: ["/dubbo"], ...nothing });
    await directory.publish(loopbackStandIn("dubbo/fx.Greeter::"));
    await after.settle();
    assert.deepEqual(again.events(), ["children /dubbo"]);
  });

  it("has the folders of a layout by itself, and lets rules be written and watched there", async () => {
    const fixture = await DoorFixture.open();
    const [writer, watcher] = [await fixture.client(), await fixture.client()];
    assert.equal(writer.error(writer.exists("/dubbo/fx.Greeter/consumers")), 0);
    assert.equal(writer.error(writer.create("/dubbo/fx.Greeter/providers")), -110);
    assert.equal(watcher.error(watcher.list("/dubbo/fx.Greeter/configurators", true)), 0);
    writer.create("/dubbo/fx.Greeter/configurators/override%3A%2F%2F0.0.0.0");
    await fixture.settle();
    assert.deepEqual(watcher.events(), ["children /dubbo/fx.Greeter/configurators"]);
    const after = await fixture.restart();
    const client = await after.client();
    const list = client.list("/dubbo/fx.Greeter/configurators");
    assert.deepEqual(client.children(list), ["override%3A%2F%2F0.0.0.0"]);
    const config = client.reply(client.getData("/zookeeper/config", true));
    assert.equal(config?.error, 0);
  });
});

describe("discovery across a restart of the door", () => {
  it("publishes again at once what its sessions own, and shows nothing known as gone", async () => {
    const clock = new FakeClock();
    const directory = new MemoryDirectory({ clock });
    const before = await DoorFixture.open({ clock, directory });
    const [provider, consumer] = [await before.client(), await before.client()];
    provider.create(providerPath(dubboUrl("10.0.0.1:20880")), ephemeral);
    await before.settle();
    const seen = consumer.list(providers, true);
    await before.settle();
    assert.equal(consumer.children(seen)?.length, 1);

    // The registry of the next process has loaded nothing yet and does not answer.
    const next = new MemoryDirectory({ clock });
    next.answering = false;
    const after = await before.restart({ directory: next });
    assert.equal(next.instances().length, 1);
    const again = await after.client(consumer.identity);
    const child = providerPath(dubboUrl("10.0.0.1:20880"));
    const gone = providerPath(dubboUrl("10.0.0.2:20880"));
    const nothing = { exist: [], persistent: [], recursive: [] };
    const since = consumer.reply(seen)?.zxid ?? 0n;
    again.send({
      op: "setWatches",
      code: 101,
      relativeZxid: since,
      data: [child, gone],
      child: [providers],
      ...nothing,
    });
    await after.settle();
    assert.deepEqual(again.events(), [], "nobody can say yet what changed");
    const held = again.list(providers, true);
    await after.clock.advance(900);
    assert.equal(again.reply(held), undefined);
    next.answering = true;
    await after.settle();
    assert.equal(again.children(held)?.length, 1);
    const events = again.events();
    assert.ok(events.includes(`children ${providers}`));
    assert.ok(events.includes(`deleted ${gone}`));
    assert.ok(!events.includes(`deleted ${child}`));
  });
});

describe("discovery at a sidecar's door", () => {
  async function sidecar() {
    const clock = new FakeClock();
    const registry = new MemoryDirectory({ clock });
    const directory = registry.view({
      translate: (one) => (one.bypassed === "" ? { ...one, address: "127.0.0.1", port: 20_882 } : one),
      standIn: loopbackStandIn,
    });
    const fixture = await DoorFixture.open({ place: "sidecar", clock, directory });
    return { clock, registry, fixture };
  }

  it("gives a consumer the loopback address although no provider is known yet", async () => {
    const { fixture, registry } = await sidecar();
    const client = await fixture.client();
    client.create(consumerPath, ephemeral);
    const first = client.list(providers, true);
    await fixture.settle();
    assert.match(urls(client, first)?.join() ?? "", /^dubbo:\/\/2130706433:20882\/fx\.Greeter\?/);
    const far = await DoorFixture.open({ clock: fixture.clock, directory: registry });
    const provider = await far.client();
    provider.create(providerPath(dubboUrl("10.0.0.1:20880")), ephemeral);
    await fixture.settle();
    assert.deepEqual(client.events(), [`children ${providers}`]);
    const second = client.list(providers);
    await fixture.settle();
    assert.deepEqual(urls(client, second), [dubboUrl("2130706433:20882")]);
  });

  it("holds a reader that has not said what it wants for a second at most", async () => {
    const { fixture } = await sidecar();
    const client = await fixture.client();
    const xid = client.list(providers);
    await fixture.clock.advance(999);
    assert.equal(client.reply(xid), undefined);
    await fixture.clock.advance(1);
    assert.deepEqual(client.children(xid), []);
    const again = client.list(providers, true);
    await fixture.settle();
    assert.deepEqual(client.children(again), [], "only the first reader waits");
    client.create(consumerPath, ephemeral);
    const wanted = client.list(providers);
    await fixture.settle();
    assert.equal(client.children(wanted)?.length, 1, "whoever says what it wants gets it with the next answer");
    assert.deepEqual(client.events(), [`children ${providers}`]);
  });

  it("refuses a list that the directory cannot watch, and goes on", async () => {
    const { clock, registry } = await sidecar();
    const directory: Directory = {
      publish: (instance, options) => registry.publish(instance, options),
      watch: (service, listener) => registry.watch(service, listener),
      watchCatalogue(pattern, listener) {
        if (pattern.includes("Greeter")) throw new MeshError("registry.limit", "too many patterns");
        return registry.watchCatalogue(pattern, listener);
      },
    };
    const fixture = await DoorFixture.open({ place: "sidecar", clock, directory: directory as MemoryDirectory });
    const client = await fixture.client();
    const refused = client.list(providers);
    const other = client.list("/sofa-rpc/fx.Other/providers");
    await fixture.clock.advance(1_000);
    assert.equal(client.error(refused), -1);
    assert.deepEqual(client.children(other), []);
    assert.deepEqual(fixture.logged, ["error a list of providers was refused: the catalogue cannot be watched"]);
  });

  it("expects SOFA-RPC's usual service when the list is read first, as npm's client does", async () => {
    const { fixture } = await sidecar();
    const client = await fixture.client();
    const xid = client.list("/sofa-rpc/fx.Greeter/providers", true);
    await fixture.settle();
    assert.match(urls(client, xid)?.join() ?? "", /^bolt:\/\/127\.0\.0\.1:20882\?version=1\.0&.*&uniqueId=&/);
    const wanted = encodeName("bolt://10.0.0.9?version=1.0&uniqueId=red&appName=c");
    client.create(`/sofa-rpc/fx.Greeter/consumers/${wanted}`, ephemeral);
    await fixture.settle();
    const list = client.list("/sofa-rpc/fx.Greeter/providers");
    await fixture.settle();
    assert.match(urls(client, list)?.join() ?? "", /&uniqueId=red&/);
  });

  it("shows the real address alone when the only provider cannot be carried", async () => {
    const { fixture, registry } = await sidecar();
    const client = await fixture.client();
    client.create(consumerPath, ephemeral);
    await registry.publish({
      ...loopbackStandIn("tri/fx.Greeter::"),
      address: "10.0.0.3",
      port: 50_051,
      bypassed: "protocol",
    });
    await fixture.settle();
    const xid = client.list(providers);
    await fixture.settle();
    assert.equal(urls(client, xid)?.length, 1);
    assert.match(urls(client, xid)?.[0] ?? "", /^tri:\/\/10\.0\.0\.3:50051\//);
  });

  it("lets a session see its own node at its path, and lists only what the directory hands out", async () => {
    const { fixture, registry } = await sidecar();
    const client = await fixture.client();
    const url = dubboUrl("10.0.0.1:20880");
    const watched = client.exists(providerPath(url), true);
    await fixture.clock.advance(1_000);
    assert.equal(client.error(watched), -101);
    client.create(providerPath(url), ephemeral, "mine");
    await fixture.settle();
    assert.equal(registry.instances().length, 1);
    assert.deepEqual(client.events(), [`created ${providerPath(url)}`]);
    const data = client.reply(client.getData(providerPath(url)))?.body;
    assert.equal(data?.kind === "data" && String(data.data), "mine");
    const list = client.list(providers);
    await fixture.settle();
    assert.deepEqual(urls(client, list), [dubboUrl("2130706433:20882")]);
    const deleted = client.delete(providerPath(url));
    await fixture.settle();
    assert.equal(client.error(deleted), 0);
    assert.equal(registry.instances().length, 0);
  });

  it("shows npm's SOFA-RPC server its own registration for a moment, since it waits for it", async () => {
    const { fixture } = await sidecar();
    const [server, other] = [await fixture.client(), await fixture.client()];
    const url = "bolt://10.0.0.1:12200?appName=p&language=nodejs&uniqueId=";
    const list = "/sofa-rpc/fx.Greeter/providers";
    server.create(`${list}/${encodeName(url)}`, ephemeral);
    const own = server.list(list, true);
    const others = other.list(list);
    await fixture.settle();
    const loopback = url.replace("10.0.0.1:12200", "127.0.0.1:20882");
    assert.deepEqual(urls(server, own), [url, loopback]);
    assert.deepEqual(urls(other, others), [loopback]);
    await fixture.clock.advance(5_000);
    assert.deepEqual(server.events(), [`children ${list}`]);
    const later = server.list(list);
    await fixture.settle();
    assert.deepEqual(urls(server, later), [loopback]);
  });

  it("stops watching for a consumer that has gone for a minute, not for one that registers anew", async () => {
    const { fixture } = await sidecar();
    const client = await fixture.client();
    client.create(consumerPath, ephemeral);
    const list = client.list(providers, true);
    await fixture.settle();
    assert.equal(client.children(list)?.length, 1);
    client.delete(consumerPath);
    client.create(consumerPath, ephemeral);
    await fixture.settle();
    assert.deepEqual(client.events(), []);
    client.delete(consumerPath);
    for (let second = 0; second < 60; second += 10) {
      client.send({ op: "ping" });
      await fixture.clock.advance(10_000);
    }
    assert.deepEqual(client.events(), [`children ${providers}`]);
  });
});
