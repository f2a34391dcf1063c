import assert from "node:assert/strict";
import test from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import { Scope } from "@dualmesh/base/scope";
import { runLoad, runStuck, startEcho } from "./load.ts";
import { canBuild } from "./testing.ts";

for (const work of ["bolt", "dubbo", "http"] as const) {
  test(`the generator and the echo server understand each other in ${work}`, async (context) => {
    if (!canBuild(context)) return;
    await using scope = new Scope();
    const echo = await startEcho(scope, work);
    const load = { connections: 3, inFlight: 5 };
    const measured = await runLoad({
      work,
      port: echo.port,
      load,
      seconds: 0.2,
      warmUpSeconds: 0.05,
      watch: [echo.pid],
    });
    assert.equal(measured.errors, 0);
    assert.ok(measured.requests > 0 && measured.p99Micros >= measured.p50Micros && measured.p50Micros > 0);
    assert.ok((measured.watchedCpuMicros[0] ?? 0) > 0 && measured.ownCpuMicros > 0);
  });
}

test("answers in another protocol are errors and no result", async (context) => {
  if (!canBuild(context)) return;
  await using scope = new Scope();
  const echo = await startEcho(scope, "dubbo");
  const load = { connections: 1, inFlight: 1 };
  await assert.rejects(
    runLoad({ work: "bolt", port: echo.port, load, seconds: 0.2, warmUpSeconds: 0, watch: [] }),
    (error) => isMeshError(error, "bench.load"),
  );
});

test("the stuck clients send and stay", async (context) => {
  if (!canBuild(context)) return;
  await using scope = new Scope();
  const echo = await startEcho(scope, "bolt");
  const report = await runStuck("bolt", echo, 0.3);
  assert.ok(report.deafBytes > 1_024 && report.dripBytes >= 64);
  assert.deepEqual([report.deafCuts, report.dripCuts], [0, 0]);
});
