/** One run of the matrix: a process under load goes into the mesh and back, which gives two cells. */
import { systemClock } from "@dualmesh/base/clock";
import { type MoveEnd, move } from "./mover.ts";
import { cellOf, ended, type Outcome } from "./outcome.ts";
import type { Cell, Run } from "./plan.ts";
import { Stage } from "./stage.ts";
import { allCarried, noneCarried } from "./way.ts";
import type { World } from "./world.ts";

export interface RunOptions {
  /** Told the ends of all logs when something failed. */
  readonly onTrouble: (text: string) => void;
  /** Only the way in, for who has no time for both. */
  readonly inOnly?: boolean;
}

export async function playRun(run: Run, { onTrouble, inOnly = false }: RunOptions): Promise<readonly Cell[]> {
  const { framework, providers, selectedBy } = run;
  await using stage = await Stage.open({ framework, providers, selectedBy });
  const { world } = stage;
  const entered = await move(world, "in", world.moved, { words: ["--first", run.first] });
  const inside = await allCarried(world, world.moved);
  const middle = systemClock.wall();
  const back = inOnly ? undefined : await playBack(world, entered);
  await stage.stop();
  const to = systemClock.wall();
  const wayIn = [...ended(entered, "in"), ...inside.wrong, ...stage.harm({ from: stage.from, to: middle })];
  const cells = [cellOf(`${run.name}/in`, outcomeOf(entered, wayIn, inside.told))];
  const wayOut = back === undefined ? [] : [...back.wrong, ...stage.harm({ from: middle, to })];
  if (back !== undefined) cells.push(cellOf(`${run.name}/out`, outcomeOf(back.left, wayOut, "")));
  if (cells.some(({ result }) => result === "failed")) onTrouble(`${run.name}\n${world.tails()}`);
  return cells;
}

async function playBack(world: World, { state }: MoveEnd) {
  const left = await move(world, "out", world.moved);
  const outside = await noneCarried(world, world.moved);
  const never = state === "in" ? [] : ["it never was in the mesh"];
  return { left, wrong: [...never, ...ended(left, "out"), ...outside.wrong] };
}

function outcomeOf({ seconds, steps }: MoveEnd, wrong: readonly string[], told: string): Omit<Outcome, "logs"> {
  return { wrong, seconds, measured: [told, steps.join(", ")].filter((text) => text !== "").join("; ") };
}
