import assert from "node:assert/strict";
import test from "node:test";
import { isMeshError } from "@dualmesh/base/errors";
import { Scope } from "@dualmesh/base/scope";
import { startEcho } from "../dataplane/load.ts";
import { canBuild } from "../dataplane/testing.ts";
import { works } from "../options.ts";
import { Callers, type Tally, type WindowName } from "./callers.ts";

test("a steady load in every protocol is answered, and each call belongs to the window in which it was due", async (context) => {
  if (!canBuild(context)) return;
  await using scope = new Scope();
  const targets = await Promise.all(
    works.map(async (work) => ({ work, place: await startEcho(scope, work), connections: 4 })),
  );
  const callers = await Callers.open(scope, { rate: 1_000, targets });
  await callers.begin("before");
  await until(callers, "before", ({ calls }) => calls > 0);
  await until(callers, "during", ({ calls }) => calls > 0);
  const { connections, kept, totals } = await callers.end();
  assert.deepEqual([connections, kept], [12, 12]);
  assert.deepEqual([...totals.keys()].toSorted(), ["before", "during", "warm-up"]);
  for (const { failed, lost, p50Ms, p99Ms, worstMs } of totals.values()) {
    assert.deepEqual([failed, lost], [0, 0]);
    assert.ok(p50Ms <= p99Ms && p99Ms <= worstMs * 1.01, `${p50Ms} ${p99Ms} ${worstMs}`);
  }
});

test("a connection that was closed is not kept, though it is opened anew and its calls are answered again", async (context) => {
  if (!canBuild(context)) return;
  await using scope = new Scope();
  const first = new Scope();
  const { port } = await startEcho(first, "bolt");
  scope.defer(() => first.end());
  const callers = await Callers.open(scope, {
    rate: 500,
    targets: [{ work: "bolt", place: { port }, connections: 3 }],
  });
  await until(callers, "before", ({ calls }) => calls > 0);
  await first.end();
  await until(callers, "during", ({ failed }) => failed > 0);
  await startEcho(scope, "bolt", port);
  await until(callers, "between", ({ calls, failed }) => calls > 0 && failed === 0);
  const { connections, kept, totals } = await callers.end();
  assert.deepEqual([connections, kept], [3, 0]);
  assert.ok((totals.get("during")?.lost ?? 0) > 0);
});

test("callers that reach nobody say so", async (context) => {
  if (!canBuild(context)) return;
  await using scope = new Scope();
  const gone = new Scope();
  const place = await startEcho(gone, "bolt");
  await gone.end();
  await assert.rejects(
    Callers.open(scope, { rate: 100, targets: [{ work: "bolt", place, connections: 1 }] }),
    (error) => isMeshError(error, "bench.load") && error.message.includes(`127.0.0.1:${place.port}`),
  );
});

/** Begins windows of this name until what was found in one is as wanted. */
async function until(callers: Callers, name: WindowName, isWanted: (tally: Tally) => boolean): Promise<void> {
  while (!isWanted(await callers.begin(name)));
}
