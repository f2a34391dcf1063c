/**
 * `npm run interop [-- --json] [--only PATTERN] [--registry real-zookeeper]`: plays the matrix and prints it; with the word `move` that of
 * moves. PATTERN is a part of cell names, or a regular expression. Exit code 1 when a cell failed, 2 when the matrix cannot be played here.
 */
import { parseArgs } from "node:util";
import { systemClock } from "@dualmesh/base/clock";
import { buildFixtures, missingLanguage, missingNodeSdk } from "./fixtures.ts";
import { playMatrix } from "./matrix.ts";
import { runMoves } from "./move/main.ts";
import { formatMatrix } from "./print.ts";
import { takeTurn } from "./turn.ts";
import type { RegistryKind } from "./world.ts";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    full: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    only: { type: "string" },
    registry: { type: "string", default: "dualmesh" },
    verbose: { type: "boolean", default: false },
  },
});
const registry = flags.registry;
if (registry !== "dualmesh" && registry !== "real-zookeeper") {
  console.error(`--registry is dualmesh or real-zookeeper, not ${registry}`);
  process.exit(2);
}
const [what = "calls"] = positionals;
if ((what !== "calls" && what !== "move") || positionals.length > 1) {
  console.error(`there is the matrix of calls, without a word, and that of moves: move; not ${positionals.join(" ")}`);
  process.exit(2);
}
using _turn = await takeTurn();
const missing = buildFixtures() ?? missingNodeSdk();
if (missing !== undefined) {
  console.error(`the matrix cannot be played: ${missing}`);
  process.exit(2);
}
const pattern = flags.only === undefined ? undefined : new RegExp(flags.only);
const wanted = (name: string): boolean =>
  pattern === undefined || name.includes(flags.only ?? "") || pattern.test(name);
process.exitCode = what === "move" ? await runMoves({ ...flags, whole: flags.full, wanted }) : await runCalls(registry);

async function runCalls(registry: RegistryKind): Promise<number> {
  const start = systemClock.now();
  const cells = await playMatrix({
    registry,
    missing: missingLanguage,
    wanted,
    onCell: (cell) => {
      if (cell.result !== "skipped")
        console.error(`${cell.result.padEnd(8)} ${cell.name}${cell.reason === undefined ? "" : `: ${cell.reason}`}`);
    },
    onTrouble: (text) => {
      if (flags.verbose) console.error(text);
    },
  });
  console.log(formatMatrix(cells));
  console.log(`${((systemClock.now() - start) / 1_000).toFixed(0)} s`);
  if (flags.json)
    console.log(JSON.stringify({ cells: cells.map(({ name, result, reason }) => ({ name, result, reason })) }));
  return cells.some((cell) => cell.result === "failed") ? 1 : 0;
}
