/** The matrix as text: a row for each couple and way, a column for each case, and below it every reason. */
import { type Cell, cases } from "./plan.ts";

export function formatMatrix(cells: readonly Cell[]): string {
  const rows = [...new Set(cells.map((cell) => cell.row))];
  const width = Math.max(...rows.map((row) => row.length), 4);
  const byName = new Map(cells.map((cell) => [cell.name, cell]));
  const columns = cases.map((name) => Math.max(name.length, 7));
  const line = (head: string, texts: readonly string[]): string =>
    [head.padEnd(width), ...texts.map((text, index) => text.padEnd(columns[index] ?? 0))].join("  ").trimEnd();
  const table = rows.map((row) =>
    line(
      row,
      cases.map((name) => byName.get(`${row}/${name}`)?.result ?? ""),
    ),
  );
  return [line("", cases), ...table, ...reasons(cells), summary(cells)].join("\n");
}

/** Failures one by one, skips by their reason. */
function reasons(cells: readonly Cell[]): readonly string[] {
  const failed = cells
    .filter((cell) => cell.result === "failed")
    .map((cell) => `failed   ${cell.name}: ${cell.reason ?? ""}`);
  const skips = new Map<string, number>();
  for (const cell of cells) {
    if (cell.result === "skipped") skips.set(cell.reason ?? "", (skips.get(cell.reason ?? "") ?? 0) + 1);
  }
  return ["", ...failed, ...[...skips].map(([reason, count]) => `${count} cells ${reason}`)];
}

function summary(cells: readonly Cell[]): string {
  const count = (result: Cell["result"]): number => cells.filter((cell) => cell.result === result).length;
  return `${cells.length} cells: ${count("ok")} ok, ${count("failed")} failed, ${count("skipped")} skipped`;
}
