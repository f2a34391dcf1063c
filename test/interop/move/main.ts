/** `npm run interop -- move`: plays the moves, prints them, and with `--record` writes those that passed into the table. */
import { systemClock } from "@dualmesh/base/clock";
import { whyNoHosts } from "./hosts.ts";
import { record } from "./passed.ts";
import { playMoves } from "./play.ts";
import { formatMoves } from "./print.ts";

export interface MoveFlags {
  readonly json: boolean;
  readonly verbose: boolean;
  readonly whole: boolean;
  readonly record: boolean;
  readonly wanted: (name: string) => boolean;
}

/** Resolves to the exit code: 1 when a cell failed, 2 when nothing can be played here. */
export async function runMoves(flags: MoveFlags): Promise<number> {
  const missing = whyNoHosts();
  if (missing !== undefined) {
    console.error(`the moves cannot be played: ${missing}`);
    return 2;
  }
  const start = systemClock.now();
  const cells = await playMoves({
    wanted: flags.wanted,
    whole: flags.whole,
    onCell: ({ name, result, seconds, measured, reason }) => {
      console.error(`${result.padEnd(8)} ${name} ${seconds?.toFixed(1) ?? ""} s; ${measured ?? ""}`);
      if (reason !== undefined) console.error(reason);
    },
    onTrouble: (text) => {
      if (flags.verbose) console.error(text);
    },
  });
  console.log(formatMoves(cells));
  console.log(`${((systemClock.now() - start) / 1_000).toFixed(0)} s`);
  if (flags.record) record(cells, systemClock.wall());
  if (flags.json) console.log(JSON.stringify({ cells }));
  return cells.some(({ result }) => result === "failed") ? 1 : 0;
}
