/** Many upgrades in a row under a mixed load, of which nothing may be lost, and which may cost neither memory nor descriptors. */

import { upgradeStepNames } from "@dualmesh/sidecar/upgrade/steps";
import { eventually } from "../hostile/world.ts";
import type { LoadEnd } from "./load.ts";
import { type Facts, SidecarProcess } from "./sidecar-process.ts";
import { UpgradeWorld } from "./world.ts";

export interface RowOptions {
  readonly upgrades: number;
  readonly supervised: boolean;
  readonly seed: number;
  readonly each?: (index: number, upgrade: RowUpgrade) => void;
}

export interface RowUpgrade extends Facts {
  readonly moved: number;
  readonly stayed: number;
  readonly cut: number;
  /** Milliseconds: the whole; in which connections stood still; of the old process's loop. */
  readonly ms: number;
  readonly stillMs: number;
  readonly loopMs: number;
}

export interface RowEnd extends LoadEnd {
  readonly upgrades: readonly RowUpgrade[];
  readonly faults: readonly string[];
}

const pauseMs = 300;
/** From here on nothing grows: before, caches fill. */
const judgedFrom = 20;
const growth = 1.1;
const moreDescriptors = 8;

export async function playRow({ upgrades, supervised, seed, each }: RowOptions): Promise<RowEnd> {
  await using world = await UpgradeWorld.open({ supervised, seed });
  const { sidecar } = world;
  const load = await world.load();
  const done: RowUpgrade[] = [];
  const faults: string[] = [];
  const pids = new Set([sidecar.pid]);
  for (let index = 1; index <= upgrades; index++) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    const { moved, stayed, cut, ms, stillMs, loopMs, pid, steps } = await sidecar.upgrade(SidecarProcess.program());
    pids.add(pid);
    const told = steps.map(({ step }) => step);
    if (told.join() !== upgradeStepNames.join()) faults.push(`upgrade ${index} went by ${told}`);
    const upgrade = { moved, stayed: sum(stayed), cut: sum(cut), ms, stillMs, loopMs, ...sidecar.facts() };
    done.push(upgrade);
    each?.(index, upgrade);
  }
  const end = await load.end();
  faults.push(...end.broken, ...end.lost, ...grown(done));
  if (pids.size !== upgrades + 1) faults.push(`${pids.size} processes for ${upgrades} upgrades`);
  await eventually("one process is left", () => sidecar.processes().length === 1, 10_000);
  const code = await sidecar.end();
  if (code !== undefined && code !== 0) faults.push(`it ended with ${code}`);
  return { ...end, upgrades: done, faults: faults.slice(0, 30) };
}

/** The first third of those that are judged against the last. */
function grown(all: readonly RowUpgrade[]): readonly string[] {
  const judged = all.slice(judgedFrom);
  const third = Math.floor(judged.length / 3);
  if (third < 5) return [];
  const [first, last] = [judged.slice(0, third), judged.slice(-third)];
  const faults: string[] = [];
  for (const name of ["rssMib", "pssMib"] as const) {
    const [before, after] = [first, last].map((some) => median(some.map((one) => one[name]))) as [number, number];
    if (after > before * growth) faults.push(`${name} grew from ${before} to ${after}`);
  }
  const [before, after] = [first, last].map((some) => median(some.map((one) => one.descriptors))) as [number, number];
  if (after > before + moreDescriptors) faults.push(`descriptors grew from ${before} to ${after}`);
  return faults;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function sum(counts: Partial<Readonly<Record<string, number>>>): number {
  return Object.values(counts).reduce<number>((total, count) => total + (count ?? 0), 0);
}
