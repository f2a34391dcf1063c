/**
 * Where a process of an upgrade is killed: every step of the product's own table, once the old and once the new one, plain and under `--supervised`; and what
 * is to be seen then. Whoever is left serves, nothing is heard twice, nothing hangs; and while the new process has not said that it goes on,
 * its death costs nothing at all.
 */
import { existsSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { messageOf } from "@dualmesh/base/errors";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import { boltRequest, Peer } from "@dualmesh/sidecar/request/testing";
import type { UpgradeStep } from "@dualmesh/sidecar/upgrade/steps";
import { eventually } from "../hostile/world.ts";
import type { LoadEnd } from "./load.ts";
import { rpcName } from "./rpc-caller.ts";
import { isAlive, SidecarProcess } from "./sidecar-process.ts";
import { UpgradeWorld } from "./world.ts";

/** What the death costs. */
type Cost =
  | "nothing" /* the old process serves on, with every connection */
  | "its connections" /* the other one serves, and callers connect again */
  | "what it owed"; /* the connections are the new one's; calls that the old one had sent are answered with an error, and exchanges of HTTP broken off */

export interface Death {
  readonly step: UpgradeStep;
  readonly side: "old" | "new";
  /** As fault.ts has it. */
  readonly place: string;
  readonly cost: Cost;
  /** The new process is slow to hear of it; plain only. */
  readonly slow?: boolean;
  /** Nobody but a supervising parent could serve then. */
  readonly onlySupervised?: boolean;
}

export const deaths: readonly Death[] = [
  { step: "start", side: "old", place: "load", cost: "its connections" },
  { step: "start", side: "old", place: "hello", cost: "its connections" },
  { step: "greet", side: "old", place: "say listener", cost: "its connections" },
  { step: "listen", side: "old", place: "said every listener", cost: "its connections" },
  { step: "suspend", side: "old", place: "say take-up", cost: "its connections" },
  { step: "take-up", side: "old", place: "share", cost: "its connections" },
  { step: "share", side: "old", place: "shared", cost: "its connections" },
  { step: "freeze", side: "old", place: "frozen", cost: "its connections" },
  { step: "commit", side: "old", place: "said commit", cost: "what it owed" },
  { step: "commit", side: "old", place: "said commit", slow: true, cost: "what it owed" },
  { step: "commit", side: "old", place: "surrender", cost: "what it owed" },
  { step: "relay", side: "old", place: "relay", cost: "what it owed" },
  { step: "end", side: "old", place: "say end", cost: "what it owed" },
  { step: "end", side: "old", place: "said end", cost: "nothing" },
  { step: "start", side: "new", place: "hello", cost: "nothing" },
  { step: "greet", side: "new", place: "greeted", cost: "nothing" },
  { step: "listen", side: "new", place: "inherit", cost: "nothing" },
  { step: "suspend", side: "new", place: "heard take-up", cost: "nothing" },
  { step: "take-up", side: "new", place: "say ready", cost: "nothing" },
  { step: "take-up", side: "new", place: "said ready", cost: "nothing" },
  { step: "share", side: "new", place: "took connections", cost: "nothing" },
  { step: "freeze", side: "new", place: "took states", cost: "nothing" },
  { step: "commit", side: "new", place: "heard commit", cost: "nothing" },
  { step: "commit", side: "new", place: "commit", cost: "its connections" },
  { step: "relay", side: "new", place: "relay", cost: "its connections" },
  { step: "end", side: "new", place: "end", cost: "its connections", onlySupervised: true },
];

/** Plain and supervised. */
export const allDeaths: readonly { readonly death: Death; readonly supervised: boolean }[] = [false, true].flatMap(
  (supervised) =>
    deaths
      .filter(({ onlySupervised, slow }) => (supervised ? slow : onlySupervised) !== true)
      .map((death) => ({ death, supervised })),
);

export interface DeathEnd extends LoadEnd {
  /** Milliseconds from the death to the first answer on a new connection. */
  readonly backMs: number;
  readonly outcome: string;
  readonly faults: readonly string[];
}

export function nameOf({ step, side, place, slow = false }: Death, supervised: boolean): string {
  return `${step}: the ${side} process dies (${place}${slow ? ", and the new one is slow" : ""}), ${supervised ? "supervised" : "plain"}`;
}

/** Figures are printed; the limits are for machines that do other things as well. */
const backLimitMs = 3_000;
const loadLimitMs = 15_000;
const afterMs = 700;

/** Plays one death under load. `faults` is empty when everything was as it should be. */
export async function playDeath(death: Death, supervised: boolean, seed: number): Promise<DeathEnd> {
  const { side, place } = death;
  const isOld = side === "old";
  await using world = await UpgradeWorld.open({
    supervised,
    seed,
    fault: `${death.slow ? "old-before-slow" : side}:${place}:kill`,
    // Under a parent the program may be the bundle, in which nothing can be planted: what is to die is started by an upgrade.
    faultAtOnce: isOld && !supervised,
  });
  const { sidecar } = world;
  if (isOld && supervised) await sidecar.upgrade(SidecarProcess.program({ fault: true }));
  const load = await world.load({ size: 0.5, slowMs: 800 });
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  const before = sidecar.pid;
  const upgrading = sidecar.upgrade(SidecarProcess.program({ fault: !isOld || death.slow === true })).then(
    () => "upgraded",
    (error: unknown) => messageOf(error),
  );
  const backMs = isOld ? await untilGoneAndBack(sidecar, before) : 0;
  const outcome = await upgrading;
  const back = isOld ? backMs : await untilAnswered(sidecar);
  const faults: string[] = [];
  await eventually("it can be told what to do", () => isTold(sidecar), 10_000);
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  faults.push(...(await inOrder(world, { before, supervised, isOldLeft: !isOld && death.step !== "end" })));
  const end = await load.end();
  faults.push(...end.broken.slice(0, 10));
  if (death.cost === "nothing") faults.push(...end.lost.slice(0, 10));
  // An exchange of HTTP that was under way is still the old process's.
  if (death.cost === "what it owed")
    faults.push(...end.lost.filter((text) => /^(bolt|dubbo|conversation).*(closed|broke off)/.test(text)).slice(0, 10));
  if (back > (place === "load" ? loadLimitMs : backLimitMs))
    faults.push(`it took ${back} ms until a new caller was answered`);
  faults.push(...(await again(world)));
  return { ...end, backMs: back, outcome, faults };
}

async function untilGoneAndBack(sidecar: SidecarProcess, pid: number): Promise<number> {
  await eventually("the old process has died", () => !isAlive(pid), 60_000);
  return untilAnswered(sidecar);
}

/** A caller that comes now, and again if it is turned away. */
async function untilAnswered({ ports }: SidecarProcess): Promise<number> {
  const began = performance.now();
  await eventually("a new caller is answered", () => isAnswered(ports.outbound), 20_000);
  return Math.round(performance.now() - began);
}

/** One call to a service that is known everywhere, and whose provider takes no note of it. */
async function isAnswered(port: number): Promise<boolean> {
  const socket = net.connect({ host: "127.0.0.1", port });
  const peer = new Peer(socket);
  peer.send(boltRequest({ id: 1, service: `${rpcName}:1.0`, body: Buffer.from("[[999999 0 0 0]]") }));
  const limit = performance.now() + 5_000;
  while (peer.frames.length === 0 && !peer.closed && performance.now() < limit)
    await new Promise((resolve) => setTimeout(resolve, 5));
  socket.destroy();
  return peer.frames[0]?.status === 0;
}

async function isTold(sidecar: SidecarProcess): Promise<boolean> {
  try {
    await callControl(controlPath(sidecar.state), "status", {}, { timeoutMs: 2_000 });
    return true;
  } catch {
    return false;
  }
}

interface Expected {
  readonly before: number;
  readonly supervised: boolean;
  readonly isOldLeft: boolean;
}

/** One process, which has the state directory. */
async function inOrder(
  { sidecar }: UpgradeWorld,
  { before, supervised, isOldLeft }: Expected,
): Promise<readonly string[]> {
  const faults: string[] = [];
  const { pid } = await sidecar.report();
  await eventually("one process is left", () => sidecar.processes().length === 1, 10_000);
  const all = sidecar.processes();
  if (all.length !== 1 || all[0] !== pid)
    faults.push(`${pid} serves, and ${supervised ? "the parent's children are" : "there are"} ${all.join(", ")}`);
  if (isOldLeft !== (pid === before)) faults.push(`${pid} serves, and the old process was ${before}`);
  if (existsSync(join(sidecar.state, "upgrade.sock"))) {
    // Of a process that was killed; whoever upgrades next removes it.
    if (isOldLeft) faults.push("the socket of the upgrade was left lying");
  }
  return faults;
}

/** What is left can be upgraded, and then nothing is lost; and it ends in order. */
async function again(world: UpgradeWorld): Promise<readonly string[]> {
  const { sidecar } = world;
  const load = await world.load({ size: 0.25, slowMs: 300 });
  const faults: string[] = [];
  try {
    await sidecar.upgrade();
    await sidecar.report();
  } catch (error) {
    faults.push(`the next upgrade: ${messageOf(error)}`);
  }
  const end = await load.end();
  faults.push(...[...end.broken, ...end.lost].slice(0, 10).map((fault) => `the next upgrade: ${fault}`));
  if (existsSync(join(sidecar.state, "upgrade.sock"))) faults.push("the socket of the upgrade was left lying");
  const code = await sidecar.end();

  if (code !== undefined && code !== 0) faults.push(`it ended with ${code}`);
  return faults;
}
