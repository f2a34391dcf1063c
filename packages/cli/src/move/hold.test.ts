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
  const hold = { released: 0, release: async () => void hold.released++ };
  const told: number[] = [];
  const notes: string[] = [];
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
    note: (text) => void notes.push(text),
    clock,
  });
  let end: { readonly error?: MeshError; readonly waitedFor?: string | undefined } | undefined;
  const ended = taking.then(
    ({ waitedFor }) => {
      end = { waitedFor };
    },
    (error: MeshError) => {
      end = { error };
    },
  );
  const pass = async (ms: number) => {
    await clock.advance(ms);
    return end;
  };
  const free = (): void => {
    isFree = true;
  };
  return {
    pass,
    free,
    ended,
    told,
    notes,
    hold,
    pid,
    get end() {
      return end;
    },
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
