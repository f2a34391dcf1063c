/**
 * Upgrades of a sidecar under load: the load alone, then one upgrade after the other with the same load, each a window of its own. The load is open: a call
 * is due when it is due, whatever became of the one before, and counts from then on.
 */
import { readFileSync } from "node:fs";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { Scope } from "@dualmesh/base/scope";
import { startDualmeshFor } from "../dataplane/dualmesh.ts";
import { type Place, startEcho } from "../dataplane/load.ts";
import { cpuSeconds, say } from "../dataplane/process.ts";
import type { Work } from "../options.ts";
import { Callers } from "./callers.ts";
import type { UpgradeOptions } from "./options.ts";
import { goalLines, isSound, makeRow, tableHead, tableLine, type UpgradeRow } from "./row.ts";
import { type SeenUpgrade, UpgradedSidecar } from "./upgrade.ts";

/** A new process compiles what is called often, and opens its connections to providers. */
const warmUpSeconds = 5;
/** After the old process is gone: what the new one is slow with at first belongs to the upgrade. */
const settleSeconds = 1;
/** Of a process, beside the connections of the callers. */
const otherFiles = 256;

/** Resolves with whether no call failed and no connection was closed. */
export async function measureUpgrades(
  options: UpgradeOptions,
  signal: AbortSignal,
  emit: (row: UpgradeRow) => void,
): Promise<boolean> {
  checkOpenFiles(options.connections);
  await using scope = new Scope();
  const providers = await Promise.all(
    options.works.map(async (work) => ({ work, port: (await startEcho(scope, work)).port })),
  );
  const { sidecar, places } = await startDualmeshFor(scope, providers);
  const upgraded = new UpgradedSidecar(scope, sidecar);
  const { connections, rate, works, upgrades } = options;
  const callers = await Callers.open(scope, { rate, targets: targetsOf(options, places) });
  say(`${connections} connections (${works.join(", ")}), ${rate} calls a second, ${upgrades} upgrades\n${tableHead}`);
  // Every connection has its turn in each window.
  const round = connections / rate;
  const pass = (seconds: number): Promise<void> => sleep(systemClock, seconds * 1_000, signal);
  await pass(Math.max(warmUpSeconds, 2 * round));
  void callers.begin("before");
  const cpu = cpuSeconds(upgraded.pid);
  const began = systemClock.now();
  await pass(Math.max(options.seconds, round));
  const busyBefore = (cpuSeconds(upgraded.pid) - cpu) / ((systemClock.now() - began) / 1_000);
  const seen: SeenUpgrade[] = [];
  for (let index = 1; index <= upgrades; index++) {
    signal.throwIfAborted();
    const former = callers.begin("during");
    const one = await upgraded.upgrade();
    await pass(Math.max(settleSeconds, round));
    seen.push(one);
    say(tableLine(index === 1 ? "before" : "between", await former));
    say(tableLine(`upgr. ${index}`, await callers.begin("between"), one));
    await pass(options.pauseSeconds);
  }
  const row = makeRow({ options, seen, end: await callers.end(), busyBefore });
  for (const line of goalLines(row)) say(line);
  emit(row);
  return isSound(row);
}

/** As even as can be, the first works having what is left over. */
function targetsOf({ works, connections }: UpgradeOptions, places: ReadonlyMap<Work, Place>) {
  return works.map((work, index) => ({
    work,
    place: places.get(work) as Place,
    connections: Math.floor((connections + works.length - 1 - index) / works.length),
  }));
}

/** Throws `bench.limit`. A process of the sidecar has its own connections, and copies of those that are on their way. */
function checkOpenFiles(connections: number): void {
  const allowed = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  const needed = 2 * connections + otherFiles;
  if (allowed === undefined || allowed === "unlimited" || Number(allowed) >= needed) return;
  throw new MeshError(
    "bench.limit",
    `--connections: ${connections} take up to ${needed} open files in one process, and ${allowed} are allowed here: ask for at most ${Math.floor((Number(allowed) - otherFiles) / 2)}, or allow more (ulimit -n ${needed})`,
  );
}
