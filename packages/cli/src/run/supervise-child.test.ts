import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { guardWaitMs } from "../move/supervise-guard.ts";
import { superviseChild } from "./supervise-child.ts";

const openLog = async () => silentLog;

/** Whatever is waited for comes at once, and time has passed by as much. */
class HastyClock extends FakeClock {
  override after(delayMs: number, task: () => void) {
    const timer = super.after(delayMs, task);
    setImmediate(() => void this.advance(delayMs));
    return timer;
  }
}

test("a child that dies again and again is started once a second at most, ever less often, and given up", async () => {
  const clock = new HastyClock();
  const starts: number[] = [];
  const start = () => {
    starts.push(clock.now());
    const child = spawn("sleep", ["60"]);
    child.kill("SIGKILL");
    return child;
  };
  const passing = { ending: new AbortController().signal, to: () => undefined, end: () => undefined };
  const waitMs = (deaths: number) => (deaths > 10 ? undefined : guardWaitMs(deaths));
  assert.equal(await superviseChild({ start, waitMs, passing, clock, openLog }), 1);
  const waits = starts.slice(1).map((at, index) => at - (starts[index] ?? 0));
  assert.deepEqual(waits, [50, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000]);
  assert.equal(guardWaitMs(101), undefined);
});

test("waits begin again after a child that lived for a while", async () => {
  const clock = new FakeClock();
  const waits: number[] = [];
  const ending = new AbortController();
  const start = () => {
    const child = spawn("sleep", ["60"]);
    void clock.advance(waits.length === 2 ? 20_000 : 0).then(() => child.kill("SIGKILL"));
    return child;
  };
  const waitMs = (deaths: number) => {
    waits.push(deaths);
    if (waits.length === 4) ending.abort("told");
    return 0;
  };
  const ends = superviseChild({
    start,
    waitMs,
    passing: { ending: ending.signal, to: () => undefined, end: () => undefined },
    clock,
    openLog,
  });
  let hasEnded = false;
  void ends.then(() => {
    hasEnded = true;
  });
  while (!hasEnded) {
    await new Promise(setImmediate);
    await clock.advance(0);
  }
  assert.deepEqual([await ends, waits], [0, [1, 2, 1, 2]]);
});
