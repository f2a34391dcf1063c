/**
 * A mover, and the guard of its moves, while the sidecar that they ask is upgraded: a step that is under way is done by the new process, whoever asks anything
 * gets an answer at every moment, and nobody takes the upgrade for a death.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import net from "node:net";
import { test } from "node:test";
import { systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import { encodeName } from "@dualmesh/dialects/zookeeper/provider-url";
import { runGuard } from "@dualmesh/fleet/move/guard";
import { Livenesses } from "@dualmesh/fleet/move/liveness";
import { OneMove } from "@dualmesh/fleet/move/one-move";
import { childOf } from "@dualmesh/fleet/move/own-sidecars";
import { processId } from "@dualmesh/fleet/move/processes";
import { controlOf } from "@dualmesh/fleet/move/real-world";
import type { MoveRecord, ProcessId } from "@dualmesh/fleet/move/record";
import { areInMesh } from "@dualmesh/fleet/move/sessions";
import type { MoveRecords, MoveWorld, SidecarControl } from "@dualmesh/fleet/move/world";
import type { Crossing } from "@dualmesh/model/crossing";
import { Peer } from "@dualmesh/sidecar/request/testing";
import { whyNoHandles } from "@dualmesh/sidecar/transport/native";
import { frameKind } from "@dualmesh/wire/rpc";
import { dubboRequest, dubboResponse } from "../hostile/dubbo.ts";
import { eventually, openProvider, World } from "../hostile/world.ts";
import { SidecarProcess } from "./sidecar-process.ts";
import { Client, Ensemble, startSidecar } from "./zookeeper.ts";

const skip = whyNoHandles(process) ?? false;
const host = "127.0.0.1";
const list = "/dubbo/upgrade.Greeter/providers";
const overlapMs = 1_500;
const stepOf = (to: "direct" | "mesh") => ({ name: "shop", to, overlapMs });

test("what a mover has begun is done by the new process, also after an upgrade that failed", { skip }, async () => {
  await using world = await World.open();
  const { sidecar, control, client, ensemble } = await openCrossing(world);
  const direct = new Client(ensemble.port);
  world.defer(() => direct.close());
  await direct.connected();
  const stands = async (): Promise<readonly string[]> =>
    ((await direct.zookeeper.children(list))?.children ?? []).map(
      (name) => /%3A(\d+)%2Fupgrade/.exec(name)?.[1] ?? name,
    );
  const [own] = await stands();
  const published = String(sidecar.ports.inbound);

  const provided = await whileUpgraded(world, sidecar, control, () => control.provide(stepOf("mesh")));
  assert.deepEqual(
    provided.registrations.map(({ state }) => state),
    ["mesh"],
  );
  assert.deepEqual(await stands(), [published]);

  await client.zookeeper.children(list, true);
  const consumed = await whileUpgraded(world, sidecar, control, () => control.consume(stepOf("mesh")));
  assert.deepEqual(
    consumed.sessions.map(({ consumes, lists }) => [consumes, lists]),
    [["mesh", [list]]],
  );
  const shown = (await client.zookeeper.children(list))?.children ?? [];
  assert.deepEqual(
    shown.map((name) => name.includes(`%3A${sidecar.ports.outbound}`)),
    [true],
    "its list has the stand-in alone",
  );

  const back = await whileUpgraded(world, sidecar, control, async () => {
    const [crossing] = await Promise.all([control.provide(stepOf("direct")), control.consume(stepOf("direct"))]);
    return crossing;
  });
  assert.deepEqual(
    back.registrations.map(({ state }) => state),
    ["direct"],
  );
  assert.deepEqual(await stands(), [own]);
  assert.deepEqual([client.zookeeper.counts.connects, client.disconnected()], [1, 0]);
});

test("a crossing that is closed while somebody comes through it is closed by the new process", { skip }, async () => {
  await using world = await World.open();
  const { sidecar, control, client, ensemble } = await openCrossing(world);
  const provided = await control.provide({ ...stepOf("mesh"), overlapMs: 0 });
  assert.equal(provided.registrations[0]?.state, "mesh");
  const closed = control.close({ name: "shop" });
  closed.catch(() => {}); // it is awaited below
  const [, end] = await Promise.all([closed, sidecar.upgrade()]);
  assert.equal(sidecar.pid, end.pid);
  assert.deepEqual((await control.list()).crossings, []);
  const direct = new Client(ensemble.port);
  world.defer(() => direct.close());
  await direct.connected();
  const left = (await direct.zookeeper.children(list))?.children ?? [];
  assert.ok(!left.some((name) => name.includes(`%3A${sidecar.ports.inbound}`)), `nobody serves ${left}`);
  await eventually("its client has lost the door", () => client.disconnected() > 0, 10_000);
});

test("what was published is served by the new process for callers that have not heard of its end", {
  skip,
}, async () => {
  await using world = await World.open();
  const { sidecar, control } = await openCrossing(world, { lingerMs: 60_000 });
  await control.provide({ ...stepOf("mesh"), overlapMs: 0 });
  const peer = await called(world, sidecar.ports.inbound);
  await control.close({ name: "shop" });
  for (let upgrade = 0; upgrade < 2; upgrade += 1) {
    await sidecar.upgrade();
    await called(world, sidecar.ports.inbound);
    await called(world, peer);
  }
});

test("the guard of a moved process does nothing while its sidecar is upgraded, and asks the new process then", {
  skip,
}, async () => {
  await using world = await World.open();
  const { sidecar, control } = await openCrossing(world);
  await control.provide({ ...stepOf("mesh"), overlapMs: 0 });
  const guard = guardOf(sidecar.state);
  const stop = new AbortController();
  const guarding = runGuard({ world: guard.world, records: guard.records, signal: stop.signal, stays: true });
  guarding.catch(() => {}); // it is awaited below
  const move = new OneMove({ world: guard.world, records: guard.records, record: guard.record, tell: () => undefined });
  const before = sidecar.pid;
  let looks = 0;
  let isOver = false;
  world.defer(() => {
    isOver = true;
    stop.abort();
  });
  const looking = (async () => {
    for (; !isOver; looks += 1) assert.equal(await areInMesh(move), true);
  })();
  looking.catch(() => {}); // it is awaited below
  await assert.rejects(sidecar.upgrade(SidecarProcess.program({ fault: true })));
  await sidecar.upgrade();
  await sidecar.upgrade();
  isOver = true;
  await looking;
  // A whole round of looks at the new process.
  const seen = guard.looks();
  await eventually("the guard has looked again", () => guard.looks() > seen + 3);
  stop.abort();
  await guarding;
  assert.deepEqual(guard.mends, []);
  assert.equal(guard.away(), 0, "it answered at each of its looks");
  assert.ok(looks > 2, `${looks} looks`);
  assert.notEqual(sidecar.pid, before);
  assert.deepEqual(await childOf(sidecar.state), processId(sidecar.pid));
});

/** A caller that is answered, at a port or on the connection that it has. */
async function called(world: World, at: number | Peer): Promise<Peer> {
  const peer = typeof at === "number" ? new Peer(net.connect({ host, port: at }), "dubbo") : at;
  if (peer !== at) world.defer(() => void peer.socket.destroy());
  const id = peer.frames.length + 1;
  peer.send(dubboRequest({ id, path: "upgrade.Greeter", args: [] }));
  await peer.received(id);
  assert.deepEqual([peer.frames.at(-1)?.status, peer.closed], [20, false]);
  return peer;
}

/** A sidecar with a crossing, through which an application's client has registered what listens at a port of its own. */
async function openCrossing(world: World, { lingerMs = 0 } = {}) {
  const ensemble = await Ensemble.listen();
  world.defer(() => ensemble.close());
  const app = await openProvider("dubbo", (peer, { id, kind }) => {
    if (kind === frameKind.request) peer.send(dubboResponse(id, "hello"));
  });
  world.defer(() => app.close());
  const { sidecar, folder } = await startSidecar(
    () => `directory: zookeeper
zookeeper: { addresses: ["${host}:${ensemble.port}"] }
doors: { zookeeper: false, mesh: false, eureka: false, http: false }`,
    { lingerMs },
  );
  world.defer(() => rmSync(folder, { recursive: true, force: true }));
  world.defer(() => sidecar.kill());
  const control = controlOf(sidecar.state, systemClock);
  const opened = await control.open({ name: "shop", servers: [`${host}:${ensemble.port}`], chroots: [], host });
  const client = new Client(opened.doors[0]?.port ?? 0);
  world.defer(() => client.close());
  await client.connected();
  const url = `dubbo://${host}:${app.port}/upgrade.Greeter?application=shop&interface=upgrade.Greeter&methods=greet&side=provider`;
  await client.zookeeper.createWithParents(`${list}/${encodeName(url)}`, Buffer.alloc(0), "ephemeral");
  await eventually("it is seen", async () => (await crossingOf(control)).registrations[0]?.bypassed === "");
  return { ensemble, sidecar, control, client };
}

async function crossingOf(control: SidecarControl): Promise<Crossing> {
  const { crossings } = await control.list();
  assert.equal(crossings.length, 1);
  return crossings[0] as Crossing;
}

/** Begins a step, and has the sidecar upgraded in the midst of it: first in vain, then with success. Others ask all the time, and are answered. */
async function whileUpgraded(
  world: World,
  sidecar: SidecarProcess,
  control: SidecarControl,
  step: () => Promise<Crossing>,
): Promise<Crossing> {
  const stepping = step();
  stepping.catch(() => {}); // it is awaited below
  let isOver = false;
  world.defer(() => {
    isOver = true;
  });
  const asking = (async () => {
    const livenesses = new Livenesses(systemClock);
    while (!isOver) {
      assert.equal(await livenesses.of(sidecar.state), "answers");
      await callControl(controlPath(sidecar.state), "status", {}, { timeoutMs: 20_000 });
    }
  })();
  asking.catch(() => {}); // it is awaited below
  const isHalf = ({ registrations, sessions }: Crossing): boolean =>
    registrations.some(({ state }) => state === "both") || sessions.some(({ consumes }) => consumes === "both");
  await eventually("the step is under way", async () => isHalf(await crossingOf(control)));
  await assert.rejects(sidecar.upgrade(SidecarProcess.program({ fault: true })));
  const before = sidecar.pid;
  await sidecar.upgrade();
  assert.notEqual(sidecar.pid, before);
  const crossing = await stepping;
  isOver = true;
  await asking;
  return crossing;
}

/** The world of a guard whose privileges are none, and whose sidecar is a real one. What it would mend is noted. */
function guardOf(state: string) {
  const record = {
    name: "shop",
    process: processId("self") as ProcessId,
    sidecar: { state, own: undefined },
    exclusive: true,
    servers: [],
    state: "in",
    step: "",
    begun: ["provide"],
    done: [],
    mover: processId("self") as ProcessId,
    published: [],
  } as unknown as MoveRecord;
  const mends: string[] = [];
  let looks = 0;
  let away = 0;
  const livenesses = new Livenesses(systemClock);
  const world = {
    clock: systemClock,
    log: silentLog,
    self: processId("self"),
    lives: async () => true,
    host: async () => ({ caught: async () => [record.name] }),
    control: () => controlOf(state, systemClock),
    checkPrivileges: async () => {},
    sidecars: {
      async answers() {
        looks += 1;
        const answers = (await livenesses.of(state)) === "answers";
        if (!answers) away += 1;
        return answers;
      },
      async keepsState() {
        return true;
      },
    },
  } as unknown as MoveWorld;
  const records = {
    list: async () => [record],
    unreadable: async () => [],
    async take(name: string) {
      mends.push(name);
      throw new Error("there is nothing to mend");
    },
  } as unknown as MoveRecords;
  return { world, records, record, mends, looks: () => looks, away: () => away };
}
