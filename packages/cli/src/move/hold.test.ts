import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { seededRandom } from "@dualmesh/base/random";
import { processId } from "@dualmesh/fleet/move/processes";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import { Machine } from "@dualmesh/fleet/move/testing/machine";
import { recordOf } from "@dualmesh/fleet/move/testing/sim-world";
import { takeToLeave } from "./hold.ts";

const guard = 77;

/** A move that somebody has until it is let go, and a wait for it. */
function waitFor(change: Partial<MoveRecord>) {
  const clock = new FakeClock();
  const mover = processId("self");
  assert.ok(mover !== undefined);
  const record: MoveRecord = { ...recordOf(new Machine(seededRandom(1)).addProcess(4711), mover), ...change };
  const pid = record.state === "forwarded" ? guard : mover.pid;
  let isFree = false;
  const hold = { release: async () => undefined };
  const interrupting = new AbortController();
  const told: number[] = [];
  const taking = takeToLeave({
    records: {
      read: async () => record,
      async take() {
        if (isFree) return hold;
        throw new MeshError("move.busy", `process ${pid} is at it`, { pid });
      },
      tellToUndo: async (_name, { pid }) => void told.push(pid),
    },
    name: record.name,
    note: () => undefined,
    signal: interrupting.signal,
    clock,
  });
  let end: { readonly error?: MeshError; readonly waitedFor?: string | undefined } | undefined;
  taking.then(
    ({ waitedFor }) => {
      end = { waitedFor };
    },
    (error: MeshError) => {
      end = { error };
    },
  );
  return {
    told,
    async pass(ms: number) {
      await clock.advance(ms);
      return end;
    },
    free() {
      isFree = true;
    },
    interrupt: () => interrupting.abort(new MeshError("move.interrupted", "it was interrupted by SIGINT")),
  };
}

test("a guard that takes a sidecar back is waited for through the longest of its steps", async () => {
  const wait = waitFor({ state: "forwarded", step: "linger" });
  assert.equal(await wait.pass(120_000), undefined);
  wait.free();
  assert.deepEqual(await wait.pass(1_000), { waitedFor: "forwarded" });
});

test("a guard that is at nothing is not waited for so long, and one that never ends a step not for ever", async () => {
  for (const [step, leastMs] of [
    ["", 29_000],
    ["linger", 179_000],
  ] as const) {
    const wait = waitFor({ state: "forwarded", step });
    assert.equal(await wait.pass(leastMs), undefined, step);
    const { code, message } = (await wait.pass(2_000))?.error ?? {};
    assert.deepEqual([code, message], ["move.busy", `process ${guard} is at it`]);
  }
});

test("a wait that somebody ends says that nothing was changed, or that what was asked for goes on", async () => {
  for (const [change, told, text] of [
    [{ state: "leaving", step: "linger" }, [], "nothing was changed"],
    [
      { state: "entering", step: "settle" },
      [process.pid],
      `process ${process.pid} goes on with taking it back, as it was told`,
    ],
  ] as const) {
    const wait = waitFor(change);
    assert.equal(await wait.pass(5_000), undefined);
    wait.interrupt();
    const { code, message } = (await wait.pass(0))?.error ?? {};
    assert.deepEqual([wait.told, code, message], [told, "move.interrupted", `it was interrupted by SIGINT: ${text}`]);
  }
});
