/**
 * Running, unmodified applications are in the mesh while the sidecar that they come through is upgraded, again and again: their ZooKeeper clients keep
 * their connections, no call fails, and no subscriber sees an empty list.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { UpgradeEnd } from "@dualmesh/sidecar/upgrade/old-side";
import { CrossingWorld } from "./crossing-world.ts";
import { eventually, type Program } from "./program.ts";
import { Recorder } from "./recorder.ts";
import { freePort } from "./world.ts";

interface Framework {
  readonly fixture: "dubbo27" | "dubbo3" | "sofarpc";
  readonly service: string;
  readonly root: string;
}

export const crossingFrameworks: readonly Framework[] = [
  { fixture: "dubbo27", service: "interop.ledger.Dubbo27Sdk", root: "dubbo" },
  { fixture: "dubbo3", service: "interop.ledger.Dubbo3Sdk", root: "dubbo" },
  { fixture: "sofarpc", service: "interop.ledger.SofaRpcSdk", root: "sofa-rpc" },
];
const ratePerSecond = 50;
const names = ["provider", "consumer"] as const;

export interface CrossingUpgradesOptions {
  readonly framework: Framework;
  readonly upgrades: number;
  readonly tell: (line: string) => void;
}

export interface CrossingUpgradesEnd {
  readonly calls: number;
  /** ZooKeeper connections that were there all the time. */
  readonly kept: number;
  /** How long each upgrade took, in milliseconds. */
  readonly ms: readonly number[];
}

/** For who has taken the turn and built the fixtures. Rejects with the first law that does not hold. */
export async function playCrossingUpgrades(options: CrossingUpgradesOptions): Promise<CrossingUpgradesEnd> {
  const { framework, upgrades, tell } = options;
  const { fixture, service, root } = framework;
  await using world = new CrossingWorld();
  await world.startEnsemble();
  const appPort = await freePort();
  const state = join(world.directory, "sidecar", "state");
  try {
    await Promise.all([
      world.startSidecar(),
      world.startBehindPasser("provider", fixture, "Provider", { provider: "one", service, port: String(appPort) }),
    ]);
    const consumer = await world.startBehindPasser("consumer", fixture, "Consumer");
    assert.equal((await consumer.ask(`pump ${service} ${ratePerSecond}`)).ok, true);
    await eventually("calls go through", 30_000, () => succeeded(consumer) > ratePerSecond);
    const list = `/${root}/${service}/providers`;
    using recorder = await Recorder.start(world.ensemble, list);
    await recorder.sees(appPort);
    await enterBoth(world, fixture, list);
    await recorder.sees(world.inbound);
    const before = await connections(world);
    const from = systemClock.wall();
    const ms: number[] = [];
    for (let upgrade = 0; upgrade < upgrades; upgrade += 1) {
      const end = (await callControl(controlPath(state), "upgrade", {}, { timeoutMs: 90_000 })) as UpgradeEnd;
      ms.push(end.ms);
      tell(`upgraded in ${end.ms} ms, ${end.moved} connections, ${end.movedOfDoors} of them of doors`);
      assert.ok(end.movedOfDoors >= before.length);
      await sleep(systemClock, 3_000);
    }
    assert.deepEqual(await connections(world), before, "no client has connected again");
    assert.deepEqual(failed(consumer, from), []);
    assert.deepEqual(
      (await world.crossing("provider")).registrations.map(({ state: at }) => at),
      ["mesh", "mesh", "mesh"],
    );
    const carried = await world.carried();
    await sleep(systemClock, 1_000);
    assert.ok(((await world.carried())["outbound ok"] ?? 0) > (carried["outbound ok"] ?? 0), "calls are carried");
    // The way back is told over the same connections.
    await Promise.all([
      world.control("consume", { name: "consumer", to: "direct" }),
      world.control("provide", { name: "provider", to: "direct" }),
    ]);
    await recorder.sees(appPort);
    assert.deepEqual(await connections(world), before);
    await Promise.all(names.map((name) => world.leave(name)));
    await sleep(systemClock, 2_000);
    assert.equal((await consumer.ask("stop")).ok, true);
    assert.deepEqual(failed(consumer, from), [], "no call failed, and none on the way out");
    assert.equal(recorder.emptied, 0, "no subscriber saw a service without a provider");
    return { calls: succeeded(consumer), kept: before.length, ms };
  } catch (error) {
    tell(world.tails());
    throw error;
  }
}

/** Both sessions come through the sidecar, and both applications' calls. */
async function enterBoth(world: CrossingWorld, fixture: Framework["fixture"], list: string): Promise<void> {
  await Promise.all(names.map((name) => world.enter(name)));
  await eventually("the sessions are resumed through the sidecar", 30_000, async () => {
    const [of, by] = await Promise.all(names.map((name) => world.crossing(name)));
    const isRead = fixture === "dubbo3" || by?.sessions.some(({ lists }) => lists.includes(list)) === true;
    return of?.registrations.length === 3 && by?.sessions.some(({ connected }) => connected) === true && isRead;
  });
  await Promise.all([
    world.control("provide", { name: "provider", to: "mesh" }),
    world.control("consume", { name: "consumer", to: "mesh" }),
  ]);
}

/** Each session with the address that its client's connection comes from, which is another one for each connection. */
async function connections(world: CrossingWorld): Promise<readonly string[]> {
  const all = await Promise.all(names.map((name) => world.crossing(name)));
  const open = all.flatMap(({ sessions }) => sessions.filter(({ connected }) => connected));
  return open.map(({ id, remote }) => `${id} ${remote}`).sort();
}

function callsOf(program: Program): readonly { readonly at: number; readonly error: unknown }[] {
  return program.said.flatMap((line) =>
    typeof line["call"] === "number" ? [{ at: line["call"], error: line["error"] }] : [],
  );
}

function succeeded(program: Program): number {
  return callsOf(program).filter(({ error }) => error === undefined).length;
}

function failed(program: Program, from: number): readonly string[] {
  return callsOf(program).flatMap(({ at, error }) => (error === undefined || at < from ? [] : [`${at} ${error}`]));
}
