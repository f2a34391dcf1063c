/**
 * The same disturbances over HTTP: while Spring's Feign (GET and POST in turn), Python and Go keep calling one service through their sidecar, the
 * registry is killed and comes back, two providers leave in order, and two are killed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { callsOf, describeCalls, lostDuring, lostNotInFlight, type Span } from "./calls.ts";
import { buildFixtures, missingLanguage } from "./fixtures.ts";
import { type Implementation, implementations } from "./plan.ts";
import type { Program } from "./program.ts";
import { assertNoneLost, assertRate, during, services, startPumps, stopPumps, tellCalls } from "./steady.ts";
import { takeTurn } from "./turn.ts";
import { freePort, World } from "./world.ts";

function named(name: Implementation["name"]): Implementation {
  const found = implementations.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

const [spring, python, go, node] = [named("spring"), named("python"), named("go"), named("node")];

/** Of one service, in four languages: the first two will leave, the next two be killed, the last two stay. */
async function startProviders(world: World): Promise<readonly Program[]> {
  const start = async (implementation: Implementation, place: string): Promise<Program> =>
    world.startProvider(implementation, "mesh", {
      service: services.http,
      name: `${implementation.name}-${place}`,
      port: await freePort(),
    });
  const [a, b, c] = ["a", "b", "c"] as const;
  return Promise.all([
    start(spring, a),
    start(python, a),
    start(spring, b),
    start(go, b),
    start(node, c),
    start(python, c),
  ]);
}

test("HTTP calls through sidecars survive what happens around them", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures() ?? missingLanguage({ consumer: python, provider: go });
  if (missing !== undefined) return t.skip(missing);
  await using world = await World.start();
  const providers = await startProviders(world);
  const [leaving, killed] = [providers.slice(0, 2), providers.slice(2, 4)];
  const consumers = await startPumps(world, [spring, python, go]);

  const steady = await during(async () => undefined, 3_000);
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
  await stopPumps(consumers);

  // Together: callers that keep step take turns that keep step too.
  await t.test("everybody was called while everybody was there", () => {
    const before = consumers.flatMap(callsOf).filter(({ at }) => at < left.from);
    const who = new Set(before.map((call) => call.who?.split(":")[0]));
    assert.equal(who.size, providers.length, [...who].join(", "));
  });
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
    // What was still under way when the others were killed is judged there.
    const endedBefore = calls.filter((call) => call.at + call.ms < afterKill.from);
    await none("providers leave in order", left, endedBefore);
    await t.test(`${consumer.name} loses at most what was in flight when providers are killed`, () => {
      const lost = lostDuring(calls, afterKill);
      const others = lostNotInFlight(lost, dying);
      assert.equal(others.length, 0, `${lost.length} lost, not in flight:\n${describeCalls(others)}`);
    });
    await t.test(`${consumer.name} calls no killed provider two seconds later`, () => {
      const late = calls.filter((call) => call.at >= dying.from + 2_000);
      assert.ok(late.length > 0);
      assert.equal(late.filter(({ who }) => who === undefined || /-[ab]:/.test(who)).length, 0, describeCalls(late));
    });
  }
});
