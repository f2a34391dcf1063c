/** The pages for operators are right: their commands, as they stand there, move a running process in and out. One page for each commit (`move/seed.ts`). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { buildFixtures } from "./fixtures.ts";
import { commandsOf, pages, playPage } from "./move/documents.ts";
import { whyNoHosts } from "./move/hosts.ts";
import { moveSeed, sampleOf } from "./move/seed.ts";
import { takeTurn } from "./turn.ts";

for (const page of sampleOf(pages, 1)) {
  test(`what docs/migrate/${page.name} says to do, as ${page.caller}, moves a running process in and out`, async (t) => {
    t.diagnostic(`MOVE_SEED=${moveSeed}`);
    using _turn = await takeTurn();
    const missing = whyNoHosts() ?? buildFixtures();
    if (missing !== undefined) return t.skip(missing);
    const wrong = await playPage(page);
    assert.deepEqual(wrong, [], wrong.join("\n"));
  });
}

test("a command of a page that is not the product's is not passed over", () => {
  const text =
    "text\n\n```sh\nsudo dualmesh move status\n```\n\n```sh\ndocker exec -u 0 orders dualmesh move out --pid 1\n```\n";
  assert.deepEqual(commandsOf(text, "root"), [["move", "status"]]);
  assert.deepEqual(commandsOf(text, "container-root"), [["move", "out", "--pid", "1"]]);
  assert.throws(() => commandsOf("```sh\nsystemctl stop orders\n```\n", "root"), /nobody tests: systemctl stop orders/);
});
