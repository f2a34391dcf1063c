/** The cells as text: the matrix with a column for each way, what stands beside it, and every reason. */
import { type Cell, movedWays, runs } from "./plan.ts";

export function formatMoves(cells: readonly Cell[]): string {
  const byName = new Map(cells.map((cell) => [cell.name, cell]));
  const rows = runs
    .map(({ name }) => ({ name, played: movedWays.map((way) => byName.get(`${name}/${way}`)) }))
    .filter(({ played }) => played.some((cell) => cell !== undefined));
  const inMatrix = new Set(rows.flatMap(({ played }) => played));
  const others = cells.filter((cell) => !inMatrix.has(cell));
  const width = Math.max(...[...rows, ...others].map(({ name }) => name.length), 4);
  const line = (head: string, texts: readonly string[]): string =>
    [head.padEnd(width), ...texts.map((text) => text.padEnd(12))].join("  ").trimEnd();
  const matrix = rows.map(({ name, played }) => line(name, played.map(told)));
  return [
    ...(rows.length > 0 ? [line("", movedWays), ...matrix, ""] : []),
    ...others.map((cell) => line(cell.name, [told(cell), cell.measured ?? ""])),
    "",
    ...cells.flatMap(({ name, reason }) => (reason === undefined ? [] : [`${name}: ${reason}`])),
    summary(cells),
  ].join("\n");
}

function told(cell: Cell | undefined): string {
  if (cell === undefined) return "";
  return cell.seconds === undefined ? cell.result : `${cell.result} ${cell.seconds.toFixed(1)} s`;
}

function summary(cells: readonly Cell[]): string {
  const count = (result: Cell["result"]): number => cells.filter((cell) => cell.result === result).length;
  return `${cells.length} cells: ${count("ok")} ok, ${count("failed")} failed, ${count("skipped")} skipped`;
}
