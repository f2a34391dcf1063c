import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@dualmesh/base/clock";
import { type Log, silentLog } from "@dualmesh/base/log";
import { seededRandom } from "@dualmesh/base/random";
import { attendIn } from "./attend.ts";
import { OneMove } from "./one-move.ts";
import { Machine } from "./testing/machine.ts";
import { recordOf } from "./testing/sim-world.ts";
import type { MoveRecords, MoveWorld } from "./world.ts";

test("looks that fail for a minute are told in a line or two", async () => {
  const clock = new FakeClock();
  const lines: string[] = [];
  const log: Log = { ...silentLog, warn: (_fields: object, text: string) => void lines.push(text) };
  let looks = 0;
  const world = {
    clock,
    log,
    lives: async () => {
      looks++;
      throw new Error("the process that holds the privileges is not there");
    },
  } as Partial<MoveWorld> as MoveWorld;
  const record = recordOf(new Machine(seededRandom(1)).addProcess(4711), { pid: 1, started: 1 });
  const move = new OneMove({ world, records: {} as MoveRecords, record, tell: () => undefined });
  const attending = attendIn(move, new AbortController());
  await clock.advance(59_000);
  await attending.end();
  assert.ok(looks > 200, `${looks} looks`);
  assert.deepEqual(lines, ["it cannot be seen whether the sidecar answers"]);
});
