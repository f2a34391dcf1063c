/** Endpoints that accept and then say nothing, as a host does that has vanished: found by heartbeats, and only their own calls fail. */
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import { boltRequest } from "@dualmesh/sidecar/request/testing";
import { callOnce, type Dialect, dialects, event, keepCalling, World } from "./world.ts";

test("an endpoint that is silent, although asked, is given up within its two bounds and two looks, and its calls are answered", {
  timeout: 30_000,
}, async () => {
  await using world = await World.open();
  const { running, admin } = await world.sidecar({ timeouts: { heartbeatMs: 1_000, deadMs: 1_000 } });
  const silent = net.createServer((socket) => socket.resume().on("error", () => {}));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  world.defer(() => void silent.close());
  await world.publish("bolt/test.Silent:1.0:", (silent.address() as net.AddressInfo).port);
  const dialect = dialects[1] as Dialect;
  await world.provider(dialect.service, dialect.answer);
  await callOnce(world, running.outboundPort, dialect);
  const waiting = await world.caller(running.outboundPort);
  const before = performance.now();
  waiting.send(...[1, 2, 3].map((id) => boltRequest({ id, service: "test.Silent:1.0", timeoutMs: 20_000 })));
  const caller = await world.caller(running.outboundPort, "dubbo");
  const longest = await keepCalling(caller, (id) => dialect.request(id), waiting.received(3));
  const ms = performance.now() - before;
  assert.ok(ms < 5_000, `${ms} ms`);
  assert.ok(longest < 1_000, `${longest} ms`);
  assert.ok(waiting.frames.every(({ status }) => status !== 0));
  assert.equal(await event(admin, "upstream_dead"), 1);
});
