/** The matrix as text: a row for each couple and way, a column for each case, and below it every reason. */
import { type Case, type Cell, cases, type Row, rows } from "./plan.ts";

export function formatMatrix(cells: readonly Cell[]): string {
  const played = new Set(cells.map((cell) => cell.row));
  const byCases = Map.groupBy(
    rows().filter(({ name }) => played.has(name)),
    ({ consumer }) => cases[consumer.family],
  );
  const tables = [...byCases].map(([names, ofThese]) => table(names, ofThese, cells).join("\n"));
  return [tables.join("\n\n"), ...reasons(cells), summary(cells)].join("\n");
}

/** Rows whose families have the same cases. */
function table(names: readonly Case[], played: readonly Row[], cells: readonly Cell[]): readonly string[] {
  const width = Math.max(...played.map(({ name }) => name.length), 4);
  const byName = new Map(cells.map((cell) => [cell.name, cell]));
  const columns = names.map((name) => Math.max(name.length, 7));
  const line = (head: string, texts: readonly string[]): string =>
    [head.padEnd(width), ...texts.map((text, index) => text.padEnd(columns[index] ?? 0))].join("  ").trimEnd();
  const lines = played.map((row) =>
    line(
      row.name,
      names.map((name) => byName.get(`${row.name}/${name}`)?.result ?? ""),
    ),
  );
  return [line("", names), ...lines];
}

/** Failures and skips by their reason; those of one row with one reason together. */
function reasons(cells: readonly Cell[]): readonly string[] {
  const failed = new Map<string, string[]>();
  const skipped = new Map<string, number>();
  for (const cell of cells) {
    const reason = cell.reason ?? "";
    if (cell.result === "skipped") skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
    if (cell.result !== "failed") continue;
    const key = `${cell.row}\n${reason}`;
    failed.set(key, [...(failed.get(key) ?? []), cell.case]);
  }
  const failures = [...failed].map(([key, names]) => `failed  ${key.replace("\n", ` (${names.join(", ")}): `)}`);
  return ["", ...failures, ...[...skipped].map(([reason, count]) => `${count} cells ${reason}`)];
}

function summary(cells: readonly Cell[]): string {
  const count = (result: Cell["result"]): number => cells.filter((cell) => cell.result === result).length;
  return `${cells.length} cells: ${count("ok")} ok, ${count("failed")} failed, ${count("skipped")} skipped`;
}
