/**
 * Which way calls go: through the application's sidecar, all of them, or none. Without this a move that changed nothing would lose nothing
 * either.
 */
import { sleep, systemClock } from "@dualmesh/base/clock";
import { silentLog } from "@dualmesh/base/log";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import { openRecords } from "@dualmesh/fleet/move/records";
import type { CrossingList } from "@dualmesh/model/crossing";
import type { Call } from "../calls.ts";
import { callsMade } from "./load.ts";
import { movesOf } from "./mover.ts";
import type { Application, World } from "./world.ts";

const windowMs = 2_000;
/** A client of Dubbo 3 takes the second change within 5 s when these are over; slow calls of before end within 1.5 s. */
const patienceMs = 15_000;
/** Of the calls that were made in a window, which ends among calls that are under way. */
const least = 0.8;
const most = 1.25;

export interface Carried {
  readonly wrong: readonly string[];
  /** For people. */
  readonly told: string;
}

/** Resolves when every call goes through the sidecar, or with what does not. */
export async function allCarried(
  world: World,
  application: Application,
  limitMs: number = patienceMs,
): Promise<Carried> {
  return within(limitMs, async () => {
    const state = await stateOf(world, application);
    if (state === undefined) return { wrong: [`no record of a move of ${application.name}`], told: "" };
    const [before, from] = [await figures(state), systemClock.wall()];
    await sleep(systemClock, windowMs);
    const [after, to] = [await figures(state), systemClock.wall()];
    if (before === undefined || after === undefined) return { wrong: ["its sidecar does not answer"], told: "" };
    const { provided } = world.framework;
    const made = { from, to };
    // One sidecar serves all that were moved on its host, and tells their calls together.
    const served = await servedBy(world, state);
    const answered = callsMade(world.callers, made, provided).filter((call) => served.some((one) => isBy(call, one)));
    const programs = new Set(served.map(({ program }) => program));
    const ofServed = world.callers.filter(({ program }) => programs.has(program));
    const called = callsMade(ofServed, made, world.called);
    const ways = [
      { what: "calls to it", seen: grown(before, after, "inbound", provided), of: answered.length },
      { what: "calls by it", seen: grown(before, after, "outbound", world.called), of: called.length },
    ];
    const wrong = ways
      .filter(({ seen, of }) => seen < of * least || seen > of * most || of === 0)
      .map(({ what, seen, of }) => `${seen} of ${of} ${what} went through its sidecar`);
    const addresses = world.recorder.addresses(world.listOf(provided));
    if (addresses.includes(application.address))
      wrong.push(`${application.address} is still in the list of ${provided}`);
    return { wrong, told: ways.map(({ what, seen, of }) => `${seen}/${of} ${what}`).join(", ") };
  });
}

/** Resolves when no call goes through a sidecar of its host, or with what does. */
export async function noneCarried(world: World, application: Application): Promise<Carried> {
  return within(patienceMs, async () => {
    const { provided } = world.framework;
    const addresses = world.recorder.addresses(world.listOf(provided));
    const wrong: string[] = [];
    if (!addresses.includes(application.address))
      wrong.push(`${application.address} is not in the list of ${provided}`);
    const others = addresses.filter((one) => isOn(one, application) && !isOwn(world, one));
    if (others.length > 0) wrong.push(`${others.join(", ")} is in the list of ${provided}`);
    // The consumer's own sidecar listens at the same number on its host: only this host's ends count.
    const before = receivedBytes(application);
    await sleep(systemClock, quietMs);
    const after = receivedBytes(application);
    // SOFA-RPC keeps connections that it does not use any more; what passes over them then are heartbeats.
    const busy = [...after].filter(([ends, bytes]) => bytes - (before.get(ends) ?? 0) > mostOfHeartbeats);
    if (busy.length > 0) wrong.push(`calls pass over ${busy.length} connections at its sidecar`);
    return { wrong, told: "" };
  });
}

const quietMs = 1_000;
/** Every caller calls forty times a second. */
const mostOfHeartbeats = 500;
const sidecarPorts: ReadonlySet<number> = new Set([20_881, 20_882]);

async function within(limitMs: number, look: () => Carried | Promise<Carried>): Promise<Carried> {
  const end = systemClock.now() + limitMs;
  for (;;) {
    const carried = await look();
    if (carried.wrong.length === 0 || systemClock.now() > end) return carried;
    await sleep(systemClock, 100);
  }
}

/** The state directory of the sidecar of its move. */
export async function stateOf(world: World, application: Application): Promise<string | undefined> {
  return (await recordOf(world, application))?.sidecar.state;
}

export async function recordOf(world: World, application: Application): Promise<MoveRecord | undefined> {
  const records = openRecords({ path: movesOf(world), clock: systemClock, log: silentLog });
  return (await records.list()).find(({ process }) => process.pid === application.pid);
}

async function figures(state: string): Promise<CrossingList["figures"] | undefined> {
  try {
    return ((await callControl(controlPath(state), "crossing.list")) as CrossingList).figures;
  } catch {
    return undefined; // it is away for a moment; whoever asks says so at the end
  }
}

function grown(
  before: CrossingList["figures"],
  after: CrossingList["figures"],
  direction: "inbound" | "outbound",
  service: string,
): number {
  const total = (all: CrossingList["figures"]): number =>
    all
      .filter((one) => one.direction === direction && one.service.includes(service))
      .reduce((sum, { counts }) => sum + counts.reduce((one, more) => one + more, 0), 0);
  return total(after) - total(before);
}

function isBy({ who }: Call, { name }: Application): boolean {
  return who?.startsWith(`${name}:`) ?? false;
}

async function servedBy(world: World, state: string): Promise<readonly Application[]> {
  const states = await Promise.all(world.applications.map((one) => stateOf(world, one)));
  return world.applications.filter((_, index) => states[index] === state);
}

function isOn(address: string, { host }: Application): boolean {
  return address.startsWith(`${host.address}:`);
}

function isOwn(world: World, address: string): boolean {
  return world.applications.some((one) => one.address === address);
}

/** Of each connection at a port of the sidecar on its host, the bytes that came in so far. */
function receivedBytes({ host }: Application): ReadonlyMap<string, number> {
  const portOf = (text = ""): number => Number(text.slice(text.lastIndexOf(":") + 1));
  const rows = host.run("ss", "-HtniO", "state", "established").split("\n");
  return new Map(
    rows.flatMap((row) => {
      const [, , local, remote] = row.trim().split(/\s+/);
      const bytes = Number(/ bytes_received:(\d+)/.exec(row)?.[1] ?? 0);
      return sidecarPorts.has(portOf(local)) ? [[`${local} ${remote}`, bytes] as const] : [];
    }),
  );
}
