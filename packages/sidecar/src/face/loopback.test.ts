import assert from "node:assert/strict";
import { test } from "node:test";
import { dubboLayout } from "@dualmesh/dialects/zookeeper/dubbo-layout";
import type { Layout } from "@dualmesh/dialects/zookeeper/layout";
import { ProviderView } from "@dualmesh/dialects/zookeeper/provider-view";
import { sofaLayout } from "@dualmesh/dialects/zookeeper/sofa-layout";
import type { Instance } from "@dualmesh/model/instance";
import fc from "fast-check";
import { Loopback } from "./loopback.ts";
import { dubbo, greeter, openWorld, type World } from "./testing.ts";

const bolt = "bolt/fx.Greeter:1.0:";

/** A provider of SOFA-RPC in the mesh, as its registration says of itself. */
function sofa(
  application: string,
  changes: { readonly serialization?: string; readonly startTime?: number } = {},
): Instance {
  const { serialization = "hessian2", startTime = 5 } = changes;
  const parameters = `version=1.0&appName=${application}&pid=${startTime}&serialization=${serialization}&startTime=${startTime}&id=c-1&uniqueId=`;
  const registration = { dialect: "sofa", text: `bolt://192.0.2.3:12200?${parameters}` };
  return dubbo({ service: bolt, application, host: "192.0.2.3", mode: "mesh", port: 20_881, registration });
}

/** What is added to a Dubbo registration. */
const watched = "heartbeat=3000&dubbo.application.least-reconnect-duration=1000";
const dubboProvider = (application: string, parameters: string): Instance =>
  dubbo({ application, mode: "mesh", port: 20_881, parameters });

/** The names of the list as a client of this sidecar's door sees them, after each change. */
function names(world: World, layout: Layout): readonly string[][] {
  const lists: string[][] = [];
  const view = new ProviderView({
    layout,
    interfaceName: "fx.Greeter",
    place: "sidecar",
    directory: world.face,
    clock: world.clock,
    holdMs: 1_000,
    onList: (list) => {
      const now = [...list.keys()].sort();
      if (lists.length === 0 || now.join() !== lists.at(-1)?.join()) lists.push(now);
    },
  });
  view.want([layout.dialect === "sofa" ? bolt : greeter]);
  return lists;
}

function assertNothingSwapped(lists: readonly string[][]): void {
  for (const [index, list] of lists.entries()) {
    assert.ok(list.length > 0, "an empty list");
    if (index === 0) continue;
    const before = lists[index - 1] as string[];
    assert.ok(
      before.every((name) => list.includes(name)) || list.every((name) => before.includes(name)),
      `in one step ${before} became ${list}`,
    );
  }
}

test("the name in a list stays when the provider whose registration it wears leaves, and another application is left", async () => {
  const world = openWorld();
  const { clock, directory } = world;
  const first = await directory.publish(sofa("shop-a"));
  const second = await directory.publish(sofa("shop-b", { startTime: 6 }));
  const lists = names(world, sofaLayout());
  await clock.advance(30_000);
  assert.match(decodeURIComponent(lists.at(-1)?.[0] ?? ""), /^bolt:\/\/127\.0\.0\.1:20882\?.*appName=shop-a/);
  await first.withdraw();
  await clock.advance(30_000);
  await second.withdraw();
  await clock.advance(600_000);
  await directory.publish(sofa("shop-c", { startTime: 7 }));
  await clock.advance(30_000);
  assert.equal(lists.length, 1, `${lists.length} lists`);
});

test("a stand-in that has been shown gives way to a provider's registration without a list that misses it", async () => {
  const world = openWorld();
  const lists = names(world, sofaLayout());
  await world.clock.advance(30_000);
  await world.directory.publish(sofa("shop-a"));
  await world.clock.advance(5_900);
  assert.deepEqual(
    lists.map((list) => list.length),
    [1, 2],
  );
  await world.clock.advance(200);
  assert.deepEqual(
    lists.map((list) => list.length),
    [1, 2, 1],
  );
  assertNothingSwapped(lists);
});

test("a provider that offers more methods changes the name, which is shown beside the old one for six seconds", async () => {
  const world = openWorld();
  const { clock, directory } = world;
  await directory.publish(dubboProvider("a", "methods=one&timestamp=1"));
  const lists = names(world, dubboLayout());
  await clock.advance(30_000);
  const more = await directory.publish(dubboProvider("b", "methods=one,two&timestamp=2"));
  await clock.advance(5_900);
  assert.deepEqual(
    lists.map((list) => list.length),
    [1, 2],
  );
  await clock.advance(200);
  assert.deepEqual(
    lists.map((list) => list.length),
    [1, 2, 1],
  );
  assert.match(lists.at(-1)?.[0] ?? "", /one%2Ctwo/);
  await more.withdraw();
  await clock.advance(30_000);
  assert.equal(lists.length, 3, "fewer methods change nothing");
  assertNothingSwapped(lists);
});

test("changes in quick succession never show more than two, and end with the newest", async () => {
  const world = openWorld();
  const { clock, directory } = world;
  const publication = await directory.publish(dubboProvider("a", "methods=m0"));
  const lists = names(world, dubboLayout());
  await clock.advance(30_000);
  for (let count = 1; count <= 5; count += 1) {
    const methods = Array.from({ length: count + 1 }, (_, index) => `m${index}`).join(",");
    await publication.update(dubboProvider("a", `methods=${methods}`));
    await clock.advance(1_000);
  }
  await clock.advance(30_000);
  assertNothingSwapped(lists);
  assert.ok(lists.every((list) => list.length <= 2));
  assert.equal(lists.at(-1)?.length, 1);
  assert.match(lists.at(-1)?.[0] ?? "", /m5/);
});

test("what every provider understands is worn, whatever else a newer one prefers", () => {
  const loopback = new Loopback(greeter, { host: "127.0.0.1", port: 20_882 });
  const newer = dubboProvider("a", "methods=one,two&prefer.serialization=fastjson2,hessian2");
  const older = dubboProvider("b", "methods=one");
  loopback.follow([newer]);
  assert.match(loopback.instance.registration.text, /fastjson2/);
  loopback.follow([newer, older]);
  assert.doesNotMatch(loopback.instance.registration.text, /fastjson2/);
  const { instance } = loopback;
  loopback.follow([newer]);
  assert.match(loopback.instance.registration.text, /fastjson2/, "the older one's methods would not do");
  loopback.follow([dubboProvider("c", "methods=one,two&prefer.serialization=hessian2,fastjson2")]);
  assert.doesNotMatch(loopback.instance.registration.text, /fastjson2,hessian2/);
  assert.notEqual(loopback.instance, instance);
});

test("what is true of one process only is not worn, encoded or not", () => {
  const wear = (text: string): string => {
    const loopback = new Loopback(greeter, { host: "127.0.0.1", port: 20_882 });
    loopback.follow([dubbo({ registration: { dialect: "dubbo", text } })]);
    return loopback.instance.registration.text;
  };
  const url = "dubbo://192.0.2.2:20880/fx.Greeter?timestamp=1&methods=one&pid=2&dubbo.tag=gray&side=provider&id=x";
  const worn = `dubbo://192.0.2.2:20880/fx.Greeter?methods=one&side=provider&${watched}`;
  assert.equal(wear(url), worn);
  assert.equal(wear(encodeURIComponent(url)), worn);
  assert.equal(wear("dubbo://192.0.2.2:20880/fx.Greeter"), "dubbo://192.0.2.2:20880/fx.Greeter");
  assert.equal(wear("no url at all"), "no url at all");
});

test("a Dubbo caller watches over its connection to the sidecar as the sidecar says, not as the provider does", () => {
  const loopback = new Loopback(greeter, { host: "127.0.0.1", port: 20_882 });
  const text = "dubbo://192.0.2.2:20880/fx.Greeter?heartbeat=60000&timeout=9&heartbeat.timeout=180000&side=provider";
  loopback.follow([dubbo({ registration: { dialect: "dubbo", text } })]);
  const worn = `dubbo://192.0.2.2:20880/fx.Greeter?timeout=9&side=provider&${watched}`;
  assert.equal(loopback.instance.registration.text, worn);
});

test("law: whatever providers come and go, no list is empty and none loses a name in the step in which it gains one", async () => {
  const methods = fc.constantFrom("one", "one,two", "two", "one,two,three", "*");
  const preferred = fc.constantFrom(
    "",
    "&prefer.serialization=fastjson2,hessian2",
    "&serialization=hessian2",
    "&timeout=9",
  );
  const provider = fc.record({ application: fc.constantFrom("a", "b", "c"), methods, preferred });
  const step = fc.record({
    present: fc.array(provider, { maxLength: 3 }),
    pauseMs: fc.constantFrom(0, 1, 1_000, 5_999, 6_000, 20_000),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const world = openWorld();
      const lists = names(world, dubboLayout());
      await world.clock.advance(2_000);
      const published = new Map<string, { withdraw(): Promise<void> }>();
      for (const { present, pauseMs } of steps) {
        const wanted = new Map<string, (typeof present)[number]>(present.map((one) => [one.application, one]));
        for (const [name, publication] of published) if (!wanted.has(name)) await publication.withdraw();
        for (const [name, { methods, preferred }] of wanted) {
          const instance = dubboProvider(name, `methods=${methods}${preferred}`);
          published.set(name, await world.directory.publish(instance));
        }
        await world.clock.advance(pauseMs);
      }
      await world.clock.advance(60_000);
      assertNothingSwapped(lists);
      assert.ok(lists.every((list) => list.length <= 2));
      assert.equal(lists.at(-1)?.length, 1);
      const settled = lists.length;
      await world.clock.advance(600_000);
      assert.equal(lists.length, settled, "it comes to rest");
      world.face.close();
    }),
    { numRuns: 60 },
  );
});
