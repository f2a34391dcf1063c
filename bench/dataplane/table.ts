/** The comparison as a person reads it, with the spread over the rounds beside each figure. */
import type { Measured } from "./load.ts";
import { loadCore, proxyCore } from "./process.ts";
import type { Row } from "./row.ts";
import { median } from "./statistics.ts";

const widths = [15, 9, 13, 9, 9, 15, 9, 17, 7, 7, 13, 9, 7];
export const tableHead = columns([
  "proxy",
  "CPU us",
  "(spread)",
  "rps",
  "p50 us",
  "(spread)",
  "p99 us",
  "(spread)",
  "RSS MB",
  "PSS MB",
  "busy own/core",
  "load core",
  "errors",
]);

export function tableLine(row: Row, rounds: readonly Measured[]): string {
  const spread = (pick: (round: Measured) => number | undefined, decimals: number): string => {
    const values = rounds.map(pick).filter((value) => value !== undefined);
    return values.length === 0
      ? ""
      : `${Math.min(...values).toFixed(decimals)}-${Math.max(...values).toFixed(decimals)}`;
  };
  const percent = (pick: (round: Measured) => number): string =>
    rounds.length === 0 ? "-" : `${((median(rounds.map(pick)) ?? 0) * 100).toFixed(0)}%`;
  // What the proxy's own CPU time does not explain of its core's business was somebody else's.
  const own = percent((round) => ((round.watchedCpuMicros[0] ?? 0) * round.rps) / 1e6);
  const show = (value: number | null): string => (value === null ? "-" : String(value));
  return (
    columns([
      row.proxy,
      show(row.cpuMicros),
      spread((round) => round.watchedCpuMicros[0], 2),
      show(row.rps),
      show(row.p50Micros),
      spread((round) => round.p50Micros, 1),
      show(row.p99Micros),
      spread((round) => round.p99Micros, 1),
      show(row.rssMb),
      show(row.pssMb),
      `${own}/${percent((round) => round.coreBusy[proxyCore] ?? 0)}`,
      `${percent((round) => round.coreBusy[loadCore] ?? 0)}${row.saturated === true ? "*" : ""}`,
      show(row.errors),
    ]) +
    (row.proxy === "direct"
      ? `  the generator's ceiling; ${spread((round) => round.ownCpuMicros, 2)} us of its own`
      : row.saturated === true
        ? "  * the generator is the limit"
        : "")
  );
}

function columns(cells: readonly string[]): string {
  return cells
    .map((cell, index) => (index === 0 ? cell.padEnd(widths[0] as number) : cell.padStart(widths[index] as number)))
    .join(" ");
}
