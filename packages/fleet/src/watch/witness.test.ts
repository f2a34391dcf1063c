import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { CrossingFigures } from "@dualmesh/model/crossing";
import { Target } from "./targets.ts";
import { defaultWatchBounds } from "./watching.ts";
import { Witness } from "./witness.ts";

const service = "dubbo/fx.Greeter:1.2:blue";

function figures(results: Readonly<Record<string, number>>, of = service): CrossingFigures {
  const total = Object.values(results).reduce((sum, count) => sum + count, 0);
  return {
    direction: "outbound",
    source: "shop",
    service: of,
    protocol: "dubbo",
    results,
    boundsMs: [1, 5, 25],
    counts: [0, total, 0, 0],
    sumMs: total,
  };
}

function consumed(
  before: { readonly calls: number; readonly failed?: number; readonly raised?: number } = { calls: 0 },
): Target {
  const target = new Target(service, "consumed", "dubbo", defaultWatchBounds);
  const strand = target.strand(true, "go", "");
  const { calls, failed = 0, raised = 0 } = before;
  for (let call = 0; call < calls; call++)
    strand.before.add(1, call < failed ? "failed" : call < failed + raised ? "raised" : "ok");
  target.start(0);
  return target;
}

describe("what a sidecar counts", () => {
  it("is judged from the start on, and not for what was before", () => {
    const witness = new Witness(defaultWatchBounds);
    const target = consumed();
    witness.take([figures({ ok: 10, unavailable: 500 })], 0);
    witness.start();
    witness.take([figures({ ok: 400, unavailable: 500 })], 1_000);
    assert.equal(witness.judge(target), undefined);
    witness.take([figures({ ok: 410, unavailable: 530 })], 2_000);
    assert.match(witness.judge(target) ?? "", /30 of 430 calls failed since the move began; before, 0 of 0/);
  });

  it("is a failure for each result that is the mesh's own, and never for a caller that went away", () => {
    for (const result of ["unavailable", "no-provider", "timeout", "overload", "unreadable", "denied"]) {
      const witness = new Witness(defaultWatchBounds);
      witness.start();
      witness.take([figures({})], 0);
      witness.take([figures({ ok: 50, [result]: 6 })], 500);
      assert.match(witness.judge(consumed()) ?? "", /6 of 56/, result);
    }
    const witness = new Witness(defaultWatchBounds);
    witness.start();
    witness.take([figures({})], 0);
    witness.take([figures({ ok: 50, cancelled: 40 })], 500);
    assert.equal(witness.judge(consumed()), undefined);
  });

  it("of errors of the application counts above what was seen before, and not where nothing was", () => {
    const judgeOf = (target: Target): string | undefined => {
      const witness = new Witness(defaultWatchBounds);
      witness.start();
      witness.take([figures({})], 0);
      witness.take([figures({ ok: 450, error: 50 })], 500);
      return witness.judge(target);
    };
    assert.equal(judgeOf(consumed()), undefined);
    assert.equal(judgeOf(consumed({ calls: 500, raised: 50 })), undefined);
    assert.match(judgeOf(consumed({ calls: 500, raised: 2 })) ?? "", /answered with an error; before, 2 of 500/);
  });

  it("of an old sidecar and of one that was started anew is not one count", () => {
    const witness = new Witness(defaultWatchBounds);
    witness.take([figures({ ok: 5_000, timeout: 40 })], 0);
    witness.start();
    witness.take([figures({ ok: 20, timeout: 0 })], 500);
    assert.equal(witness.judge(consumed()), undefined);
    assert.equal(witness.figures(consumed()).calls, 20);
    witness.take([figures({ ok: 20, timeout: 9 })], 1_000);
    assert.match(witness.judge(consumed()) ?? "", /9 of 29/);
  });

  it("of names that it does not know is told, unless others asked for them before as often", () => {
    const run = (before: number): string | undefined => {
      const witness = new Witness(defaultWatchBounds);
      witness.take([figures({}), figures({}, "unknown")], 0);
      witness.take([figures({}), figures({ "no-provider": before }, "unknown")], 5_000);
      witness.start();
      witness.take([figures({ ok: 100 }), figures({ "no-provider": before + 20 }, "unknown")], 6_000);
      return witness.judge(consumed());
    };
    assert.match(run(0) ?? "", /20 calls named a service that it does not know/);
    assert.equal(run(20), undefined);
  });

  it("tells durations as upper bounds of its classes", () => {
    const witness = new Witness(defaultWatchBounds);
    witness.start();
    witness.take([figures({})], 0);
    witness.take([figures({ ok: 7 })], 500);
    assert.deepEqual(witness.figures(consumed()), {
      service,
      side: "consumed",
      calls: 7,
      failed: 0,
      p50Ms: 5,
      p99Ms: 5,
    });
  });
});
