/** S21: addresses that lead back to the sidecar itself, given by whoever may register. A call ends after one round at most, with an error. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { boltRequest, type Received } from "@dualmesh/sidecar/request/testing";
import { dubboEcho, dubboRequest } from "./dubbo.ts";
import { callOnce, type Dialect, dialects, event, eventually, type Sidecar, World } from "./world.ts";
import { dubboProviderPath, ephemeral, errorOf, openZooKeeper } from "./zookeeper.ts";

let world: World;
let sidecar: Sidecar;

before(async () => {
  world = await World.open();
  sidecar = await world.sidecar();
  await world.provider("dubbo/test.Echo:1.0:", dubboEcho);
});
after(() => world[Symbol.asyncDispose]());

const hosts = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "localhost", "2130706433", "0x7f.1", "::ffff:127.0.0.1"];
const nextWords = { at: 0 };

/** A service whose one endpoint is `host:port`; resolves to the answer and how long it took. */
async function callVia(host: string, port: number, oneway = false): Promise<Received | undefined> {
  const name = `test.Loop${nextWords.at++}`;
  await world.publish(`bolt/${name}:1.0:`, port, { address: host, host });
  const caller = await world.caller(sidecar.running.outboundPort);
  const before = performance.now();
  caller.send(boltRequest({ id: 1, service: `${name}:1.0`, oneway, timeoutMs: 5_000 }));
  if (oneway) return undefined;
  await caller.received(1);
  assert.ok(performance.now() - before < 1_500, "a wait for the first word, then at once");
  caller.socket.destroy();
  return caller.frames[0];
}

test("S21: an endpoint that is the sidecar's own outbound port is answered with an error, by whatever name it goes", {
  timeout: 60_000,
}, async () => {
  for (const host of hosts) {
    const rounds = await event(sidecar.admin, "loop");
    const frame = await callVia(host, sidecar.running.outboundPort);
    assert.notEqual(frame?.status, 0, host);
    assert.ok((await event(sidecar.admin, "loop")) - rounds <= 1, `${host}: one round at most`);
  }
});

test("S21: a oneway that comes back is dropped after one round", { timeout: 60_000 }, async () => {
  const before = await event(sidecar.admin, "loop");
  for (const host of hosts) await callVia(host, sidecar.running.outboundPort, true);
  await callOnce(world, sidecar.running.outboundPort, dialects[1] as Dialect);
  await eventually(
    "those that could be sent came back",
    async () => (await event(sidecar.admin, "loop")) - before >= 2,
  );
  await callOnce(world, sidecar.running.outboundPort, dialects[1] as Dialect);
  assert.ok((await event(sidecar.admin, "loop")) - before <= hosts.length);
});

test("S21: its own inbound port, for a service that is not here, is answered with an error at once", {
  timeout: 60_000,
}, async () => {
  for (const mode of ["sdk", "mesh"] as const) {
    const name = `test.Inbound${mode}`;
    await world.publish(`dubbo/${name}:1.0:`, sidecar.running.inboundPort, { mode });
    const caller = await world.caller(sidecar.running.outboundPort, "dubbo");
    const before = performance.now();
    caller.send(dubboRequest({ id: 1, path: name }));
    await caller.received(1);
    assert.ok(performance.now() - before < 1_500);
    assert.notEqual(caller.frames[0]?.status, 20);
    caller.socket.destroy();
  }
});

test("S21: its doors and its admin port for an endpoint are answered with an error", { timeout: 60_000 }, async () => {
  for (const port of [...Object.values(sidecar.running.doors), sidecar.admin.port]) {
    const frame = await callVia("127.0.0.1", port);
    assert.notEqual(frame?.status, 0);
  }
});

test("S21: a registration of the sidecar's own ports as an application is refused, and published nowhere", {
  timeout: 60_000,
}, async () => {
  const { outboundPort, inboundPort, doors } = sidecar.running;
  const client = await openZooKeeper(await world.socket(sidecar.running.doors.zookeeper as number));
  // All of them are configured as 0: what counts is where it listens.
  const own = [outboundPort, inboundPort, ...Object.values(doors)];
  for (const [index, port] of own.entries())
    await errorOf(client, client.create(dubboProviderPath(`test.Own${index}`, port), ephemeral));
  const real = await world.provider("dubbo/test.Real:1.0:", dubboEcho);
  await errorOf(client, client.create(dubboProviderPath("test.Carried", real.port), ephemeral));
  await eventually(
    "what is no own port is published",
    () => world.registry.instances("dubbo/test.Carried:1.0:").length === 1,
  );
  for (const [index, port] of own.entries())
    assert.deepEqual(world.registry.instances(`dubbo/test.Own${index}:1.0:`), [], `port ${port}`);
  const answer = await callOnce(world, outboundPort, dialects[1] as Dialect);
  assert.equal(answer.status, 20);
});
