/** The pages for operators are right: their commands, as they stand there, move a running process in and out. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { buildFixtures } from "./fixtures.ts";
import { commandsOf, pages, playPage } from "./move/documents.ts";
import { whyNoHosts } from "./move/hosts.ts";
import { picked } from "./move/plan.ts";
import { repository } from "./product.ts";
import { takeTurn } from "./turn.ts";

/** One page, by the commit or `MOVE_SEED`; all of them with `MOVE_PAGES=all`. */
function pagesToPlay() {
  if (process.env["MOVE_PAGES"] === "all") return pages;
  const { stdout } = spawnSync("git", ["rev-parse", "HEAD"], { cwd: repository, encoding: "utf8" });
  const seed = Number(process.env["MOVE_SEED"] ?? Number.parseInt(stdout?.slice(0, 8) || "1", 16));
  return picked(seed, pages, 1);
}

for (const page of pagesToPlay()) {
  test(`what docs/migrate/${page.name} says to do moves a running process in and out`, {
    timeout: 600_000,
  }, async (t) => {
    using _turn = await takeTurn();
    const missing = whyNoHosts() ?? buildFixtures();
    if (missing !== undefined) return t.skip(missing);
    const wrong = await playPage(page);
    assert.deepEqual(wrong, [], wrong.join("\n"));
  });
}

test("a command of a page that is not the product's is not passed over", () => {
  assert.deepEqual(commandsOf("text\n\n```sh\nsudo dualmesh move status\n```\n"), [["move", "status"]]);
  assert.throws(() => commandsOf("```sh\nsystemctl stop orders\n```\n"), /nobody tests: systemctl stop orders/);
});
