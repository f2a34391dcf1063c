/** The matrix within `npm test`: one subtest for each cell. `npm run interop` prints it alone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { buildFixtures, missingLanguage, missingNodeSdk } from "./fixtures.ts";
import { playMatrix } from "./matrix.ts";
import { formatMatrix } from "./print.ts";
import { takeTurn } from "./turn.ts";

test("unmodified applications call each other in every way", async (t) => {
  using _turn = await takeTurn();
  const missing = buildFixtures();
  if (missing !== undefined) return t.skip(missing);
  assert.equal(missingNodeSdk(), undefined);
  const cells = await playMatrix({ missing: missingLanguage, onTrouble: (text) => t.diagnostic(text) });
  console.log(formatMatrix(cells));
  for (const { name, result, reason } of cells) {
    await t.test(name, (cell) => {
      if (result === "skipped") cell.skip(reason ?? "");
      else assert.equal(result, "ok", reason);
    });
  }
});
