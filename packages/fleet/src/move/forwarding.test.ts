import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "@dualmesh/base/random";
import { forwardingOf } from "./forwarding.ts";
import type { MoveRecord } from "./record.ts";
import { Machine } from "./testing/machine.ts";
import { recordOf } from "./testing/sim-world.ts";

const host = "10.1.1.2";

/** A move of a process whose application ports stand behind published ones, as in `[[20880, 20881]]`. */
function moved(
  pid: number,
  ports: readonly (readonly [number, number])[],
  change: Partial<MoveRecord> = {},
): MoveRecord {
  const published = ports.map(([app, port], index) => ({
    service: `dubbo/fx.S${index}::`,
    published: { host, port },
    direct: { host, port: app },
  }));
  const process = new Machine(seededRandom(1)).addProcess(pid);
  return recordOf(process, { pid: 1, started: 1 }, { state: "forwarded", begun: ["provide"], published, ...change });
}

const ruled = (record: MoveRecord, ...beside: readonly MoveRecord[]): readonly number[] =>
  forwardingOf(record, beside).rules.map(({ published }) => published.port);

test("services of one application port share its rule, and a port of one's own is handed on beside one that is shared", () => {
  assert.deepEqual(
    ruled(
      moved(1, [
        [20_880, 20_881],
        [20_880, 20_881],
      ]),
    ),
    [20_881],
  );
  const mixed = moved(1, [
    [20_880, 20_881],
    [20_890, 20_881],
    [20_899, 20_883],
  ]);
  assert.deepEqual(ruled(mixed), [20_883]);
  assert.deepEqual(forwardingOf(mixed, []).shared, [
    { published: "10.1.1.2:20881", behind: ["20880 of process 1", "20890 of process 1"] },
  ]);
});

test("another process behind the same port counts while somebody may call it there", () => {
  const one = moved(1, [[20_880, 20_881]]);
  const other = (change: Partial<MoveRecord>) => moved(2, [[20_880, 20_881]], change);
  assert.deepEqual(ruled(one, other({ state: "in" })), []);
  assert.deepEqual(ruled(one, other({ state: "leaving", done: ["provide-back"] })), []);
  assert.deepEqual(ruled(one, other({ state: "leaving", done: ["provide-back", "linger"] })), [20_881]);
  assert.deepEqual(ruled(one, other({ state: "in", begun: ["consume"] })), [20_881], "it is not provided there");
  assert.deepEqual(ruled(one, moved(2, [[20_890, 20_882]])), [20_881]);
  assert.deepEqual(ruled(other({ begun: ["consume"] })), []);
});
