/**
 * While consumers behind a sidecar keep calling, the registry is killed and comes back, a provider leaves in order, and a provider
 * is killed. Each call is recorded, and none may be lost but those that were in flight at the killed provider.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { callsOf, describeCalls, lostDuring, lostNotInFlight, type Span } from "./calls.ts";
import { buildFixtures } from "./fixtures.ts";
import type { Implementation } from "./plan.ts";
import { repository } from "./product.ts";
import { eventually, type Program } from "./program.ts";
import {
  assertNoneLost,
  assertRate,
  dubbo3,
  dubbo27,
  during,
  services,
  sofarpc,
  startPumps,
  stopPumps,
  tellCalls,
} from "./steady.ts";
import { takeTurn } from "./turn.ts";
import { freePort, World } from "./world.ts";

/** Three instances of a Dubbo service and of a SOFA-RPC service; the first of each will leave, the second be killed. */
async function startProviders(world: World): Promise<readonly (readonly Program[])[]> {
  const start = async (implementation: Implementation, service: string, name: string): Promise<Program> =>
    world.startProvider(implementation, "mesh", { service, name, port: await freePort() });
  return Promise.all([
    Promise.all([start(dubbo3, services.dubbo, "dubbo-a"), start(sofarpc, services.bolt, "bolt-a")]),
    Promise.all([start(dubbo27, services.dubbo, "dubbo-b"), start(sofarpc, services.bolt, "bolt-b")]),
    Promise.all([start(dubbo3, services.dubbo, "dubbo-c"), start(sofarpc, services.bolt, "bolt-c")]),
  ]);
}

test("calls through sidecars survive what happens around them", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  await using world = await World.start();
  const [leaving, killed] = (await startProviders(world)) as [readonly Program[], readonly Program[]];
  const consumers = await startPumps(world);

  const steady = await during(async () => undefined, 2_000);
  const registryKilled = await during(async () => {
    await world.registry.end();
    await sleep(systemClock, 3_000);
    await world.startRegistry();
  }, 3_000);
  const left = await during(async () => {
    await Promise.all(leaving.map((provider) => provider.end(30_000)));
  }, 2_000);
  let dying: Span = { from: 0, to: 0 };
  const afterKill = await during(async () => {
    const from = systemClock.wall();
    await Promise.all(killed.map((provider) => provider.end()));
    dying = { from, to: systemClock.wall() };
  }, 4_000);
  const killedAt = dying.from;
  await stopPumps(consumers);

  for (const consumer of consumers) {
    const calls = callsOf(consumer);
    tellCalls(t, consumer);
    const none = (name: string, span: Span, among = calls): Promise<void> =>
      t.test(`${consumer.name} loses no call while ${name}`, () => assertNoneLost(among, span, world));
    await t.test(`${consumer.name} called at its rate throughout`, () =>
      assertRate(calls, { from: steady.from, to: afterKill.to }),
    );
    await none("nothing happens", steady);
    await none("the registry is killed and comes back", registryKilled);
    // What was still under way when the other provider was killed is judged there.
    const endedBefore = calls.filter((call) => call.at + call.ms < afterKill.from);
    await none("a provider leaves in order", left, endedBefore);
    await t.test(`${consumer.name} loses at most what was in flight when a provider is killed`, () => {
      const lost = lostDuring(calls, afterKill);
      const others = lostNotInFlight(lost, dying);
      assert.equal(
        others.length,
        0,
        `${lost.length} lost, not in flight at ${new Date(killedAt).toISOString()}:\n${describeCalls(others)}`,
      );
    });
    await t.test(`${consumer.name} calls no killed provider two seconds later`, () => {
      const late = calls.filter((call) => call.at >= killedAt + 2_000);
      assert.ok(late.length > 0);
      assert.equal(late.filter(({ who }) => who === undefined || /-[ab]:/.test(who)).length, 0, describeCalls(late));
    });
  }
});

test("a Triple provider keeps working through the doors and is shown as bypassed", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  await using world = await World.start();
  const service = "interop.ledger.Dubbo3Triple";
  const options = { service, name: "triple", port: await freePort(), protocol: "tri" };
  const [, ...consumers] = await Promise.all([
    world.startProvider(dubbo3, "mesh", options),
    world.startConsumer(dubbo3, "mesh"),
    world.startConsumer(dubbo3, "SDK"),
  ]);
  for (const consumer of consumers) {
    await eventually(
      `${consumer.name} reaches the provider`,
      25_000,
      async () => (await consumer.ask(`case reach ${service}`)).ok,
    );
    for (const name of ["values", "nested", "exceptions", "payload"]) {
      const answer = await consumer.ask(`case ${name} ${service}`);
      assert.ok(answer.ok, `${consumer.name}, ${name}: ${answer.reason}\n${world.tails(consumer)}`);
    }
  }
  const words = [join(repository, "packages/cli/src/main.ts"), "status", "--sidecar", world.adminAddress("providers")];
  const status = spawnSync(process.execPath, words, { encoding: "utf8", timeout: 10_000 });
  assert.match(status.stdout, /bypassed/i, status.stderr);
  assert.match(status.stdout, /Dubbo3Triple.*tri is not carried/);
});
