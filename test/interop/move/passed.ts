/** The table in `passed.md`, which says when and on which commit each cell last passed. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../product.ts";
import { extras } from "./extras.ts";
import type { Cell } from "./plan.ts";
import { runs } from "./plan.ts";
import { cellsOf } from "./play.ts";

const table = "test/interop/move/passed.md";
const file = join(repository, table);
const head = `# When each cell of the moves last passed

Written by \`npm run interop:full -- move --record\`. Seconds are those of the move, or of the whole cell where there are several moves.

| cell | passed | commit | seconds |
|---|---|---|---|`;

/** Puts the cells that passed into the table; what was not played, or failed, keeps the row that it has. */
export function record(cells: readonly Cell[], wallMs: number): void {
  const rows = existsSync(file) ? rowsOf(readFileSync(file, "utf8")) : new Map<string, string>();
  const day = new Date(wallMs).toISOString().slice(0, 16).replace("T", " ");
  for (const { name, result, seconds } of cells) {
    if (result === "ok") rows.set(name, `| ${name} | ${day} | ${commit()} | ${seconds?.toFixed(1) ?? ""} |`);
  }
  const names = [...runs.flatMap(cellsOf), ...extras.map(({ name }) => name)];
  const lines = names.map((name) => rows.get(name) ?? `| ${name} | never | | |`);
  writeFileSync(file, `${[head, ...lines].join("\n")}\n`);
}

export function rowsOf(text: string): Map<string, string> {
  const lines = text.split("\n").map((line) => [/^\| (\S+\/\S+) \|/.exec(line)?.[1], line] as const);
  return new Map(lines.flatMap(([name, line]) => (name === undefined ? [] : [[name, line] as const])));
}

/** With a word when the files are not those of the commit. */
function commit(): string {
  const git = (...words: readonly string[]): string =>
    spawnSync("git", words, { cwd: repository, encoding: "utf8" }).stdout.trim();
  const changed = git("status", "--porcelain", "--", "packages", "test/interop", `:(exclude)${table}`) !== "";
  return `${git("rev-parse", "--short", "HEAD")}${changed ? " with changes" : ""}`;
}
