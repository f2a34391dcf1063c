/**
 * Sidecars themselves go away under consumers that keep calling: that of the consumers is killed while the registry is away and started
 * again, and that of a provider ends in order.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { callsOf, describeCalls } from "./calls.ts";
import { buildFixtures } from "./fixtures.ts";
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
import { freePort, type Side, World } from "./world.ts";

/**
 * How long after the outbound port listens again a call may still fail, in milliseconds. The sidecar routes from its first millisecond;
 * what is left is each client's own way to connect again:
 * - Dubbo 2.7 connects with the next call.
 * - Dubbo 3.3 takes a provider whose connection is broken off its list with the first call that finds it so, and calls nobody then. A
 *   timer connects every third of the idle timeout (3 s, as the sidecar's registration has it; a minute when it says nothing, with which
 *   every call failed for the 35 s that were watched), another looks every second whether the provider can be put on the list again.
 * - SOFA-RPC looks for connections to make again every 10 s (its `consumer.reconnect.period`, which no registration can set), whenever
 *   they broke: with a port that had listened since 0 s, the last call failed after 1.2, 1.5, 1.6, 5.9 and 9.6 s.
 */
const recoveryMs: Readonly<Record<string, number>> = { dubbo27: 1_000, dubbo3: 6_000, sofarpc: 12_000 };

function startProviders(world: World, name: string, side: Side): Promise<readonly Program[]> {
  const start = async (implementation: typeof dubbo3, service: string, named: string): Promise<Program> =>
    world.startProvider(implementation, "mesh", { service, name: named, port: await freePort(), side });
  return Promise.all([
    start(dubbo3, services.dubbo, `dubbo-${name}`),
    start(dubbo27, services.dubbo, `older-${name}`),
    start(sofarpc, services.bolt, `bolt-${name}`),
  ]);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

test("a sidecar that is killed and restarted while the registry is away goes on with what is on its disk", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  await using world = await World.start();
  await startProviders(world, "a", "providers");
  const consumers = await startPumps(world);
  const steady = await during(async () => undefined, 2_000);

  await world.registry.end();
  await sleep(systemClock, 1_000);
  const away = await during(() => world.sidecar("consumers").end(), 0);
  const { outbound } = world.restartSidecar("consumers");
  await eventually("the outbound port listens again", 20_000, () => accepts(outbound));
  const backAt = systemClock.wall();
  const said = await world.readySidecar("consumers");
  await sleep(systemClock, Math.max(...Object.values(recoveryMs)) + 2_000 - (systemClock.wall() - backAt));
  const registryBack = await during(() => world.startRegistry(), 8_000);
  const saidAtLast = await world.readySidecar("consumers");
  await stopPumps(consumers);

  assert.doesNotMatch(saidAtLast, /stale/, "the registry has answered");
  assert.match(said, /stale/, "it is ready, and says since when it goes by its disk");
  for (const consumer of consumers) {
    const calls = callsOf(consumer);
    const [name] = Object.keys(recoveryMs).filter((known) => consumer.name.includes(`-${known}-`));
    const last = calls.filter((call) => call.who === undefined).at(-1);
    tellCalls(t, consumer);
    t.diagnostic(`${consumer.name}: the last failed ${(last?.at ?? backAt) - backAt} ms after the port was back`);
    await t.test(`${consumer.name} called at its rate throughout`, () =>
      assertRate(calls, { from: steady.from, to: registryBack.to }),
    );
    await t.test(`${consumer.name} loses no call before its sidecar is killed`, () =>
      assertNoneLost(calls, { from: steady.from, to: away.from - 100 }, world),
    );
    const from = backAt + (recoveryMs[name ?? ""] ?? 0);
    await t.test(`${consumer.name} loses no call ${from - backAt} ms after the port is back`, () =>
      assertNoneLost(calls, { from, to: registryBack.from }, world),
    );
    await t.test(`${consumer.name} loses no call while the registry comes back`, () =>
      assertNoneLost(calls, registryBack, world),
    );
  }
});

test("a provider's sidecar ends in order under load, and no call is lost", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  await using world = await World.start({ sidecars: ["consumers", "providers", "providers-b"] });
  await Promise.all([startProviders(world, "a", "providers"), startProviders(world, "b", "providers-b")]);
  const consumers = await startPumps(world);
  const steady = await during(async () => undefined, 3_000);
  const sidecar = world.sidecar("providers");
  const ending = await during(() => sidecar.end(60_000), 0);
  const ended = await during(async () => undefined, 4_000);
  await stopPumps(consumers);

  assert.equal(await sidecar.ended, "exit code 0", world.tails());
  t.diagnostic(`the end took ${ending.to - ending.from} ms`);
  for (const consumer of consumers) {
    const calls = callsOf(consumer);
    tellCalls(t, consumer);
    await t.test(`${consumer.name} called at its rate throughout, and both while both were there`, () => {
      assertRate(calls, { from: steady.from, to: ended.to });
      const who = calls.filter(({ at }) => at < ending.from).map((call) => call.who ?? "");
      for (const name of ["-a:", "-b:"])
        assert.ok(
          who.some((one) => one.includes(name)),
          name,
        );
    });
    await t.test(`${consumer.name} loses no call`, () =>
      assertNoneLost(calls, { from: steady.from, to: ended.to }, world),
    );
    await t.test(`${consumer.name} calls nobody behind it once it has ended`, () => {
      const late = calls.filter(({ at, who }) => at >= ending.to && who?.includes("-a:"));
      assert.equal(late.length, 0, describeCalls(late));
    });
  }
});
