import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Directory } from "@dualmesh/model/directory";
import { DoorFixture } from "../testing/door-fixture.ts";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import { MemoryJournal } from "../testing/memory-journal.ts";
import { encodeName } from "./provider-url.ts";

const ephemeral = 1;
const systemError = -1;
const badArguments = -8;
const providers = "/dubbo/fx.Greeter/providers";

function providerPath(port: number, more = ""): string {
  const url = `dubbo://10.0.0.1:${port}/fx.Greeter?application=p&interface=fx.Greeter&timestamp=1795475652816${more}`;
  return `${providers}/${encodeName(url)}`;
}

/** A directory that refuses some ports at once, as a sidecar refuses its own, and says so of nothing else. */
function refusing(ports: ReadonlySet<number>, clock: FakeClock) {
  const memory = new MemoryDirectory({ clock });
  const directory: Directory = {
    watch: (service, listener) => memory.watch(service, listener),
    watchCatalogue: (pattern, listener) => memory.watchCatalogue(pattern, listener),
    publish: async (instance, options) => {
      if (ports.has(instance.appPort)) throw new MeshError("publish.own-port", `port ${instance.appPort} is its own`);
      return memory.publish(instance, options);
    },
  };
  return { memory, directory };
}

describe("what a ZooKeeper door does not accept", () => {
  it("is answered with an error, kept nowhere and shown with the reason, when the directory refuses it", async () => {
    const clock = new FakeClock();
    const refused = new Set([20_881]);
    const { memory, directory } = refusing(refused, clock);
    const fixture = await DoorFixture.open({ place: "sidecar", clock, directory });
    const client = await fixture.client();
    const before = [...fixture.journal.entries()].length;
    const [own, other] = [
      client.create(providerPath(20_881), ephemeral),
      client.create(providerPath(20_880), ephemeral),
    ];
    await fixture.settle();
    assert.deepEqual([client.error(own), client.error(other)], [systemError, 0]);
    assert.deepEqual(
      memory.instances().map((one) => one.appPort),
      [20_880],
    );
    assert.equal([...fixture.journal.entries()].length, before + 1);
    const bypassed = () => fixture.door.sessions()[0]?.bypassed;
    assert.deepEqual(bypassed(), [{ registration: providerPath(20_881), reason: "port 20881 is its own" }]);
    const exists = client.exists(providerPath(20_881));
    await fixture.clock.advance(1_000);
    assert.equal(client.error(exists), -101);

    // Dubbo tries again every five seconds: the same path is free, and what is accepted then is shown as refused no longer.
    refused.clear();
    const again = client.create(providerPath(20_881), ephemeral);
    await fixture.settle();
    assert.equal(client.error(again), 0);
    assert.equal(memory.instances().length, 2);
    assert.deepEqual(bypassed(), []);
  });

  it("cannot be read, or goes beyond what any directory takes", async () => {
    const fixture = await DoorFixture.open();
    const client = await fixture.client();
    const long = providerPath(20_880, `&group=${"g".repeat(5_000)}`);
    const label = providerPath(20_880, `&dubbo.tag=${"t".repeat(5_000)}`);
    const paths = [`${providers}/nonsense`, providerPath(0), long, label];
    const errors = paths.map((path) => client.create(path, ephemeral)).map((xid) => client.error(xid));
    assert.deepEqual(errors, [badArguments, badArguments, badArguments, badArguments]);
    await fixture.settle();
    assert.deepEqual(fixture.directory.instances(), []);
    const shown = fixture.door.sessions()[0]?.bypassed ?? [];
    assert.deepEqual(
      shown.map(({ registration }) => registration),
      paths.map((path) => path.slice(0, 500)),
    );
    assert.equal(shown[0]?.reason, "unreadable registration");
    assert.equal(shown[2]?.reason, "the name of its service is too long");
  });

  it("is one registration more than a session may have, which another session may make", async () => {
    const fixture = await DoorFixture.open({ limits: { registrationsPerSession: 2 } });
    const [client, other] = [await fixture.client(), await fixture.client()];
    const xids = [1, 2, 3].map((port) => client.create(providerPath(port), ephemeral));
    await fixture.settle();
    assert.deepEqual(
      xids.map((xid) => client.error(xid)),
      [0, 0, systemError],
    );
    const elsewhere = other.create(providerPath(3), ephemeral);
    client.delete(providerPath(1));
    const again = client.create(providerPath(4), ephemeral);
    await fixture.settle();
    assert.deepEqual([other.error(elsewhere), client.error(again)], [0, 0]);
    assert.equal(fixture.directory.instances().length, 3);
  });

  it("is one line for a session and a reason, and a line a minute with the number of the others", async () => {
    const fixture = await DoorFixture.open({ limits: { registrationsPerSession: 0 } });
    const [client, other] = [await fixture.client({ timeoutMs: 40_000 }), await fixture.client()];
    for (let port = 1; port <= 500; port += 1) {
      client.create(providerPath(port), ephemeral);
      client.create("/sequence", 3);
    }
    other.create(providerPath(1), ephemeral);
    await fixture.settle();
    const refused = "warn a node was refused";
    const sequential = "warn sequential nodes are refused: this tree is for discovery only";
    assert.deepEqual(fixture.logged, [refused, sequential, refused]);
    for (let passed = 0; passed < 60_000; passed += 10_000) {
      for (const one of [client, other]) one.send({ op: "ping" });
      await fixture.clock.advance(10_000);
    }
    assert.deepEqual(fixture.logged.slice(3), [refused, sequential]);
    assert.equal(fixture.door.sessions()[0]?.bypassed.length, 16, "what is shown is bounded too");
  });
});

describe("what a ZooKeeper door accepts", () => {
  it("does not wait for a registry that is away, and is kept on disk", async () => {
    const clock = new FakeClock();
    const memory = new MemoryDirectory({ clock });
    const away: Directory = {
      watch: (service, listener) => memory.watch(service, listener),
      watchCatalogue: (pattern, listener) => memory.watchCatalogue(pattern, listener),
      publish: (_instance, options) => {
        options?.onAccepted?.();
        return new Promise(() => {});
      },
    };
    const fixture = await DoorFixture.open({ place: "sidecar", clock, directory: away });
    const client = await fixture.client();
    const created = client.create(providerPath(20_880), ephemeral);
    await fixture.settle();
    assert.equal(client.error(created), 0);
    const after = await fixture.restart({ place: "sidecar", directory: memory });
    assert.equal(memory.instances().length, 1);
    assert.deepEqual(after.door.sessions()[0]?.publishes, ["dubbo/fx.Greeter::"]);
  });

  it("is kept when the next process may not publish it, shown with the reason, and published once it may", async () => {
    const before = await DoorFixture.open({ place: "sidecar", journal: new MemoryJournal() });
    const client = await before.client();
    client.create(providerPath(20_881), ephemeral);
    await before.settle();
    const refused = new Set([20_881]);
    const { memory, directory } = refusing(refused, before.clock);
    const after = await before.restart({ place: "sidecar", directory });
    await after.settle();
    assert.deepEqual(memory.instances(), []);
    const bypassed = () => after.door.sessions()[0]?.bypassed;
    assert.deepEqual(bypassed(), [{ registration: providerPath(20_881), reason: "port 20881 is its own" }]);
    refused.clear();
    await after.clock.advance(10_000);
    assert.equal(memory.instances().length, 1);
    assert.deepEqual(bypassed(), []);
  });
});
