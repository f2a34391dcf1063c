import assert from "node:assert/strict";
import { test } from "node:test";
import { isStepName, type StepName, stepsIn, stepsOut, stepsReturn, stepText } from "./steps.ts";

const both = { only: undefined, first: "provider" } as const;

test("whatever was begun on the way in, the way out takes back exactly that, the rule before the sessions", () => {
  const way = stepsIn(both);
  for (let length = 0; length <= way.length; length++) {
    const begun = way.slice(0, length);
    const out: readonly StepName[] = stepsOut(begun);
    assert.equal(out.includes("provide-back"), begun.includes("provide"));
    assert.equal(out.includes("consume-back"), begun.includes("consume"));
    assert.equal(out.includes("release"), begun.includes("rule"));
    assert.equal(out.includes("cut-back"), begun.includes("rule"));
    assert.equal(out.includes("close"), begun.includes("crossing"));
    assert.equal(out.includes("end-sidecar"), begun.includes("sidecar"));
    if (begun.includes("rule")) assert.ok(out.indexOf("release") < out.indexOf("cut-back"));
    for (const swap of ["provide-back", "consume-back"] as const) {
      if (out.includes(swap))
        assert.ok(out.indexOf(swap) < out.indexOf("release"), "sessions are swapped while they are at the doors");
    }
    for (const step of out) assert.ok(isStepName(step) && stepText(step) !== "");
  }
});

test("a way back in after a time without a sidecar leaves out what was never begun, and moves callers that went past it", () => {
  const swaps = (begun: readonly StepName[], wasForwarded: boolean): readonly string[] =>
    stepsReturn(begun, wasForwarded).filter((step) => /provide|consume|unforward/.test(step));
  const all = stepsIn(both);
  assert.deepEqual(swaps(["sidecar", "rule", "consume"], true), ["consume-back", "consume", "unforward"]);
  assert.deepEqual(swaps(all, false), ["provide", "consume", "unforward"]);
  assert.deepEqual(swaps(all, true), ["consume-back", "consume", "provide-back", "unforward", "provide"]);
});
