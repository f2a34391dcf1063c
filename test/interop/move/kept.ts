/** What a process keeps through a move: locks and nodes of its own session, its place among others, itself after twenty moves. */
import { systemClock } from "@dualmesh/base/clock";
import { type MoveEnd, move } from "./mover.ts";
import { ended, type Outcome } from "./outcome.ts";
import type { Framework } from "./plan.ts";
import { Stage } from "./stage.ts";
import { allCarried, noneCarried } from "./way.ts";
import type { WorldOptions } from "./world.ts";

const trips = 20;
const ownPath = "/keeps";
const lockList = `${ownPath}/lock`;
const waitLimitMs = 240_000;

/** In and out in a world of another kind. */
export async function playTrip(options: WorldOptions, prepare: (stage: Stage) => void = () => {}): Promise<Outcome> {
  const began = systemClock.now();
  await using stage = await Stage.open(options);
  const { world } = stage;
  prepare(stage);
  const wrong: string[] = [];
  const entered = await move(world, "in", world.moved);
  const inside = await allCarried(world, world.moved);
  wrong.push(...ended(entered, "in"), ...inside.wrong);
  const left = entered.state === "in" ? await move(world, "out", world.moved) : undefined;
  if (left !== undefined) wrong.push(...ended(left, "out"));
  wrong.push(...(await noneCarried(world, world.moved)).wrong);
  await stage.stop();
  wrong.push(...stage.harm({ from: stage.from, to: systemClock.wall() }));
  const ways = [entered, left].map((end) => (end === undefined ? "" : told(end)));
  const measured = [inside.told, ...ways].join("; ");
  return { wrong, measured, seconds: (systemClock.now() - began) / 1_000, logs: world.tails() };
}

/** In and out, twenty times in a row. */
export async function playTwenty(framework: Framework): Promise<Outcome> {
  const began = systemClock.now();
  await using stage = await Stage.open({ framework });
  const { world } = stage;
  const wrong: string[] = [];
  const ends: MoveEnd[] = [];
  for (let trip = 1; trip <= trips && wrong.length === 0; trip++) {
    for (const way of ["in", "out"] as const) {
      const end = await move(world, way, world.moved, { before: "0", watch: "1s" });
      ends.push(end);
      wrong.push(...ended(end, way).map((text) => `${way} ${trip}: ${text}`));
    }
  }
  wrong.push(...(await noneCarried(world, world.moved)).wrong);
  await stage.stop();
  wrong.push(...stage.harm({ from: stage.from, to: systemClock.wall() }));
  const longest = Math.max(...ends.map(({ seconds }) => seconds));
  const shortest = Math.min(...ends.map(({ seconds }) => seconds));
  const measured = `${ends.length} moves of ${shortest.toFixed(1)} to ${longest.toFixed(1)} s`;
  return { wrong, measured, seconds: (systemClock.now() - began) / 1_000, logs: world.tails() };
}

/** A process that holds a lock and a node in the SDK's own session, and another that waits for the lock. */
export async function playLocksKept(framework: Framework): Promise<Outcome> {
  const began = systemClock.now();
  await using stage = await Stage.open({ framework, twin: true });
  const { world } = stage;
  const wrong: string[] = [];
  const owner = await world.moved.program.ask(`own ${ownPath}`);
  if (!owner.ok) wrong.push(`no lock: ${owner.reason}`);
  const recorder = await world.record([ownPath, lockList]);
  let taken = false;
  const waiter = world.twin.program.ask(`own ${ownPath}`, waitLimitMs).then((answer) => {
    taken = true;
    return answer;
  });
  for (const way of ["in", "out"] as const) {
    const end = await move(world, way, world.moved);
    wrong.push(...ended(end, way));
    if (taken) wrong.push(`the lock was lost on the way ${way}`);
  }
  const lostNodes = recorder.changes().filter(({ change }) => change === "deleted");
  if (lostNodes.length > 0)
    wrong.push(`${lostNodes.length} nodes went: ${lostNodes.map(({ list }) => list).join(", ")}`);
  const given = systemClock.now();
  await world.moved.program.ask("disown");
  const answer = await waiter;
  const handover = systemClock.now() - given;
  if (!answer.ok) wrong.push(`the lock is not handed over: ${answer.reason}`);
  await world.twin.program.ask("disown");
  await stage.stop();
  wrong.push(...stage.harm({ from: stage.from, to: systemClock.wall() }));
  const measured = `the lock was handed over within ${Math.round(handover)} ms of its end`;
  return { wrong, measured, seconds: (systemClock.now() - began) / 1_000, logs: world.tails() };
}

/** Two processes of one host go in at the same time, and out one after the other. */
export async function playTwo(framework: Framework): Promise<Outcome> {
  const began = systemClock.now();
  await using stage = await Stage.open({ framework, twin: true });
  const { world } = stage;
  const { moved, twin } = world;
  const wrong: string[] = [];
  const entered = await Promise.all([move(world, "in", moved), move(world, "in", twin)]);
  wrong.push(...entered.flatMap((end) => ended(end, "in")));
  for (const one of [moved, twin]) wrong.push(...(await allCarried(world, one)).wrong);
  wrong.push(...ended(await move(world, "out", moved), "out"));
  wrong.push(...(await allCarried(world, twin)).wrong.map((text) => `after the other has left: ${text}`));
  wrong.push(...ended(await move(world, "out", twin), "out"));
  for (const one of [moved, twin]) wrong.push(...(await noneCarried(world, one)).wrong);
  await stage.stop();
  wrong.push(...stage.harm({ from: stage.from, to: systemClock.wall() }));
  const measured = entered.map(told).join("; ");
  return { wrong, measured, seconds: (systemClock.now() - began) / 1_000, logs: world.tails() };
}

/** Names are answered by nobody while the process moves. */
export function playSlowNames(framework: Framework): Promise<Outcome> {
  return playTrip({ framework, asksNames: true }, ({ world }) => world.silenceNames());
}

function told({ seconds, steps }: MoveEnd): string {
  return `${seconds.toFixed(1)} s (${steps.join(", ")})`;
}
