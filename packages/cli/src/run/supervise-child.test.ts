import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
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
  let livedMs = 0;
  const clock = new (class extends HastyClock {
    override now() {
      return super.now() + livedMs;
    }
  })();
  const waits: number[] = [];
  const ending = new AbortController();
  const start = () => {
    const child = spawn("sleep", ["60"]);
    child.once("exit", () => {
      if (waits.length === 2) livedMs = 20_000;
    });
    child.kill("SIGKILL");
    return child;
  };
  const waitMs = (deaths: number) => {
    waits.push(deaths);
    if (waits.length === 4) ending.abort("told");
    return 1;
  };
  const passing = { ending: ending.signal, to: () => undefined, end: () => undefined };
  assert.equal(await superviseChild({ start, waitMs, passing, clock, openLog }), 0);
  assert.deepEqual(waits, [1, 2, 1, 2]);
});

test("a wish to end that comes while one child takes over from another ends both, and is waited for", async () => {
  const ending = new AbortController();
  const passing = { ending: ending.signal, to: () => undefined, end: () => undefined };
  const [first, heir] = [spawn("sleep", ["60"]), spawn("sleep", ["60"])];
  const heirs = { of: (child: ChildProcess) => () => (child === first ? heir : undefined) };
  const start = () => {
    setImmediate(() => {
      ending.abort("SIGTERM");
      first.kill("SIGTERM");
    });
    return first;
  };
  const clock = new HastyClock();
  const code = await superviseChild({ start, waitMs: () => undefined, passing, clock, openLog, heirs });
  assert.equal(code, 1, "it did not end by itself");
  assert.equal(heir.signalCode, "SIGTERM");
});

test("a start that fails is a death like another, but for the first", async () => {
  const passing = { ending: new AbortController().signal, to: () => undefined, end: () => undefined };
  const supervised = async (...programs: readonly string[]): Promise<number> => {
    const left = [...programs];
    const start = () => spawn(left.shift() as string, ["-c", "exit 1"]);
    return superviseChild({ start, waitMs: () => 0, passing, clock: new HastyClock(), openLog });
  };
  assert.equal(await supervised("false", "/nobody/is/here", "true"), 0);
  await assert.rejects(supervised("/nobody/is/here", "true"), { code: "ENOENT" });
});

test("a wait that fails for a reason of its own is not taken for one that is over", async () => {
  class BrokenClock extends FakeClock {
    override after(): never {
      throw new Error("there are no timers");
    }
  }
  const passing = { ending: new AbortController().signal, to: () => undefined, end: () => undefined };
  let starts = 0;
  const start = () => spawn(++starts < 5 ? "false" : "true");
  const supervised = superviseChild({ start, waitMs: () => 1, passing, clock: new BrokenClock(), openLog });
  await assert.rejects(supervised, /there are no timers/);
});
