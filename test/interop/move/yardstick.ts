/**
 * The yardstick: what consumers lose when a provider leaves, when one is killed, and when the registry is killed and comes back, on this very
 * ZooKeeper without dualmesh; and the same with both providers moved into the mesh, which may lose no more. What was under way at a
 * provider that is killed is lost either way and does not count.
 */
import { sleep, systemClock } from "@dualmesh/base/clock";
import { callsOf, describeCalls, lostDuring, lostNotInFlight, type Span } from "../calls.ts";
import { move } from "./mover.ts";
import { ended, type Outcome } from "./outcome.ts";
import type { Framework } from "./plan.ts";
import { Stage } from "./stage.ts";
import { allCarried } from "./way.ts";
import type { World } from "./world.ts";

const disturbances = ["the registry is killed and comes back", "a provider leaves", "a provider is killed"] as const;
type Disturbance = (typeof disturbances)[number];

interface Disturbed {
  readonly disturbance: Disturbance;
  readonly span: Span;
  /** While it died; nothing died that was called when the two are the same. */
  readonly dying: Span;
}

/** Calls that were lost and had not been under way at who was killed, by caller, with all lost ones beside them. */
interface Losses {
  readonly counted: number;
  readonly all: number;
  readonly first: string;
}

const registryAwayMs = 3_000;
const feltMs = 6_000;
const leaveMs = 30_000;

export async function playYardstick(framework: Framework): Promise<Outcome> {
  const began = systemClock.now();
  const without = await disturb(framework, false);
  const moved = await disturb(framework, true);
  const measured: string[] = [];
  const wrong = [...without.wrong, ...moved.wrong];
  for (const disturbance of disturbances) {
    for (const caller of ["sdk", "mesh"]) {
      const key = `${disturbance}, ${caller}`;
      const [before, after] = [without.losses.get(key), moved.losses.get(key)];
      if (before === undefined || after === undefined) continue;
      measured.push(`${key}: ${before.counted} (${before.all}) without, ${after.counted} (${after.all}) moved`);
      if (after.counted > before.counted)
        wrong.push(`${key}: ${after.counted} calls lost, ${before.counted} without dualmesh; first\n${after.first}`);
    }
  }
  const seconds = (systemClock.now() - began) / 1_000;
  return { wrong, measured: measured.join("; "), seconds, logs: `${without.logs}\n${moved.logs}` };
}

export async function disturb(framework: Framework, moved: boolean) {
  await using stage = await Stage.open({ framework, providers: 3, twin: true });
  const { world } = stage;
  const wrong: string[] = [];
  if (moved) {
    const ends = await Promise.all(world.applications.map((one) => move(world, "in", one)));
    wrong.push(...ends.flatMap((end) => ended(end, "in")));
    const carried = await Promise.all(world.applications.map((one) => allCarried(world, one)));
    wrong.push(...carried.flatMap((one) => one.wrong));
  }
  const disturbed = [
    await during("the registry is killed and comes back", () => killRegistry(world)),
    await during("a provider leaves", () => world.moved.program.end(leaveMs)),
    await during("a provider is killed", () => world.twin.program.end()),
  ];
  await stage.stop();
  const losses = new Map(disturbed.flatMap((one) => lossesOf(world, one)));
  return { losses, wrong, logs: world.tails() };
}

async function killRegistry(world: World): Promise<void> {
  await world.killServer(0);
  await sleep(systemClock, registryAwayMs);
  await world.startServer(0);
}

async function during(disturbance: Disturbance, play: () => Promise<void>): Promise<Disturbed> {
  const from = systemClock.wall();
  await play();
  const played = systemClock.wall();
  await sleep(systemClock, feltMs);
  const dying = disturbance === "a provider is killed" ? { from, to: played } : { from: 0, to: 0 };
  return { disturbance, span: { from, to: systemClock.wall() }, dying };
}

function lossesOf(world: World, { disturbance, span, dying }: Disturbed): readonly (readonly [string, Losses])[] {
  return world.callers
    .filter(({ service }) => service === world.framework.provided)
    .map(({ name, program }) => {
      // What is still under way when the next thing happens is judged there.
      const lost = lostDuring(callsOf(program), span).filter(({ at, ms }) => at + ms < span.to);
      const counted = lostNotInFlight(lost, dying);
      const losses = { counted: counted.length, all: lost.length, first: describeCalls(counted) };
      return [`${disturbance}, ${name}`, losses] as const;
    });
}
