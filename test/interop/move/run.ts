/** One run of the matrix: a process under load goes into the mesh and back, which gives two cells. */
import { systemClock } from "@dualmesh/base/clock";
import { type MoveEnd, move } from "./mover.ts";
import { cellOf, ended, type Outcome } from "./outcome.ts";
import type { Cell, Run } from "./plan.ts";
import { Stage } from "./stage.ts";
import { allCarried, noneCarried } from "./way.ts";

/** `onTrouble` is told the ends of all logs when something failed. */
export async function playRun(run: Run, onTrouble: (text: string) => void): Promise<readonly Cell[]> {
  const { framework, providers, selectedBy } = run;
  await using stage = await Stage.open({ framework, providers, selectedBy });
  const { world } = stage;
  const entered = await move(world, "in", world.moved, { words: ["--first", run.first] });
  const inside = await allCarried(world, world.moved);
  const middle = systemClock.wall();
  const left = entered.state === "in" ? await move(world, "out", world.moved) : undefined;
  const outside = await noneCarried(world, world.moved);
  await stage.stop();
  const to = systemClock.wall();
  const wayIn = [...ended(entered, "in"), ...inside.wrong, ...stage.harm({ from: stage.from, to: middle })];
  const wayOut =
    left === undefined ? [] : [...ended(left, "out"), ...outside.wrong, ...stage.harm({ from: middle, to })];
  if (wayIn.length + wayOut.length > 0) onTrouble(`${run.name}\n${world.tails()}`);
  return [
    cellOf(`${run.name}/in`, outcomeOf(entered, wayIn, inside.told)),
    left === undefined
      ? { name: `${run.name}/out`, result: "failed", reason: "it never was in the mesh" }
      : cellOf(`${run.name}/out`, outcomeOf(left, wayOut, outside.told)),
  ];
}

function outcomeOf({ seconds, steps }: MoveEnd, wrong: readonly string[], told: string): Omit<Outcome, "logs"> {
  return { wrong, seconds, measured: [told, steps.join(", ")].filter((text) => text !== "").join("; ") };
}
