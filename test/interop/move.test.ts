/**
 * Of the moves, within `npm test`: the way in of one run, both ways of another, and a planted fault, by a seed that changes with the commit
 * (`MOVE_SEED=N npm test -- interop/move` plays another one's). `npm run interop:full -- move` plays them all.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { buildFixtures } from "./fixtures.ts";
import { faults } from "./move/extras.ts";
import { whyNoHosts } from "./move/hosts.ts";
import { rowsOf } from "./move/passed.ts";
import { type Cell, picked, runs } from "./move/plan.ts";
import { played, playedExtra } from "./move/play.ts";
import { moveSeed } from "./move/seed.ts";
import { takeTurn } from "./turn.ts";

test("a running process moves into the mesh and back, and a faulty sidecar is left again", async (t) => {
  t.diagnostic(`MOVE_SEED=${moveSeed}`);
  using _turn = await takeTurn();
  const missing = whyNoHosts() ?? buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  const [first, second] = picked(moveSeed, runs, 2);
  const [fault] = picked(moveSeed, faults, 1);
  assert.ok(first !== undefined && second !== undefined && fault !== undefined);
  const told = { onCell: () => undefined, onTrouble: (text: string) => t.diagnostic(text) };
  const cells: readonly Cell[] = [
    ...(await played(first, { ...told, inOnly: true })),
    ...(await played(second, told)),
    await playedExtra(fault, told),
  ];
  for (const { name, result, reason, seconds, measured } of cells) {
    await t.test(name, (cell) => {
      cell.diagnostic(`${seconds} s; ${measured}`);
      assert.equal(result, "ok", reason);
    });
  }
});

test("a seed picks cells that differ, and another seed others", () => {
  const all = [...Array(12).keys()];
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const two = picked(seed, all, 2);
    assert.equal(new Set(two).size, 2);
    assert.deepEqual(picked(seed, all, 2), two);
    seen.add(String(two));
  }
  assert.ok(seen.size > 60, `${seen.size} couples of 132`);
  assert.deepEqual([...picked(7, all, 20)].sort(), [...all].sort());
});

test("the table of what has passed is read as it is written", () => {
  const table =
    "# Title\n\n| cell | passed |\n|---|---|\n| dubbo3/x | 2026-01-01 |\n| sofarpc/provider-first/1/in | never |\n";
  assert.deepEqual(
    [...rowsOf(table)],
    [
      ["dubbo3/x", "| dubbo3/x | 2026-01-01 |"],
      ["sofarpc/provider-first/1/in", "| sofarpc/provider-first/1/in | never |"],
    ],
  );
});
