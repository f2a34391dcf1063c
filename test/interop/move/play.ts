/** Plays cells one after the other, for the command line and for a continuous build alike. A world that does not start fails its cells only. */
import { type Extra, extras } from "./extras.ts";
import { cellOf } from "./outcome.ts";
import { type Cell, movedWays, type Run, runs } from "./plan.ts";
import { playRun } from "./run.ts";

export interface PlayOptions {
  readonly wanted: (name: string) => boolean;
  /** Those that are long as well. */
  readonly whole: boolean;
  readonly onCell: (cell: Cell) => void;
  /** Told the ends of all logs when something failed. */
  readonly onTrouble: (text: string) => void;
}

export async function playMoves(options: PlayOptions): Promise<readonly Cell[]> {
  const cells: Cell[] = [];
  for (const run of runs) {
    if (!cellsOf(run).some(options.wanted)) continue;
    cells.push(...(await played(run, options)));
  }
  for (const extra of extras) {
    if (!options.wanted(extra.name) || (extra.long && !options.whole)) continue;
    cells.push(await playedExtra(extra, options));
  }
  return cells;
}

export function cellsOf({ name }: Run): readonly string[] {
  return movedWays.map((way) => `${name}/${way}`);
}

/** Both ways: there is none back without the one there. */
export async function played(
  run: Run,
  { onCell, onTrouble, inOnly = false }: Pick<PlayOptions, "onCell" | "onTrouble"> & { readonly inOnly?: boolean },
): Promise<readonly Cell[]> {
  const cells = await playRun(run, { onTrouble, inOnly }).catch((error: Error): readonly Cell[] => {
    onTrouble(`${run.name}\n${error.message}`);
    return cellsOf(run).map((name) => ({ name, result: "failed", reason: firstLine(error) }));
  });
  for (const cell of cells) onCell(cell);
  return cells;
}

export async function playedExtra(
  extra: Extra,
  { onCell, onTrouble }: Pick<PlayOptions, "onCell" | "onTrouble">,
): Promise<Cell> {
  const { name, missing } = extra;
  const skipped = missing === undefined ? undefined : ({ name, result: "skipped", reason: missing } as const);
  const cell =
    skipped ??
    (await extra.play().then(
      (outcome) => {
        if (outcome.wrong.length > 0) onTrouble(`${extra.name}\n${outcome.logs}`);
        return cellOf(extra.name, outcome);
      },
      (error: Error): Cell => {
        onTrouble(`${extra.name}\n${error.message}`);
        return { name: extra.name, result: "failed", reason: firstLine(error) };
      },
    ));
  onCell(cell);
  return cell;
}

function firstLine({ message }: Error): string {
  return message.split("\n")[0] ?? "";
}
