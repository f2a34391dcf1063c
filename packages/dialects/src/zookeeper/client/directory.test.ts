import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import type { CatalogueEntry, InstanceSet } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { sampleInstance } from "@dualmesh/model/testing/sample";
import { DoorFixture } from "../../testing/door-fixture.ts";
import { MemoryJournal } from "../../testing/memory-journal.ts";
import { ZooKeeperServers } from "../../testing/zookeeper-servers.ts";
import { dubboLayout } from "../dubbo-layout.ts";
import { encodeName } from "../provider-url.ts";
import type { Dial } from "./dial.ts";
import { openZooKeeperDirectory, type ZooKeeperDirectory, type ZooKeeperDirectoryOptions } from "./directory.ts";
import { publishedNode, readPublished } from "./published-name.ts";

const service = "dubbo/fx.Greeter::";
const list = "/dubbo/fx.Greeter/providers";
const url = (host: string, more = ""): string =>
  `dubbo://${host}:20880/fx.Greeter?application=shop&interface=fx.Greeter&methods=hello&timestamp=1700000000000${more}`;
const nodeAt = (host: string, more = ""): string => `${list}/${encodeName(url(host, more))}`;

/** What an application at this host registered at its sidecar, published at the sidecar's port. */
function meshed(host: string, port = 20_881): Instance {
  const read = dubboLayout().readProvider("fx.Greeter", encodeName(url(host)), () => 1) as Instance;
  return { ...read, port, mode: "mesh" };
}

class Company {
  readonly clock = new FakeClock();
  readonly servers = new ZooKeeperServers(this.clock);
  readonly logged: string[] = [];

  open(options: Partial<ZooKeeperDirectoryOptions> = {}): ZooKeeperDirectory {
    const note = (level: string) => (_: object, text: string) => void this.logged.push(`${level} ${text}`);
    return openZooKeeperDirectory({
      addresses: ["a:1", "b:1"],
      dial: this.servers.dial,
      journal: new MemoryJournal(),
      clock: this.clock,
      random: seededRandom(1),
      log: { ...silentLog, warn: note("warn"), error: note("error") },
      sessionTimeoutMs: 10_000,
      ...options,
    });
  }

  watch(directory: ZooKeeperDirectory, name = service): InstanceSet[] {
    const sets: InstanceSet[] = [];
    directory.watch(name, (set) => void sets.push(set));
    return sets;
  }

  names(): string[] {
    return this.servers.childrenOf(list).map((name) => decodeURIComponent(name));
  }
}

const hosts = (set: InstanceSet | undefined): string[] => (set?.instances ?? []).map(({ host }) => host).sort();

test("a published instance is a provider's node, which SDKs read as one and sidecars as the instance that it is", async () => {
  const company = new Company();
  const [one, other] = [company.open(), company.open()];
  const sets = company.watch(other);
  const instance = meshed("10.0.0.1");
  const publication = await one.publish(instance);
  const [name = ""] = company.names();
  assert.ok(name.startsWith("dubbo://10.0.0.1:20881/fx.Greeter?application=shop&"), name);
  assert.ok(name.endsWith("&dualmesh.mode=mesh&dualmesh.app-port=20880&dualmesh.host=10.0.0.1"), name);
  assert.equal(company.servers.nodes.get(`${list}/${encodeName(name)}`)?.owner, 0x1001n);
  await company.clock.advance(0);
  const [seen] = sets.at(-1)?.instances ?? [];
  assert.deepEqual({ ...seen, registration: instance.registration }, instance);
  await publication.withdraw();
  assert.deepEqual(company.names(), []);
  await company.clock.advance(10_001);
  assert.deepEqual(hosts(sets.at(-1)), []);
});

test("providers of SDKs come and go with their nodes, each told once, by version and group", async () => {
  const company = new Company();
  const directory = company.open();
  const sets = company.watch(directory);
  const grouped = company.watch(directory, "dubbo/fx.Greeter:1.0.0:east");
  await company.clock.advance(0);
  assert.deepEqual([sets.length, grouped.length, hosts(sets[0])], [1, 1, []]);
  company.servers.put(nodeAt("10.0.0.1"), 77n);
  company.servers.put(nodeAt("10.0.0.2", "&group=east&version=1.0.0"), 77n);
  company.servers.put(`${list}/nonsense`, 77n);
  await company.clock.advance(0);
  assert.deepEqual(hosts(sets.at(-1)), ["10.0.0.1"]);
  assert.deepEqual(hosts(grouped.at(-1)), ["10.0.0.2"]);
  assert.equal(sets.at(-1)?.instances[0]?.mode, "sdk");
  const { reads } = directory.status().counts;
  company.servers.put(nodeAt("10.0.0.3"), 77n);
  company.servers.remove(nodeAt("10.0.0.1"));
  await company.clock.advance(0);
  assert.deepEqual(hosts(sets.at(-1)), ["10.0.0.3"]);
  assert.equal(directory.status().counts["reads"], reads, "a change costs what changed");
});

for (const mute of [false, true])
  test(`with servers before 3.6 the same is known by watches that are set again and again (${mute ? "mute" : "clear"})`, async () => {
    const company = new Company();
    company.servers.old = true;
    company.servers.mute = mute;
    const sets = company.watch(company.open());
    await company.clock.advance(500);
    assert.equal(sets.length, 1, "they close once, and are not asked again");
    for (let host = 1; host < 4; host += 1) {
      company.servers.put(nodeAt(`10.0.0.${host}`), 77n);
      await company.clock.advance(0);
      assert.equal(sets.at(-1)?.instances.length, host);
    }
    company.servers.cut();
    company.servers.put(nodeAt("10.0.0.4"), 77n);
    await company.clock.advance(3_000);
    assert.equal(sets.at(-1)?.instances.length, 4);
  });

for (const mute of [false, true])
  test(`from newer to older servers, as in a mixed ensemble, lists go on (${mute ? "mute" : "clear"})`, async () => {
    const company = new Company();
    company.servers.mute = mute;
    const directory = company.open();
    const sets = company.watch(directory);
    company.servers.put(nodeAt("10.0.0.1"), 77n);
    await company.clock.advance(0);
    company.servers.old = true;
    company.servers.cut();
    await company.clock.advance(1_000);
    company.servers.put(nodeAt("10.0.0.2"), 77n);
    await company.clock.advance(0);
    assert.equal(sets.at(-1)?.instances.length, 2);
    assert.ok((directory.status().counts["connects"] ?? 0) <= (mute ? 5 : 3));
  });

test("SOFA-RPC's layout is written and read alike, with the unique id as group", async () => {
  const company = new Company();
  const directory = company.open({ sofaRoot: "/rpc" });
  const name = "bolt/fx.Greeter:1.0:east";
  const sets = company.watch(directory, name);
  const instance = sampleInstance({ service: name, port: 20_881, mode: "mesh", zone: "b 1", incarnation: 5 });
  await directory.publish(instance);
  await company.clock.advance(0);
  const [node = ""] = company.servers.childrenOf("/rpc/fx.Greeter/providers");
  assert.match(decodeURIComponent(node), /^bolt:\/\/10\.0\.0\.1:20881\?version=1\.0&.*uniqueId=east.*app-port=12200/);
  const [seen] = sets.at(-1)?.instances ?? [];
  assert.deepEqual({ ...seen, registration: instance.registration }, instance);
});

test("what no layout can say is refused with the reason", async () => {
  const directory = new Company().open();
  const http = sampleInstance({ service: "http/shop::" });
  await assert.rejects(
    directory.publish(http),
    (error) => isMeshError(error, "registry.refused") && /http/.test(error.message),
  );
  assert.throws(() => directory.watch("tcp/redis::", () => {}), /know no tcp/);
  assert.throws(() => directory.watch("nonsense", () => {}), /canonical/);
  const entries: (readonly CatalogueEntry[])[] = [];
  directory.watchCatalogue("http*", (list) => void entries.push(list));
  await new Promise(setImmediate);
  assert.deepEqual(entries, [[]]);
});

test("every name that can be published is read back as the same instance", () => {
  const layout = dubboLayout();
  for (const changes of [
    {},
    { host: "fe80::1", address: "fe80::2" },
    { zone: "ä&b=c%", application: "a b" },
    { address: "127.0.0.1" },
  ]) {
    const instance = { ...meshed("10.0.0.1"), ...changes };
    const { path } = publishedNode(instance, [layout]);
    const read = readPublished(layout, "fx.Greeter", path.slice(list.length + 1));
    assert.deepEqual({ ...read, registration: instance.registration }, instance);
  }
});

test("an application that moves is beside its old address until the next update, and then for a while", async () => {
  const company = new Company();
  const directory = company.open();
  const sets = company.watch(directory);
  const instance = meshed("10.0.0.1");
  const sdk: Instance = { ...instance, mode: "sdk", port: 20_880 };
  const publication = await directory.publish(sdk);
  await publication.update(instance, { alongside: true });
  await company.clock.advance(60_000);
  assert.equal(company.names().length, 2);
  assert.equal(sets.at(-1)?.instances[0]?.mode, "mesh");
  await publication.update(instance);
  await company.clock.advance(0);
  assert.equal(company.names().length, 1, "they have been beside each other for long enough");
  await publication.update(sdk);
  assert.equal(company.names().length, 2);
  await company.clock.advance(6_001);
  assert.deepEqual(company.names(), [url("10.0.0.1")]);
  assert.ok(sets.every((set, index) => index === 0 || set.instances.length === 1));
});

test("after a session was lost, what is published comes back by itself", async () => {
  const company = new Company();
  const directory = company.open();
  await directory.publish(meshed("10.0.0.1"));
  company.servers.expire(0x1001n);
  assert.deepEqual(company.names(), []);
  await company.clock.advance(500);
  assert.equal(company.names().length, 1);
  assert.equal(directory.status().session, "1002");
});

test("a leftover of a former session is replaced in one step, and a stranger's node is not touched", async () => {
  const company = new Company();
  const directory = company.open();
  const observer = company.watch(company.open());
  await directory.publish(meshed("10.0.0.1"));
  await company.clock.advance(0);
  const [name = ""] = company.servers.childrenOf(list);
  // The session is forgotten, its node not yet.
  company.servers.sessions.delete(0x1001n);
  company.servers.cut();
  await company.clock.advance(3_000);
  assert.notEqual(company.servers.nodes.get(`${list}/${name}`)?.owner, 0x1001n);
  assert.equal(directory.status().counts["replaced"], 1);
  assert.ok(
    observer.slice(1).every((set) => set.instances.length === 1),
    "nobody saw an empty list",
  );
  const foreign = publishedNode(meshed("10.0.0.9"), [dubboLayout()]).path;
  company.servers.put(foreign, 99n);
  const publication = await directory.publish(meshed("10.0.0.9"));
  assert.equal(company.servers.nodes.get(foreign)?.owner, 99n);
  company.servers.remove(foreign);
  await company.clock.advance(0);
  assert.notEqual(company.servers.nodes.get(foreign)?.owner, 99n, "it is made again when the stranger's goes");
  company.servers.remove(foreign);
  company.servers.put(foreign, 99n);
  await publication.withdraw();
  assert.equal(company.servers.nodes.get(foreign)?.owner, 99n);
});

test("while nobody answers, publishing waits and the last good list stays", async () => {
  const company = new Company();
  const directory = company.open();
  const sets = company.watch(directory);
  company.servers.put(nodeAt("10.0.0.1"), 77n);
  await company.clock.advance(0);
  for (const address of ["a:1", "b:1"]) company.servers.down.add(address);
  company.servers.cut();
  let accepted = false;
  let inForce = false;
  const publishing = directory.publish(meshed("10.0.0.2"), { onAccepted: () => (accepted = true) });
  void publishing.then(() => (inForce = true));
  const given = new AbortController();
  const givenUp = directory.publish(meshed("10.0.0.3"), { signal: given.signal });
  await company.clock.advance(5_000);
  assert.deepEqual([accepted, inForce, hosts(sets.at(-1))], [true, false, ["10.0.0.1"]]);
  given.abort(new Error("enough"));
  await assert.rejects(givenUp, /enough/);
  const before = sets.at(-1)?.freshSince ?? 0;
  company.servers.down.clear();
  await company.clock.advance(3_000);
  assert.deepEqual([inForce, hosts(sets.at(-1))], [true, ["10.0.0.1", "10.0.0.2"]]);
  assert.ok((sets.at(-1)?.freshSince ?? 0) > before);
});

test("an ensemble that comes back empty is not believed until it has had time to fill", async () => {
  const company = new Company();
  const directory = company.open();
  const sets = company.watch(directory);
  for (const host of ["10.0.0.1", "10.0.0.2"]) company.servers.put(nodeAt(host), 77n);
  await company.clock.advance(31_000);
  const fresh = sets.at(-1)?.freshSince ?? 0;
  company.servers.wipe();
  company.servers.cut();
  await company.clock.advance(16_000);
  assert.equal(directory.status().session, "1002");
  assert.equal(sets.at(-1)?.instances.length, 2, "what was known stays");
  assert.equal(directory.status().feeds[0]?.held, true);
  company.servers.put(nodeAt("10.0.0.1"), 78n);
  await company.clock.advance(31_000);
  assert.deepEqual(hosts(sets.at(-1)), ["10.0.0.1"], "what did not come back is gone in the end");
  assert.ok((sets.at(-1)?.freshSince ?? 0) > fresh);
  assert.ok(company.logged.some((line) => /lost all or most/.test(line)));
});

test("a list that empties amid peace is asked for once more after a while and then believed; one's own leaving is at once", async () => {
  const company = new Company();
  const directory = company.open();
  const sets = company.watch(directory);
  company.servers.put(nodeAt("10.0.0.1"), 77n);
  await company.clock.advance(31_000);
  const asked = company.servers.asked.length;
  company.servers.remove(nodeAt("10.0.0.1"));
  await company.clock.advance(9_000);
  assert.deepEqual(hosts(sets.at(-1)), ["10.0.0.1"]);
  await company.clock.advance(1_001);
  assert.deepEqual(hosts(sets.at(-1)), []);
  assert.ok(company.servers.asked.slice(asked).some((line) => line.startsWith("sync")));
  const publication = await directory.publish(meshed("10.0.0.2"));
  await company.clock.advance(0);
  assert.deepEqual(hosts(sets.at(-1)), ["10.0.0.2"]);
  await publication.withdraw();
  await company.clock.advance(0);
  assert.deepEqual(hosts(sets.at(-1)), []);
});

test("a successor goes on with the session, the nodes and the lists on disk", async () => {
  const company = new Company();
  const journal = new MemoryJournal();
  const first = company.open({ journal });
  company.watch(first);
  await first.publish(meshed("10.0.0.1"));
  await first.publish(meshed("10.0.0.2"));
  await company.clock.advance(100);
  await first.close({ orderly: false });
  for (const address of ["a:1", "b:1"]) company.servers.down.add(address);
  const second = company.open({ journal });
  const sets = company.watch(second);
  await company.clock.advance(6_000);
  assert.equal(await second.ready(), "stale");
  assert.deepEqual(hosts(sets.at(-1)), ["10.0.0.1", "10.0.0.2"]);
  company.servers.down.clear();
  await company.clock.advance(2_500);
  assert.equal(second.readiness, "fresh");
  const asked = company.servers.asked.length;
  await second.publish(meshed("10.0.0.1"));
  assert.equal(
    company.servers.asked.slice(asked).some((line) => line.startsWith("delete")),
    false,
  );
  assert.equal(company.names().length, 2);
  second.restored();
  await company.clock.advance(0);
  assert.equal(company.names().length, 1, "what nobody published again goes");
  assert.equal(second.status().session, "1001");
  await second.close({ orderly: true });
  assert.deepEqual(company.names(), []);
});

test("an end that no server hears of leaves the session to a successor", async () => {
  const company = new Company();
  const journal = new MemoryJournal();
  const first = company.open({ journal });
  await first.publish(meshed("10.0.0.1"));
  company.servers.silent = true;
  const closing = first.close({ orderly: true });
  await company.clock.advance(2_001);
  await closing;
  company.servers.silent = false;
  const second = company.open({ journal });
  await second.publish(meshed("10.0.0.1"));
  assert.equal(second.status().session, "1001");
});

test("a list that may not be read is tried again, and the others are not touched by it", async () => {
  const company = new Company();
  const directory = company.open();
  company.servers.put(nodeAt("10.0.0.1"), 77n);
  company.servers.put(`/dubbo/fx.Secret/providers/${encodeName("dubbo://10.0.0.2:20880/fx.Secret")}`, 77n);
  company.servers.forbidden.add("/dubbo/fx.Secret/providers");
  const [open, secret] = [company.watch(directory), company.watch(directory, "dubbo/fx.Secret::")];
  await company.clock.advance(1_000);
  assert.deepEqual([hosts(open.at(-1)), secret.length], [["10.0.0.1"], 0]);
  company.servers.forbidden.clear();
  await company.clock.advance(31_000);
  assert.deepEqual(hosts(secret.at(-1)), ["10.0.0.2"]);
});

test("with nothing on disk and nobody there it is not ready, and with an answer it is", async () => {
  const company = new Company();
  company.servers.down.add("a:1").add("b:1");
  const directory = company.open();
  await company.clock.advance(20_000);
  assert.equal(directory.readiness, "no");
  company.servers.down.clear();
  await company.clock.advance(2_500);
  assert.equal(directory.readiness, "fresh");
});

test("a long list is told whole, and changes that come together are told together", async () => {
  const company = new Company();
  const directory = company.open();
  const sets = company.watch(directory);
  for (let host = 0; host < 600; host += 1) company.servers.put(nodeAt(`10.1.${host >> 8}.${host & 255}`), 77n);
  await company.clock.advance(100);
  assert.equal(sets.at(-1)?.instances.length, 600);
  const told = sets.length;
  for (let host = 0; host < 50; host += 1) {
    company.servers.remove(nodeAt(`10.1.0.${host}`));
    await Promise.resolve();
  }
  await company.clock.advance(100);
  assert.deepEqual([sets.at(-1)?.instances.length, sets.length - told], [550, 1]);
});

test("the catalogue lists services of one interface, or of all, with their applications", async () => {
  const company = new Company();
  const directory = company.open();
  company.servers.put("/dubbo/metadata/fx.Greeter");
  company.servers.put(nodeAt("10.0.0.1"), 77n);
  company.servers.put(nodeAt("10.0.0.2", "&version=2.0"), 77n);
  const one: (readonly CatalogueEntry[])[] = [];
  const all: (readonly CatalogueEntry[])[] = [];
  directory.watchCatalogue("*/fx.Greeter:*:*", (entries) => void one.push(entries));
  directory.watchCatalogue("*", (entries) => void all.push(entries));
  await company.clock.advance(0);
  assert.deepEqual(one.at(-1), [
    { service, applications: ["shop"] },
    { service: "dubbo/fx.Greeter:2.0:", applications: ["shop"] },
  ]);
  company.servers.put(
    `/sofa-rpc/fx.Clock/providers/${encodeName("bolt://10.0.0.3:12200?appName=clock&uniqueId=")}`,
    77n,
  );
  await company.clock.advance(0);
  assert.deepEqual(
    all.at(-1)?.map((entry) => entry.service),
    [...(one.at(-1)?.map((entry) => entry.service) ?? []), "bolt/fx.Clock:1.0:"],
  );
  assert.equal(one.length, 1);
});

test("a change that was never told is found", async () => {
  const company = new Company();
  const directory = company.open();
  const sets = company.watch(directory);
  company.servers.put(nodeAt("10.0.0.1"), 77n);
  await company.clock.advance(40_000);
  const connections = [...company.servers.connections];
  company.servers.connections.clear();
  company.servers.put(nodeAt("10.0.0.2"), 77n);
  for (const connection of connections) company.servers.connections.add(connection);
  await company.clock.advance(31_000);
  assert.equal(sets.at(-1)?.instances.length, 2);
  assert.equal(directory.status().counts["repairs"], 1);
});

test("the door of a registry of our own is a ZooKeeper as well", async () => {
  const fixture = await DoorFixture.open();
  const dial: Dial = (address, events) => {
    let over = false;
    const connection = fixture.door.connect({
      remote: address,
      queuedBytes: 0,
      send: (bytes) => queueMicrotask(() => over || events.received(bytes)),
      close: () => end("closed by the door"),
    });
    const end = (reason: string): void => {
      if (over) return;
      over = true;
      queueMicrotask(() => {
        connection.closed();
        events.closed(reason);
      });
    };
    queueMicrotask(() => events.opened());
    return {
      remote: address,
      queuedBytes: 0,
      send: (bytes) => connection.receive(bytes),
      close: () => end("closed"),
      destroy: () => end("destroyed"),
      pause: () => {},
      resume: () => {},
    };
  };
  const company = new Company();
  const open = (): ZooKeeperDirectory => company.open({ dial, clock: fixture.clock });
  const [one, other] = [open(), open()];
  const sets = company.watch(other);
  await one.publish(meshed("10.0.0.1"));
  await fixture.clock.advance(2_000);
  assert.deepEqual(hosts(sets.at(-1)), ["10.0.0.1"]);
  assert.equal(sets.at(-1)?.instances[0]?.mode, "mesh");
  assert.equal(fixture.directory.instances()[0]?.port, 20_881);
  await one.close({ orderly: true });
  await fixture.clock.advance(40_000);
  assert.deepEqual(hosts(sets.at(-1)), []);
  await other.close({ orderly: true });
});
