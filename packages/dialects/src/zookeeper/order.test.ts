import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { DoorFixture, loopbackStandIn } from "../testing/door-fixture.ts";
import { MemoryDirectory } from "../testing/memory-directory.ts";
import type { ZooKeeperTestClient } from "../testing/zookeeper-client.ts";
import { encodeName } from "./provider-url.ts";

const ephemeral = 1;

function listOf(index: number): string {
  return `/dubbo/fx.Service${index}/providers`;
}

function provider(index: number): string {
  const url = `dubbo://10.0.0.1:20880/fx.Service${index}?application=p&interface=fx.Service${index}&timestamp=1795475652816`;
  return `${listOf(index)}/${encodeName(url)}`;
}

/** The replies that came, by xid, in their order. */
function answered(client: ZooKeeperTestClient): number[] {
  return client.said.flatMap((said) => ("reply" in said ? [said.reply.xid] : []));
}

async function sidecar() {
  const clock = new FakeClock();
  const registry = new MemoryDirectory({ clock });
  const fixture = await DoorFixture.open({
    place: "sidecar",
    clock,
    directory: registry.view({ standIn: loopbackStandIn }),
  });
  return { clock, registry, fixture };
}

describe("requests that are sent without waiting for answers", () => {
  for (const [state, answering] of [
    ["nobody offers them", true],
    ["the registry is away", false],
  ] as const) {
    it(`read a hundred lists that nobody has seen within a second in all, when ${state}`, async () => {
      const { clock, registry, fixture } = await sidecar();
      const client = await fixture.client();
      registry.answering = answering;
      const directory = fixture.directory as MemoryDirectory;
      directory.answering = answering;
      const xids: number[] = [];
      for (let index = 0; index < 100; index += 1) xids.push(client.list(listOf(index), true));
      await clock.advance(999);
      assert.deepEqual(answered(client), []);
      await clock.advance(1);
      assert.deepEqual(answered(client), xids);
      assert.ok(xids.every((xid) => client.children(xid)?.length === 0));
    });
  }

  it("ask the directory for every list at once, and are answered as soon as it knows them all", async () => {
    const { clock, registry, fixture } = await sidecar();
    for (let index = 0; index < 100; index += 1) {
      await registry.publish({ ...loopbackStandIn(`dubbo/fx.Service${index}::`), host: "10.0.0.1" });
    }
    const directory = fixture.directory as MemoryDirectory;
    directory.answering = false;
    const client = await fixture.client();
    const xids = Array.from({ length: 100 }, (_, index) => client.list(listOf(index)));
    await clock.advance(300);
    assert.deepEqual(answered(client), []);
    directory.answering = true;
    await fixture.settle();
    assert.deepEqual(answered(client), xids);
    assert.ok(xids.every((xid) => client.children(xid)?.length === 1));
  });

  it("let a write take effect at once behind reads that are held, and answer it in its turn", async () => {
    const { clock, registry, fixture } = await sidecar();
    const client = await fixture.client();
    const reads = [client.list(listOf(1)), client.list(listOf(2))];
    const write = client.create(provider(3), ephemeral);
    const read = client.getData(provider(3));
    await fixture.settle();
    assert.deepEqual(answered(client), []);
    assert.equal(registry.instances().length, 1, "registered although its answer waits");
    await clock.advance(1_000);
    assert.deepEqual(answered(client), [...reads, write, read]);
    assert.deepEqual([client.error(write), client.error(read)], [0, 0]);
  });

  it("hold a write that an earlier read would tell of, and the writes behind it", async () => {
    const { clock, registry, fixture } = await sidecar();
    const client = await fixture.client();
    const held = client.exists(provider(1));
    const writes = [
      client.create(provider(1), ephemeral),
      client.create(provider(2), ephemeral),
      client.delete(provider(1)),
    ];
    await clock.advance(999);
    assert.deepEqual(registry.instances(), []);
    await clock.advance(1);
    assert.deepEqual(answered(client), [held, ...writes]);
    assert.equal(client.error(held), -101, "read before it was written");
    assert.deepEqual(
      writes.map((xid) => client.error(xid)),
      [0, 0, 0],
    );
    assert.deepEqual(
      registry.instances().map((one) => one.service),
      ["dubbo/fx.Service2::"],
    );
  });

  it("end the session only when everything before is answered", async () => {
    const { clock, fixture } = await sidecar();
    const client = await fixture.client();
    const xids = [client.list(listOf(1)), client.create(provider(2), ephemeral), client.send({ op: "closeSession" })];
    await clock.advance(1_000);
    assert.deepEqual(answered(client), xids);
    assert.equal(client.closed, true);
  });
});
