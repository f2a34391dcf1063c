import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, sleep } from "./clock.ts";
import { Scope } from "./scope.ts";

test("what is owned ends with its scope, last in, first out, also when one of them fails", async () => {
  const ended: string[] = [];
  {
    await using scope = new Scope();
    scope.defer(() => void ended.push("first"));
    scope.defer(() => {
      throw new Error("stuck");
    });
    scope.child().defer(async () => {
      await Promise.resolve();
      ended.push("child");
    });
    scope.use({ [Symbol.dispose]: () => void ended.push("disposable") });
    assert.equal(scope.signal.aborted, false);
  }
  assert.deepEqual(ended, ["disposable", "child", "first"]);
});

test("a scope ends once, and what comes after its end is ended at once", async () => {
  const scope = new Scope();
  let ends = 0;
  scope.defer(() => void ends++);
  await Promise.all([scope.end(), scope.end()]);
  assert.equal(ends, 1);
  assert.ok(scope.signal.aborted);
  scope.defer(() => void ends++);
  assert.equal(ends, 2);
});

test("a sleep ends with its time or with its signal, and leaves no timer", async () => {
  const clock = new FakeClock();
  let woken = false;
  void sleep(clock, 100).then(() => {
    woken = true;
  });
  await clock.advance(99);
  assert.equal(woken, false);
  await clock.advance(1);
  assert.equal(woken, true);
  const gone = new AbortController();
  const asleep = sleep(clock, 100, gone.signal);
  gone.abort(new Error("no longer"));
  await assert.rejects(asleep, /no longer/);
});
