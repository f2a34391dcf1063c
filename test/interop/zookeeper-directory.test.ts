/**
 * Sidecars on a real ZooKeeper that is already there: applications behind them and applications on the SDKs alone call each other, whoever
 * provides; and while the server is killed and comes back, and while sessions are lost, calls behind sidecars go on.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { dialTcp } from "@dualmesh/client/tcp";
import { type Session, ZooKeeperClient } from "@dualmesh/dialects/zookeeper/client/client";
import { callsOf, describeCalls, lostDuring } from "./calls.ts";
import { buildFixtures } from "./fixtures.ts";
import { wrongWay } from "./path.ts";
import { type Implementation, type Mode, serviceOf, ways } from "./plan.ts";
import { eventually, type Program } from "./program.ts";
import { assertRate, dubbo3, dubbo27, during, services, sofarpc, stopPumps, tellCalls } from "./steady.ts";
import { takeTurn } from "./turn.ts";
import { freePort } from "./world.ts";
import { type Side, ZooKeeperWorld } from "./zookeeper-world.ts";

interface Provided {
  readonly mode: Mode;
  readonly service: string;
  readonly port: number;
}

interface Caller {
  readonly mode: Mode;
  readonly implementation: Implementation;
  readonly program: Program;
}

/** Both SDKs of Dubbo provide one service behind their sidecar, and each of the three one of its own without. */
const cast: readonly (readonly [Implementation, Mode, string])[] = [
  [dubbo27, "mesh", services.dubbo],
  [dubbo3, "mesh", services.dubbo],
  [sofarpc, "mesh", services.bolt],
  [dubbo27, "SDK", serviceOf(dubbo27, "SDK")],
  [dubbo3, "SDK", serviceOf(dubbo3, "SDK")],
  [sofarpc, "SDK", serviceOf(sofarpc, "SDK")],
];

function startProviders(world: ZooKeeperWorld): Promise<readonly Provided[]> {
  return Promise.all(
    cast.map(async ([implementation, mode, service]) => {
      const port = await freePort();
      await world.startProvider(implementation, mode, { service, name: `${implementation.name}-${mode}`, port });
      return { mode, service, port };
    }),
  );
}

function startConsumers(world: ZooKeeperWorld): Promise<readonly Caller[]> {
  const all = (["mesh", "SDK"] as const).flatMap((mode) =>
    [dubbo27, dubbo3, sofarpc].map(async (implementation) => {
      const program = await world.startConsumer(implementation, mode);
      return { mode, implementation, program };
    }),
  );
  return Promise.all(all);
}

async function reaches({ program }: Caller, service: string, world: ZooKeeperWorld): Promise<void> {
  const reach = async (): Promise<boolean> => (await program.ask(`case reach ${service}`)).ok;
  await eventually(`${program.name} reaches ${service}`, 30_000, reach).catch((error: Error) => {
    throw new Error(`${error.message}\n${world.tails(program)}`);
  });
  const answer = await program.ask(`case values ${service}`);
  assert.ok(answer.ok, `${program.name} ${service}: ${answer.reason}`);
}

/** A client beside the sidecars, as any other on this ensemble. */
async function connect(address: string, session?: Session): Promise<ZooKeeperClient> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const client = new ZooKeeperClient({
    addresses: [address],
    dial: dialTcp,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    ...(session === undefined ? {} : { session }),
    onConnected: () => resolve(),
    onDisconnected: () => {},
    onExpired: () => {},
    onEvent: () => {},
    onProven: () => {},
  });
  client.start();
  await promise;
  return client;
}

/** Ends a sidecar's session behind its back. */
async function expire(world: ZooKeeperWorld, side: Side): Promise<void> {
  const client = await connect(world.address, await world.session(side));
  await client.close();
}

test("on a ZooKeeper that is already there, sidecars and SDKs call each other", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  await using world = await ZooKeeperWorld.start();
  const [providers, callers] = await Promise.all([startProviders(world), startConsumers(world)]);

  const playing = callers.map(async (caller) => {
    const family = caller.implementation.family === "dubbo" ? [0, 1, 3, 4] : [2, 5];
    const provided = new Set(family.map((index) => providers[index] as Provided).map(({ service }) => service));
    for (const service of provided) {
      const own = providers.filter((provider) => provider.service === service);
      const mode = own[0]?.mode ?? "SDK";
      await t.test(`${caller.program.name} calls ${service} (${mode})`, async () => {
        await reaches(caller, service, world);
      });
    }
    await t.test(`${caller.program.name} goes the way that it should`, () => {
      const mesh = providers.filter((provider) => provider.mode === "mesh" && provided.has(provider.service));
      const way = ways.find(({ consumer, provider }) => consumer === caller.mode && provider === "mesh");
      assert.ok(way !== undefined);
      const providerPorts = mesh.map(({ port }) => port);
      const wrong = wrongWay({ ...world.carriers, way, consumer: caller.program.pid, providerPorts });
      assert.equal(wrong, undefined);
    });
  });
  await Promise.all(playing);

  const pumping = callers.filter(({ mode }) => mode === "mesh");
  for (const { program, implementation } of pumping) {
    const answer = await program.ask(`pump ${services[implementation.family]} 50`);
    assert.ok(answer.ok, answer.reason);
  }
  const steady = await during(async () => undefined, 1_500);
  const killed = await during(async () => {
    await world.server.end();
    await eventually(
      "the sidecars notice",
      10_000,
      async () => (await world.directory("consumers"))["state"] !== "connected",
    );
    assert.match(await world.readiness("consumers"), /"ready": true/);
    await sleep(systemClock, 2_000);
    await world.startServer();
    for (const side of ["consumers", "providers"] as const)
      await eventually(
        `the sidecar of ${side} is back`,
        20_000,
        async () => (await world.directory(side))["state"] === "connected",
      );
  }, 1_500);
  const expired = await during(async () => {
    const before = await Promise.all((["consumers", "providers"] as const).map((side) => world.session(side)));
    await Promise.all((["consumers", "providers"] as const).map((side) => expire(world, side)));
    for (const [index, side] of (["consumers", "providers"] as const).entries())
      await eventually(`the sidecar of ${side} has another session, with all that it published`, 20_000, async () => {
        const { session, state, pending } = await world.directory(side);
        const isNew = session !== BigInt.asUintN(64, before[index]?.id ?? 0n).toString(16);
        return state === "connected" && session !== "" && isNew && pending === 0;
      });
  }, 2_000);
  const programs = pumping.map(({ program }) => program);
  await stopPumps(programs);

  await t.test("a sidecar that is killed and comes back finds its session and all that it published", async () => {
    const observer = await connect(world.address);
    const published = async (): Promise<readonly string[]> =>
      (await observer.children(`/dubbo/${services.dubbo}/providers`))?.children ?? [];
    const before = [...(await published())].sort();
    // Each of the two offers it in three groups.
    assert.equal(before.length, 6, "all are published, and once");
    const { session } = await world.directory("providers");
    await world.restartSidecar("providers");
    await eventually("it has published all again", 20_000, async () => {
      const directory = await world.directory("providers");
      return directory["publications"] === 9 && directory["pending"] === 0;
    });
    const directory = await world.directory("providers");
    assert.equal(directory["session"], session);
    assert.equal((directory["counts"] as Record<string, number>)["created"], 0, "nothing had to be made");
    assert.deepEqual([...(await published())].sort(), before);
    await observer.close();
  });
  for (const program of programs) {
    const calls = callsOf(program);
    tellCalls(t, program);
    await t.test(`${program.name} called at its rate throughout`, () =>
      assertRate(calls, { from: steady.from, to: expired.to }),
    );
    for (const [what, span] of [
      ["nothing happens", steady],
      ["ZooKeeper is killed and comes back", killed],
      ["the sessions of both sidecars are lost", expired],
    ] as const)
      await t.test(`${program.name} loses no call while ${what}`, () => {
        const lost = lostDuring(calls, span);
        assert.equal(lost.length, 0, `${describeCalls(lost)}\n${world.tails()}`);
      });
  }
});
