import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import type { InstanceSet } from "@dualmesh/model/directory";
import { registryConfigShape } from "./config.ts";
import { openRegistryCore, type RegistryCore } from "./registry.ts";
import { instance, service, VolatileJournal } from "./testing/peer.ts";

function openCore(
  clock: FakeClock,
  epoch = 1,
  journal = new VolatileJournal(),
  limits: { readonly sessionInstances?: number; readonly instances?: number } = {},
): Promise<RegistryCore> {
  const state = { epoch, journal: () => Promise.resolve(journal) };
  const config = registryConfigShape.parse({ limits });
  return openRegistryCore({ config, state, clock, random: seededRandom(epoch), log: silentLog });
}

describe("the directory of doors at the registry", () => {
  it("publishes, shows real addresses to watchers, and withdraws", async () => {
    const clock = new FakeClock();
    const { directory, stop } = await openCore(clock);
    const sets: InstanceSet[] = [];
    const watch = directory.watch(service, (set) => sets.push(set));
    assert.equal(sets.length, 0, "never synchronously");
    await clock.advance(20);
    assert.deepEqual(sets[0]?.instances, []);
    const publication = await directory.publish(instance(1));
    await clock.advance(20);
    assert.deepEqual(
      sets.at(-1)?.instances.map(({ address, port }) => [address, port]),
      [["10.0.0.1", 1]],
    );
    assert.equal(sets.at(-1)?.freshSince, clock.wall());
    await publication.update(instance(1, { weight: 7 }));
    await clock.advance(20);
    assert.equal(sets.at(-1)?.instances[0]?.weight, 7);
    await publication.withdraw();
    await publication.withdraw();
    await clock.advance(20);
    assert.deepEqual(sets.at(-1)?.instances, []);
    watch.close();
    stop();
  });

  it("takes more than one session may publish, since it serves all sessions of the doors, and refuses at once what is too much", async () => {
    const limits = { sessionInstances: 2, instances: 4 };
    const { directory, store, stop } = await openCore(new FakeClock(), 1, new VolatileJournal(), limits);
    let accepted = 0;
    const publish = (port: number) => directory.publish(instance(port), { onAccepted: () => accepted++ });
    for (let port = 1; port <= 4; port++) await publish(port);
    await assert.rejects(publish(5), (error) => isMeshError(error, "registry.limit"));
    assert.equal(accepted, 4);
    assert.equal([...store.rowsOf(service)].length, 4);
    stop();
  });

  it("ends a publication whose key is published again, and deletes nothing of its successor", async () => {
    const clock = new FakeClock();
    const { directory, store, stop } = await openCore(clock);
    let superseded = 0;
    const former = await directory.publish(instance(1), { onSuperseded: () => superseded++ });
    const successor = await directory.publish(instance(1, { incarnation: 2 }));
    assert.equal(superseded, 1);
    await assert.rejects(former.update(instance(1)), (error) => isMeshError(error, "registry.superseded"));
    await former.withdraw();
    assert.equal([...store.rowsOf(service)].length, 1);
    await successor.withdraw();
    assert.equal([...store.rowsOf(service)].length, 0);
    stop();
  });

  it("keeps what a door published over a restart until the door says it again or the window has passed", async () => {
    const clock = new FakeClock();
    const journal = new VolatileJournal();
    const before = await openCore(clock, 1, journal);
    await before.directory.publish(instance(1));
    await before.directory.publish(instance(2));
    before.stop();
    const after = await openCore(clock, 2, journal);
    const { revision } = after.store;
    await after.directory.publish(instance(1));
    assert.deepEqual(after.store.revision, revision, "an equal value makes no revision");
    await clock.advance(59_000);
    assert.equal([...after.store.rowsOf(service)].length, 2);
    await clock.advance(2_000);
    assert.deepEqual(
      [...after.store.rowsOf(service)].map(({ session }) => session.epoch),
      [2],
    );
    assert.ok(after.sessions.settled);
    after.stop();
  });

  it("shows at once, long before it has settled, what is added to a restarted registry", async () => {
    const clock = new FakeClock();
    const journal = new VolatileJournal();
    const before = await openCore(clock, 1, journal);
    await before.directory.publish(instance(1));
    before.stop();
    const { directory, sessions, stop } = await openCore(clock, 2, journal);
    let shown: readonly number[] = [];
    let catalogue: readonly string[] = [];
    directory.watch(service, ({ instances }) => {
      shown = instances.map(({ appPort }) => appPort);
    });
    directory.watchCatalogue("*", (entries) => {
      catalogue = entries.map((entry) => entry.service);
    });
    await clock.advance(100);
    assert.deepEqual([shown, catalogue], [[1], [service]]);
    await directory.publish(instance(2));
    await directory.publish(instance(3, { service: "dubbo/x::" }));
    await clock.advance(20);
    assert.deepEqual(
      [shown, catalogue],
      [
        [1, 2],
        [service, "dubbo/x::"],
      ],
    );
    assert.equal(sessions.settled, false);
    stop();
  });

  it("answers at once for a service that nobody provides, also when it has just restarted", async () => {
    const clock = new FakeClock();
    const journal = new VolatileJournal();
    const before = await openCore(clock, 1, journal);
    await before.directory.publish(instance(1, { service: "dubbo/x::" }));
    before.stop();
    const { directory, stop } = await openCore(clock, 2, journal);
    const sets: InstanceSet[] = [];
    directory.watch(service, (set) => sets.push(set));
    await clock.advance(20);
    assert.deepEqual(
      sets.map(({ instances, freshSince }) => [instances.length, freshSince]),
      [[0, clock.wall()]],
    );
    stop();
  });

  it("honours a withdrawal and a publication of the same key in the order of the calls", async () => {
    const clock = new FakeClock();
    const journal = new VolatileJournal();
    const { directory, store, stop } = await openCore(clock, 1, journal);
    const removed: number[] = [];
    directory.watch(service, ({ instances }) => removed.push(instances.length));
    const first = await directory.publish(instance(1));
    await clock.advance(20);
    const withdrawn = first.withdraw();
    const published = directory.publish(instance(1, { weight: 7 }));
    await Promise.all([withdrawn, published]);
    await clock.advance(20);
    const rows = (): number => [...store.rowsOf(service)].length;
    assert.equal(rows(), 1);
    assert.ok(!removed.includes(0) || removed.indexOf(0) === 0, "nobody sees the moment in between");
    await (await published).withdraw();
    await first.withdraw();
    assert.equal(rows(), 0);
    stop();
    const after = await openCore(clock, 2, journal);
    assert.equal([...after.store.rowsOf(service)].length, 0, "nor does it come back from disk");
    after.stop();
  });

  it("shows an empty list at once when all of a service's providers have left in order", async () => {
    const clock = new FakeClock();
    const { directory, stop } = await openCore(clock);
    let shown = -1;
    directory.watch(service, ({ instances }) => {
      shown = instances.length;
    });
    const publications = await Promise.all([1, 2, 3].map((port) => directory.publish(instance(port))));
    await clock.advance(70_000);
    assert.equal(shown, 3);
    for (const publication of publications) await publication.withdraw();
    await clock.advance(20);
    assert.equal(shown, 0);
    stop();
  });

  it("lists the catalogue by pattern", async () => {
    const clock = new FakeClock();
    const { directory, stop } = await openCore(clock);
    const seen: string[] = [];
    directory.watchCatalogue("bolt/*", (entries) => seen.push(entries.map((entry) => entry.service).join()));
    await directory.publish(instance(1));
    await directory.publish(instance(2, { service: "dubbo/x::" }));
    await clock.advance(50);
    assert.equal(seen.at(-1), service);
    stop();
  });

  it("refuses what is no service", async () => {
    const { directory, stop } = await openCore(new FakeClock());
    await assert.rejects(directory.publish(instance(1, { service: "Greeter" })), (error) =>
      isMeshError(error, "registry.refused"),
    );
    stop();
  });
});
