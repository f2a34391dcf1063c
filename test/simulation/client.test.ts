/** What callers of the registry's client may rely on: order, freshness and limits. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import type { InstanceSet, Publication } from "@dualmesh/model/directory";
import { instance, service, until, World } from "./world.ts";

/** Runs a client's promise while the fake clock goes on. */
async function run<T>(world: World, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = (): void => {
    settled = true;
  };
  promise.then(done, done);
  await until(world, "a promise settles", () => settled);
  return promise;
}

describe("the order of a client's calls", () => {
  it("holds for a withdrawal and a publication of the same key", async () => {
    const world = new World(41);
    const registry = await world.startRegistry();
    const client = world.client("provider");
    const sizes: number[] = [];
    let former: Publication = await run(world, client.publish(instance(1)));
    world.client("consumer").watch(service, ({ instances }) => sizes.push(instances.length));
    await until(world, "it is seen", () => sizes.at(-1) === 1);
    for (let incarnation = 1; incarnation <= 3; incarnation++) {
      const withdrawn = former.withdraw();
      const published = client.publish(instance(1, { incarnation, weight: incarnation }));
      await run(world, withdrawn);
      former = await run(world, published);
      assert.deepEqual(
        [...registry.store.rowsOf(service)].map((row) => row.incarnation),
        [incarnation],
      );
    }
    await world.clock.advance(1_000);
    assert.equal(sizes.at(-1), 1);
    await run(world, former.withdraw());
    assert.equal(registry.instances.countOf({ epoch: 1, counter: 1 }), 0);
    await until(world, "the end is seen", () => sizes.at(-1) === 0);
    await world.end();
  });

  it("holds while the registry is away", async () => {
    const world = new World(42);
    await world.startRegistry();
    const client = world.client("provider");
    const [first, second] = await run(world, Promise.all([client.publish(instance(1)), client.publish(instance(2))]));
    await world.clock.advance(500);
    world.killRegistry();
    await world.clock.advance(100);
    // One is published again and the other is withdrawn again.
    const gone: Promise<void>[] = [first.withdraw()];
    const published = client.publish(instance(1, { weight: 9 }));
    gone.push(second.withdraw());
    const again = client.publish(instance(2));
    again.then((publication) => gone.push(publication.withdraw()));
    const registry = await world.startRegistry();
    await run(world, Promise.all([published, again]));
    await run(world, Promise.all(gone));
    await until(world, "only the first is there", () => {
      const rows = [...registry.store.rowsOf(service)];
      return rows.length === 1;
    });
    await world.clock.advance(70_000);
    assert.equal([...registry.store.rowsOf(service)].length, 1);
    await world.end();
  });
});

describe("what a client knows of a service", () => {
  it("is fresh at once also when nobody provides it and the registry has just restarted", async () => {
    const world = new World(43);
    await world.startRegistry();
    await run(world, world.client("provider").publish(instance(1)));
    await world.clock.advance(500);
    world.killRegistry();
    const registry = await world.startRegistry();
    const consumer = world.client("consumer");
    let set: InstanceSet | undefined;
    consumer.watch("dubbo/nobody::", (next) => {
      set = next;
    });
    await until(world, "answered", () => set !== undefined, 2_000);
    assert.equal(registry.sessions.settled, false);
    assert.deepEqual(set?.instances, []);
    assert.ok((set?.freshSince ?? 0) > 0);
    await world.end();
  });

  it("is empty at once when all providers leave in order and the registry has settled", async () => {
    const world = new World(44);
    const registry = await world.startRegistry();
    const providers = ["a", "b", "c", "d", "e"].map((name) => world.client(name));
    const publications: Publication[] = [];
    for (const [index, provider] of providers.entries())
      publications.push(await run(world, provider.publish(instance(index + 1))));
    let shown = -1;
    world.client("consumer").watch(service, ({ instances }) => {
      shown = instances.length;
    });
    await until(world, "settled", () => registry.sessions.settled, 70_000);
    await until(world, "all are seen", () => shown === 5);
    for (const publication of publications) await run(world, publication.withdraw());
    await until(world, "nobody is there", () => shown === 0, 200);
    await world.end();
  });
});

describe("a client that watches more than the registry takes", () => {
  const patterns = ["*/a:*:*", "*/b:*:*", "*/c:*:*"] as const;

  it("is refused one pattern too many, keeps its connection, and may have it once another is free", async () => {
    const world = new World(45, { limits: { patterns: 2 } });
    await world.startRegistry();
    const client = world.client("node");
    await run(world, client.publish(instance(1, { service: "bolt/c:1.0:" })));
    const watches = patterns.slice(0, 2).map((pattern) => client.watchCatalogue(pattern, () => {}));
    assert.throws(
      () => client.watchCatalogue(patterns[2], () => {}),
      (error) => isMeshError(error, "registry.limit") && /2 patterns/.test((error as Error).message),
    );
    await world.clock.advance(30_000);
    assert.equal(client.status().state, "connected");
    assert.equal(client.status().counts["resyncs"], 0);
    watches[0]?.close();
    let seen: readonly string[] = [];
    client.watchCatalogue(patterns[2], (entries) => {
      seen = entries.map((entry) => entry.service);
    });
    await until(world, "the pattern is answered", () => seen.length === 1);
    await world.end();
  });

  it("keeps its connection also if it watched before it knew the limit", async () => {
    const world = new World(46, { limits: { patterns: 2 } });
    const client = world.client("node");
    const answered = new Set<string>();
    const watches = patterns.map((pattern) => client.watchCatalogue(pattern, () => answered.add(pattern)));
    await world.startRegistry();
    await until(world, "two are answered", () => answered.size === 2);
    await world.clock.advance(30_000);
    assert.equal(client.status().state, "connected");
    assert.equal(client.status().counts["resyncs"], 0);
    assert.deepEqual([...answered], patterns.slice(0, 2));
    watches[0]?.close();
    await world.clock.advance(700_000);
    assert.ok(answered.has(patterns[2]), "the third has the place of the first once that is forgotten");
    await world.end();
  });
});
