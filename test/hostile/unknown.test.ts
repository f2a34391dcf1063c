/** Calls to services of which nothing is known: bounded in number, in memory and in what they make the registry do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { boltRequest } from "@dualmesh/sidecar/request/testing";
import { callOnce, type Dialect, dialects, keepCalling, keptBytes, mebibyte, metric, World } from "./world.ts";

const unknown = (id: number, body?: Buffer): Buffer =>
  boltRequest({ id, service: `test.Unknown${id}:1.0`, ...(body === undefined ? {} : { body }) });
/** Nobody answers there. */
const nowhere = { registry: { address: "127.0.0.1:1" }, staleAfterMs: 60_000 };

test("of 1,500 calls to services that nobody knows 1,000 wait a second, and 500 are refused at once", {
  timeout: 30_000,
}, async () => {
  await using world = await World.open();
  const { running } = await world.sidecar(nowhere);
  const caller = await world.caller(running.outboundPort);
  const before = performance.now();
  caller.send(...Array.from({ length: 1_500 }, (_, index) => unknown(index + 1)));
  await caller.received(500);
  const refusedMs = performance.now() - before;
  assert.deepEqual(
    caller.frames.map(({ id }) => id),
    Array.from({ length: caller.frames.length }, (_, index) => 1_001 + index),
  );
  await caller.received(1_500);
  const allMs = performance.now() - before;
  assert.ok(refusedMs < 900, `${refusedMs} ms`);
  assert.ok(allMs >= 950 && allMs < 2_500, `${allMs} ms`);
  assert.ok(caller.frames.every(({ status }) => status !== 0));
});

test("what waits holds at most the memory that is configured; more is refused at once", {
  timeout: 30_000,
}, async () => {
  await using world = await World.open();
  const { running, admin } = await world.sidecar({ ...nowhere, limits: { heldBytes: mebibyte } });
  const caller = await world.caller(running.outboundPort);
  caller.send(...Array.from({ length: 40 }, (_, index) => unknown(index + 1, Buffer.alloc(100 * 1024))));
  await caller.received(30);
  const held = await metric(admin, "dualmesh_held_request_bytes");
  assert.ok(held > 900 * 1024 && held <= mebibyte, `${held} bytes`);
  await caller.received(40);
  assert.equal(await metric(admin, "dualmesh_held_request_bytes"), 0);
});

test("10,000 names that were made up leave at most 4,096 services followed, and hold up nobody for a second", {
  timeout: 60_000,
}, async () => {
  await using world = await World.open();
  const { running, admin } = await world.sidecar();
  const dialect = dialects[1] as Dialect;
  await world.provider(dialect.service, dialect.answer);
  await callOnce(world, running.outboundPort, dialect);
  const attacker = await world.caller(running.outboundPort);
  const held = keptBytes();
  const attack = (async () => {
    for (let round = 0; round < 40; round++) {
      attacker.send(...Array.from({ length: 250 }, (_, index) => unknown(round * 250 + index + 1)));
      await attacker.received((round + 1) * 250);
    }
  })();
  const caller = await world.caller(running.outboundPort, "dubbo");
  const longest = await keepCalling(caller, (id) => dialect.request(id), attack);
  await attack;
  assert.ok(longest < 1_000, `the longest wait was ${longest} ms`);
  const { outbound } = (await (await fetch(`http://${admin.address}/endpoints`)).json()) as { outbound: unknown[] };
  assert.ok(outbound.length <= 4_096 + 1, `${outbound.length} services`);
  const metrics = await (await fetch(`http://${admin.address}/metrics`)).text();
  assert.ok(metrics.split("\n").filter((line) => line.includes("_count{")).length <= 5_002);
  // Sidecar, registry, publisher and the callers with all their answers are one process here.
  const kept = keptBytes() - held;
  assert.ok(kept < 160 * mebibyte, `${kept / mebibyte} MiB more`);
});
