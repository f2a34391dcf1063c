import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Ledger, type Place, quantile } from "./ledger.ts";
import type { Call } from "./reports.ts";

const places = new Map<string, Place>([
  ["127.0.0.1:1", { kind: "app", owner: "price-1" }],
  ["127.0.0.1:2", { kind: "inbound", owner: "price-1" }],
  ["127.0.0.1:3", { kind: "outbound", owner: "shop" }],
]);

function newLedger(): Ledger {
  return new Ledger((address) => places.get(address));
}

function call(wishes: Partial<Call> = {}): Call {
  return { at: 1000, ms: 5, dialled: "127.0.0.1:1", by: "price-1", error: "", ...wishes };
}

const waysOf = (ledger: Ledger, now = 1500): string[] =>
  ledger.rows(now).map(({ callerWay, calledWay }) => `${callerWay} to ${calledWay}`);

describe("the ledger of the demo", () => {
  it("counts a call to the step in which it was started, not to the one in which it ended", () => {
    const ledger = newLedger();
    ledger.record("shop", call({ at: 900 }));
    ledger.beginStep("consumer-in", 1000);
    ledger.beginStep("provider-in", 2000);
    ledger.record("shop", call({ at: 1999, error: "no answer" }));
    ledger.record("shop", call({ at: 2000 }));
    assert.deepEqual(ledger.totals(), {
      calls: 3,
      failed: 1,
      steps: [
        { name: "consumer-in", calls: 1, failed: 1 },
        { name: "provider-in", calls: 1, failed: 0 },
      ],
    });
    assert.deepEqual(ledger.reasons, ["shop: no answer"]);
  });

  it("takes a call that was started and never reported for a failed one", () => {
    const ledger = newLedger();
    ledger.record("shop", call());
    ledger.settle("shop", 3, 2000);
    assert.deepEqual(ledger.totals(), { calls: 3, failed: 2, steps: [] });
  });

  it("begins a new account with each process of a consumer", () => {
    const ledger = newLedger();
    for (let process = 0; process < 2; process += 1) {
      ledger.record("shop", call());
      ledger.settle("shop", 1, 2000);
    }
    assert.equal(ledger.totals().failed, 0);
  });

  it("does not let a consumer vanish without a failure", () => {
    const ledger = newLedger();
    ledger.settleWithout("shop", 2000);
    assert.equal(ledger.totals().failed, 1);
  });

  it("tells the way of a call from the address that was dialled", () => {
    const ledger = newLedger();
    ledger.record("shop", call());
    assert.deepEqual(waysOf(ledger), ["SDK to SDK"]);
    ledger.record("shop", call({ dialled: "127.0.0.1:2" }));
    assert.deepEqual(waysOf(ledger), ["SDK to mesh"]);
    ledger.record("shop", call({ dialled: "127.0.0.1:3" }));
    assert.deepEqual(waysOf(ledger), ["mesh to SDK"]);
  });

  it("shows a called instance in the mesh only while its sidecar counts calls", () => {
    const ledger = newLedger();
    ledger.record("shop", call({ dialled: "127.0.0.1:3" }));
    ledger.inbound("price-1", 0, 1000);
    assert.deepEqual(waysOf(ledger), ["mesh to SDK"]);
    ledger.inbound("price-1", 4, 1200);
    assert.deepEqual(waysOf(ledger), ["mesh to mesh"]);
    ledger.inbound("price-1", 4, 2900);
    assert.deepEqual(waysOf(ledger, 3000), ["mesh to mesh"], "that is how the last call went");
    ledger.record("shop", call({ at: 2800, dialled: "127.0.0.1:3" }));
    assert.deepEqual(waysOf(ledger, 3000), ["mesh to SDK"]);
  });

  it("says how many calls took a way since a moment", () => {
    const ledger = newLedger();
    ledger.record("shop", call({ at: 1000 }));
    ledger.record("shop", call({ at: 1100 }));
    ledger.record("shop", call({ at: 1200, error: "refused" }));
    ledger.record("shop", call({ at: 1300, dialled: "127.0.0.1:3" }));
    const couple = { caller: "shop", called: "price-1", callerWay: "SDK", calledWay: "SDK" } as const;
    assert.equal(ledger.answered(couple, 1000), 2);
    assert.equal(ledger.answered(couple, 1050), 1);
    assert.equal(ledger.answered({ ...couple, callerWay: "mesh" }, 1000), 1);
    assert.equal(ledger.answered({ ...couple, calledWay: "mesh" }, 1000), 0);
  });

  it("shows calls that reached nobody as such", () => {
    const ledger = newLedger();
    ledger.record("shop", call({ dialled: "", by: "", error: "no provider" }));
    assert.deepEqual(
      ledger.rows(1500).map(({ called, failed }) => ({ called, failed })),
      [{ called: "nobody", failed: 1 }],
    );
  });

  it("gives rate and latency of the last seconds only", () => {
    const ledger = newLedger();
    for (let index = 0; index < 300; index += 1) ledger.record("shop", call({ at: index * 100, ms: index }));
    const [row] = ledger.rows(30_000);
    assert.equal(row?.callsPerSecond.toFixed(1), "9.7");
    assert.equal(row?.p50Ms, 285);
    assert.equal(row?.p99Ms, 299);
    assert.equal(ledger.totals().calls, 300);
  });

  it("law: every call is counted once, whatever the steps", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000)), fc.array(fc.tuple(fc.nat(1000), fc.boolean())), (steps, calls) => {
        const ledger = newLedger();
        for (const at of steps.sort((left, right) => left - right)) ledger.beginStep("step", at);
        for (const [at, failed] of calls) ledger.record("shop", call({ at, error: failed ? "x" : "" }));
        const totals = ledger.totals();
        const early = calls.filter(([at]) => at < (steps[0] ?? Infinity)).length;
        assert.equal(totals.calls, calls.length);
        assert.equal(early + totals.steps.reduce((sum, step) => sum + step.calls, 0), calls.length);
        assert.equal(totals.failed, calls.filter(([, failed]) => failed).length);
      }),
    );
  });
});

describe("a quantile", () => {
  it("is a value of the list, and nothing of an empty one", () => {
    assert.equal(quantile([], 0.5), undefined);
    assert.equal(quantile([7], 0.99), 7);
    assert.equal(quantile([1, 2, 3, 4], 0.5), 3);
  });
});
