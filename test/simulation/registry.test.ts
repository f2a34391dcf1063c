/** The registry and its clients under everything that happens to processes and networks, with a seed that is printed on failure. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import type { RegistryDirectory } from "@dualmesh/client/directory";
import type { InstanceSet, Publication } from "@dualmesh/model/directory";
import type { Instance } from "@dualmesh/model/instance";
import { instance, service, until, World } from "./world.ts";

/** Runs a client's promise while the fake clock goes on. */
async function run<T>(world: World, promise: Promise<T>, limitMs = 60_000): Promise<T> {
  let settled = false;
  const done = (): void => {
    settled = true;
  };
  promise.then(done, done);
  await until(world, "a promise settles", () => settled, limitMs);
  return promise;
}

function portsOf(instances: readonly Instance[]): number[] {
  return instances.map(({ appPort }) => appPort).sort((one, other) => one - other);
}

class Watcher {
  readonly sets: InstanceSet[] = [];

  constructor(directory: RegistryDirectory, name = service) {
    directory.watch(name, (set) => this.sets.push(set));
  }

  get last(): InstanceSet | undefined {
    return this.sets[this.sets.length - 1];
  }

  get ports(): number[] {
    return portsOf(this.last?.instances ?? []);
  }
}

describe("publishing and watching", () => {
  it("shows a publication to watchers, its changes as one delta, and its end", async () => {
    const world = new World(1);
    await world.startRegistry();
    const [provider, consumer] = [world.client("provider"), world.client("consumer")];
    const watcher = new Watcher(consumer);
    const publication = await run(world, provider.publish(instance(1, { address: "10.0.0.1", mode: "sdk" })));
    await until(world, "it is seen", () => watcher.ports.length === 1);
    const before = watcher.sets.length;
    await run(world, publication.update(instance(1, { port: 20_881, mode: "mesh" })));
    await until(world, "the move is seen", () => watcher.last?.instances[0]?.mode === "mesh");
    assert.equal(watcher.sets.length, before + 1, "a move between modes is one change");
    await run(world, publication.withdraw());
    await until(world, "the end is seen", () => watcher.ports.length === 0);
    await world.end();
  });

  it("reads its own write: a subscription after a publication sees it in its first answer", async () => {
    const world = new World(2);
    await world.startRegistry();
    const client = world.client("node");
    await run(world, client.publish(instance(1)));
    const watcher = new Watcher(client);
    await until(world, "answered", () => watcher.sets.length > 0);
    assert.deepEqual(portsOf(watcher.sets[0]?.instances ?? []), [1]);
    await world.end();
  });

  it("makes no revision and no push of an equal value", async () => {
    const world = new World(3);
    const registry = await world.startRegistry();
    const client = world.client("node");
    const publication = await run(world, client.publish(instance(1)));
    const { revision } = registry.store;
    await run(world, publication.update(instance(1)));
    assert.deepEqual(registry.store.revision, revision);
    await world.end();
  });

  it("lists services and their applications in the catalogue, and keeps to the pattern", async () => {
    const world = new World(4);
    await world.startRegistry();
    const [provider, consumer] = [world.client("provider"), world.client("consumer")];
    let names: string[] = [];
    consumer.watchCatalogue("bolt/*", (entries) => {
      names = entries.map((entry) => `${entry.service} ${entry.applications.join()}`).sort();
    });
    const first = await run(world, provider.publish(instance(1)));
    await run(world, provider.publish(instance(2, { application: "another" })));
    await run(world, provider.publish(instance(3, { service: "dubbo/demo.Other::" })));
    await until(world, "listed", () => names[0] === `${service} another,greeter`);
    assert.equal(names.length, 1);
    await run(world, first.withdraw());
    await until(world, "an application went", () => names[0] === `${service} another`);
    await world.end();
  });

  it("proves that a set is fresh without any change", async () => {
    const world = new World(5);
    await world.startRegistry();
    const consumer = world.client("consumer");
    const watcher = new Watcher(consumer);
    await until(world, "answered", () => watcher.sets.length === 1);
    const first = watcher.last?.freshSince ?? 0;
    await world.clock.advance(30_000);
    assert.ok((watcher.last?.freshSince ?? 0) >= first + 20_000);
    assert.equal(watcher.sets.length, 1);
    world.killRegistry();
    const gone = world.clock.wall();
    await world.clock.advance(30_000);
    assert.ok((watcher.last?.freshSince ?? 0) <= gone, "nothing proves it while the registry is gone");
    await world.end();
  });
});

describe("leases and owners", () => {
  it("keep instances for the grace time after a lost connection, and remove them at an orderly end", async () => {
    const world = new World(10);
    await world.startRegistry();
    const [lost, orderly, consumer] = [world.client("lost"), world.client("orderly"), world.client("consumer")];
    const watcher = new Watcher(consumer);
    await run(world, lost.publish(instance(1)));
    await run(world, orderly.publish(instance(2)));
    await until(world, "both are seen", () => watcher.ports.length === 2);
    await run(world, orderly.close({ orderly: true }));
    await world.clock.advance(100);
    assert.deepEqual(watcher.ports, [1], "an orderly end shows at once");
    await world.killClient("lost", lost);
    await world.clock.advance(14_000);
    assert.deepEqual(watcher.ports, [1], "a lost session has the grace time");
    await world.clock.advance(2_000);
    assert.deepEqual(watcher.ports, []);
    await world.end();
  });

  it("go over to a second connection with the session's token without a push, and the first is told", async () => {
    const world = new World(11);
    const registry = await world.startRegistry();
    let told = false;
    const before = world.client("node", { onTakenOver: () => (told = true) });
    const consumer = world.client("consumer");
    const watcher = new Watcher(consumer);
    await run(world, before.publish(instance(1)));
    const session = before.status().session;
    await until(world, "it is seen", () => watcher.ports.length === 1);
    const [revision, sets] = [registry.store.revision, watcher.sets.length];
    const after = world.client("node");
    await run(world, after.publish(instance(1)));
    after.restored();
    await until(world, "the first is told", () => told);
    await world.clock.advance(120_000);
    assert.equal(after.status().session, session);
    assert.equal(before.status().state, "taken-over");
    assert.deepEqual(registry.store.revision, revision, "no revision");
    assert.equal(watcher.sets.length, sets, "no push");
    world.network.cut("node");
    await world.clock.advance(20_000);
    assert.equal(after.status().session, session, "the successor continues it after a lost connection");
    await assert.rejects(before.publish(instance(2)), (error) => isMeshError(error, "registry.closed"));
    await world.end();
  });

  it("of a former process go when its successor has reported without them", async () => {
    const world = new World(12);
    await world.startRegistry();
    const before = world.client("node");
    const watcher = new Watcher(world.client("consumer"));
    await run(world, before.publish(instance(1)));
    await run(world, before.publish(instance(2)));
    await world.clock.advance(500);
    await world.killClient("node", before);
    const after = world.client("node");
    await run(world, after.publish(instance(1)));
    await world.clock.advance(5_000);
    assert.deepEqual(watcher.ports, [1, 2], "nothing goes before the successor says that it has everything");
    after.restored();
    await world.clock.advance(100);
    assert.deepEqual(watcher.ports, [1]);
    await world.end();
  });

  it("change by the last register; the former owner is told and does not come back by itself", async () => {
    const world = new World(13);
    await world.startRegistry();
    const [first, second] = [world.client("first"), world.client("second")];
    const watcher = new Watcher(world.client("consumer"));
    let superseded = 0;
    const old = await run(world, first.publish(instance(1), { onSuperseded: () => superseded++ }));
    await run(world, second.publish(instance(1, { port: 20_881, mode: "mesh" })));
    await until(world, "the former owner is told", () => superseded === 1);
    world.network.cut("first");
    world.network.cut("second");
    await world.clock.advance(60_000);
    assert.equal(watcher.last?.instances[0]?.mode, "mesh");
    await assert.rejects(old.update(instance(1)), (error) => isMeshError(error, "registry.superseded"));
    await old.withdraw();
    await world.clock.advance(1_000);
    assert.deepEqual(watcher.ports, [1], "who lost a key cannot delete it");
    // The move back is a new registration, by the session that is older.
    await run(world, first.publish(instance(1)));
    await until(world, "moved back", () => watcher.last?.instances[0]?.mode === "sdk");
    await world.end();
  });

  it("are not taken back by a former owner that was away when it lost the key", async () => {
    const world = new World(14);
    await world.startRegistry();
    const [first, second] = [world.client("first"), world.client("second")];
    const watcher = new Watcher(world.client("consumer"));
    let superseded = 0;
    await run(world, first.publish(instance(1), { onSuperseded: () => superseded++ }));
    const taking = second.publish(instance(1, { mode: "mesh" }));
    world.network.cut("first");
    await run(world, taking);
    await until(world, "the former owner is told when it returns", () => superseded === 1);
    await world.clock.advance(30_000);
    assert.equal(watcher.last?.instances[0]?.mode, "mesh");
    await world.end();
  });
});

describe("a registry that is killed", () => {
  it("comes back without any change, push or resync of data", async () => {
    const world = new World(20);
    await world.startRegistry();
    const provider = world.client("provider");
    const watchers: Watcher[] = [];
    for (let index = 0; index < 3; index++) watchers.push(new Watcher(world.client(`consumer${index}`)));
    for (let port = 1; port <= 50; port++) await run(world, provider.publish(instance(port)));
    provider.restored();
    await until(world, "all are seen", () => watchers.every((watcher) => watcher.ports.length === 50));
    await world.clock.advance(1_000);
    const sets = watchers.map((watcher) => watcher.sets.length);
    world.killRegistry();
    await world.clock.advance(3_000);
    const bytes = world.network.bytesToClients;
    const registry = await world.startRegistry();
    await world.clock.advance(90_000);
    assert.deepEqual(
      watchers.map((watcher) => watcher.sets.length),
      sets,
      "nobody was pushed anything",
    );
    assert.ok(registry.sessions.settled);
    const told = world.network.bytesToClients - bytes;
    // Acknowledgements, empty deltas and pings of four clients; the sets alone are ten times as much.
    assert.ok(told < 14_000, `${told} bytes to say that nothing changed`);
    await world.end();
  });

  it("keeps what it loaded until its owner had time to return", async () => {
    const world = new World(21);
    await world.startRegistry();
    const provider = world.client("provider");
    const watcher = new Watcher(world.client("consumer"));
    await run(world, provider.publish(instance(1)));
    await until(world, "it is seen", () => watcher.ports.length === 1);
    await world.clock.advance(500);
    world.killRegistry();
    await world.killClient("provider", provider);
    await world.startRegistry();
    await world.clock.advance(58_000);
    assert.deepEqual(watcher.ports, [1]);
    await world.clock.advance(3_000);
    assert.deepEqual(watcher.ports, []);
    await world.end();
  });

  it("and lost its disk is not believed before its restart window has passed; explicit removals pass", async () => {
    const world = new World(22);
    await world.startRegistry();
    const [steady, slow] = [world.client("steady"), world.client("slow")];
    const consumer = world.client("consumer");
    const watcher = new Watcher(consumer);
    const first = await run(world, steady.publish(instance(1)));
    for (let port = 2; port <= 8; port++) await run(world, slow.publish(instance(port)));
    await until(world, "all are seen", () => watcher.ports.length === 8);
    await world.killClient("slow", slow);
    world.killRegistry({ wipe: true });
    await world.startRegistry();
    await world.clock.advance(10_000);
    assert.equal(watcher.ports.length, 8, "the last good set stays");
    await run(world, first.withdraw());
    await world.clock.advance(1_000);
    assert.equal(watcher.ports.includes(1), false, "an explicit removal passes");
    assert.ok(watcher.sets.every((set) => set.instances.length > 0));
    await world.clock.advance(60_000);
    assert.deepEqual(watcher.ports, [], "after the window the registry is believed");
    await world.end();
  });
});

describe("a stream that lies (R10)", () => {
  const deltaType = 0x0c;

  async function watched(
    seed: number,
  ): Promise<{ world: World; consumer: RegistryDirectory; watcher: Watcher; provider: RegistryDirectory }> {
    const world = new World(seed);
    await world.startRegistry();
    const [provider, consumer] = [world.client("provider"), world.client("consumer")];
    const watcher = new Watcher(consumer);
    for (let port = 1; port <= 5; port++) await run(world, provider.publish(instance(port)));
    await until(world, "all are seen", () => watcher.ports.length === 5);
    await world.clock.advance(100);
    return { world, provider, consumer, watcher };
  }

  const faults: Readonly<Record<string, (bytes: Buffer) => readonly Buffer[]>> = {
    "a delta that is lost": () => [],
    "a delta that comes twice": (bytes) => [bytes, bytes],
    "a delta whose digest is wrong": (bytes) => {
      const wrong = Buffer.from(bytes);
      const digestAt = 8 + 1 + 2 + Buffer.byteLength(service) + 24;
      wrong[digestAt] = (wrong[digestAt] as number) ^ 1;
      return [wrong];
    },
    "a delta whose record is malformed": (bytes) => {
      const wrong = Buffer.from(bytes);
      wrong.fill(0xff, wrong.length - 20, wrong.length - 8);
      return [wrong];
    },
  };
  for (const [name, fault] of Object.entries(faults)) {
    it(`is found out and repaired by at most one resync: ${name}`, async () => {
      const { world, provider, consumer, watcher } = await watched(40);
      const sets = watcher.sets.length;
      world.network.tamper = (bytes) => {
        if (bytes[3] !== deltaType) return [bytes];
        world.network.tamper = (other) => [other];
        return fault(bytes);
      };
      await run(world, provider.publish(instance(6)));
      await world.clock.advance(20_000);
      assert.deepEqual(watcher.ports, [1, 2, 3, 4, 5, 6]);
      for (const set of watcher.sets.slice(sets)) assert.deepEqual(portsOf(set.instances), [1, 2, 3, 4, 5, 6]);
      const { resyncs } = consumer.status().counts;
      assert.equal(resyncs, name === "a delta that comes twice" ? 0 : 1);
      await world.end();
    });
  }
});

describe("a client that starts", () => {
  it("is ready once what it remembers is answered, from disk when the registry is away, never from nothing", async () => {
    const world = new World(30);
    const blank = world.client("blank");
    let blankReady = "";
    void blank.ready().then((how) => (blankReady = how));
    await world.clock.advance(60_000);
    assert.equal(blankReady, "");
    await world.startRegistry();
    assert.equal(await run(world, blank.ready()), "fresh");

    const before = world.client("node");
    await run(world, blank.publish(instance(1)));
    const seen = new Watcher(before);
    await until(world, "seen", () => seen.ports.length === 1);
    await world.clock.advance(500);
    await world.killClient("node", before);
    world.killRegistry();
    const after = world.client("node");
    const watcher = new Watcher(after);
    let ready = "";
    void after.ready().then((how) => (ready = how));
    await world.clock.advance(0);
    assert.deepEqual(watcher.ports, [1], "told at once");
    await world.clock.advance(4_000);
    assert.equal(ready, "", "the registry may still answer");
    await world.clock.advance(2_000);
    assert.equal(ready, "stale");
    assert.ok((watcher.last?.freshSince ?? 0) < world.clock.wall() - 4_000);
    await world.startRegistry();
    await until(world, "answered", () => after.status().feeds.every((feed) => feed.answered));
    for (const set of watcher.sets) assert.deepEqual(portsOf(set.instances), [1], "never without what was known");
    await world.end();
  });

  it("drops nothing for a watcher that comes and goes at its restart", async () => {
    const world = new World(31);
    await world.startRegistry();
    const provider = world.client("provider");
    await run(world, provider.publish(instance(1)));
    const before = world.client("node");
    let count = 0;
    const watch = before.watch(service, () => count++);
    await until(world, "seen", () => count === 1);
    watch.close();
    await world.clock.advance(500);
    await world.killClient("node", before);
    const after = world.client("node");
    assert.deepEqual(
      after.status().feeds.map((feed) => [feed.name, feed.size]),
      [[service, 1]],
    );
    await world.end();
  });
});

describe("anything at any time", () => {
  for (const seed of [1, 2, 3, 4, 5, 6].map(
    (number) => number * 7_919 + (Number(process.env["SIMULATION_SEED"]) || 0),
  )) {
    it(`converges, answers no empty list and keeps one owner (seed ${seed})`, { timeout: 120_000 }, async () => {
      await storm(seed);
    });
  }
});

interface Provider {
  readonly nodeId: string;
  directory: RegistryDirectory;
  /** What it publishes, by app port, with the value that must be seen in the end. */
  readonly values: Map<number, { publication: Publication | undefined; value: Instance }>;
}

/** Providers 0 to 3 own ports 100 n to 100 n + 9; port 1 is published by whoever was told to last. Provider 0 always offers port 0. */
async function storm(seed: number): Promise<void> {
  const world = new World(seed, { restartWindowMs: 20_000 });
  await world.startRegistry();
  const chance = (): number => world.random.next();
  const providers: Provider[] = [];
  for (let index = 0; index < 4; index++) {
    const nodeId = `provider${index}`;
    providers.push({ nodeId, directory: world.client(nodeId), values: new Map() });
  }
  const watchers = [0, 1, 2].map((index) => new Watcher(world.client(`consumer${index}`)));
  const publish = (provider: Provider, appPort: number, value: Instance): void => {
    const known = provider.values.get(appPort);
    const entry = { publication: known?.publication, value };
    provider.values.set(appPort, entry);
    if (known?.publication !== undefined) {
      known.publication.update(value).catch(ignoreSuperseded);
      return;
    }
    provider.directory.publish(value).then((publication) => {
      const now = provider.values.get(appPort);
      if (now === undefined) return publication.withdraw();
      now.publication = publication;
      if (now.value !== value) publication.update(now.value).catch(ignoreSuperseded);
      return undefined;
    }, ignoreSuperseded);
  };
  publish(providers[0] as Provider, 0, instance(0));
  await until(world, "the first is seen", () => watchers.every((watcher) => watcher.ports.length === 1));
  await world.clock.advance(200); // it is on the registry's disk
  for (const watcher of watchers) watcher.sets.length = 0;

  for (let step = 0; step < 150; step++) {
    await world.clock.advance(chance() * 400);
    const index = Math.floor(chance() * providers.length);
    const provider = providers[index] as Provider;
    const appPort = 100 * (index + 1) + Math.floor(chance() * 10);
    const dice = chance();
    if (dice < 0.45) publish(provider, appPort, instance(appPort, { weight: 1 + Math.floor(chance() * 1_000) }));
    else if (dice < 0.6) {
      const entry = provider.values.get(appPort);
      provider.values.delete(appPort);
      void entry?.publication?.withdraw();
    } else if (dice < 0.75) world.network.cut(provider.nodeId);
    else if (dice < 0.85) world.network.cut(`consumer${Math.floor(chance() * 3)}`);
    else if (dice < 0.9) await restartProvider(world, provider, publish);
    else if (dice < 0.95 && world.registry !== undefined) world.killRegistry();
    else if (world.registry === undefined) await world.startRegistry();
  }
  if (world.registry === undefined) await world.startRegistry();
  await world.clock.advance(90_000);

  const expected = providers.flatMap(({ values }) => [...values.values()].map(({ value }) => value));
  const texts = (list: readonly Instance[]): string[] =>
    list.map(({ appPort, weight }) => `${appPort} ${weight}`).sort();
  for (const watcher of watchers) {
    assert.deepEqual(texts(watcher.last?.instances ?? []), texts(expected));
    assert.ok(watcher.sets.every((set) => set.instances.length > 0));
    assert.ok(
      watcher.sets.every((set) => set.instances.some(({ appPort }) => appPort === 0)),
      "port 0 never left",
    );
  }
  for (const row of world.registry?.store.rowsOf(service) ?? []) {
    assert.ok(world.registry?.sessions.get(row.session), "every instance has an owner that lives");
  }
  await world.end();
}

/** A process that is killed and publishes again what it had, with the same disk. */
async function restartProvider(
  world: World,
  provider: Provider,
  publish: (provider: Provider, appPort: number, value: Instance) => void,
): Promise<void> {
  await world.killClient(provider.nodeId, provider.directory);
  const values = [...provider.values];
  provider.directory = world.client(provider.nodeId);
  provider.values.clear();
  for (const [appPort, { value }] of values) publish(provider, appPort, value);
  provider.directory.restored();
}

/** Publications end with their process in this story. */
function ignoreSuperseded(error: unknown): void {
  assert.ok(isMeshError(error), String(error));
}
