/** `dualmesh move status`: the moves of this machine. It only reads. */
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import { type GuardSeen, seeGuard } from "@dualmesh/fleet/move/guard-post";
import { areHidden, isAlive, stoppedGroup } from "@dualmesh/fleet/move/processes";
import { controlOf } from "@dualmesh/fleet/move/real-world";
import { isUnfinished, type MoveRecord, type ProcessId } from "@dualmesh/fleet/move/record";
import { openRecords } from "@dualmesh/fleet/move/records";
import { stepText } from "@dualmesh/fleet/move/steps";
import type { Crossing, CrossingFigures } from "@dualmesh/model/crossing";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { printable } from "../printable.ts";
import { unreadableText } from "./find-records.ts";
import { killText, stoppedText } from "./hold.ts";
import { movesPath } from "./privileges.ts";
import { titleOf } from "./tell.ts";

interface MoveStatus {
  readonly record: MoveRecord;
  readonly processLives: boolean;
  readonly moverLives: boolean;
  /** Undefined when it does not answer. */
  readonly sidecar: { readonly crossing: Crossing | undefined; readonly calls: Calls } | undefined;
}

interface Calls {
  readonly inbound: number;
  readonly outbound: number;
  /** Of both, those that the application did not answer. */
  readonly failed: number;
}

export async function runStatus(flags: FlagValues): Promise<number> {
  const moves = movesPath(flags);
  const records = openRecords({ path: moves, clock: systemClock, log: silentLog });
  const all = await Promise.all((await records.list()).map(statusOf));
  const unreadable = await records.unreadable();
  const guard = await seeGuard(moves, systemClock);
  const isGuarded = all.length + unreadable.length > 0;
  const write = (text: string): unknown => process.stdout.write(`${printable(text)}\n`);
  if (flags.has("json")) {
    for (const one of all) write(JSON.stringify(one));
    for (const one of unreadable) write(JSON.stringify({ unreadable: one }));
    if (isGuarded) write(JSON.stringify({ guard }));
  } else {
    if (!isGuarded) write(`no process is moved; the records would be in ${moves}`);
    for (const one of all) write(textOf(one, systemClock.wall()));
    for (const one of unreadable) write(unreadableText(one));
    if (isGuarded) write(guardText(guard, systemClock.wall()));
  }
  return unreadable.length === 0 ? exitCodes.ok : exitCodes.failed;
}

function guardText(guard: GuardSeen, wall: number): string {
  switch (guard.kind) {
    case "at work":
      return `guard: process ${guard.pid}, at work for ${Math.max(0, Math.round((wall - guard.since) / 1_000))} s`;
    case "silent":
      return "guard: it is there and does not answer; end it, and dualmesh move recover starts another";
    case "none":
      return "guard: none is at work, so that nobody has a sidecar back that dies: dualmesh move recover starts one";
  }
}

async function statusOf(record: MoveRecord): Promise<MoveStatus> {
  return {
    record,
    processLives: mayLive(record.process),
    moverLives: mayLive(record.mover),
    sidecar: await sidecarOf(record),
  };
}

/** False only for one that has ended for certain: nobody is asked here who sees more than this user. */
function mayLive(of: ProcessId): boolean {
  return isAlive(of) || areHidden();
}

async function sidecarOf({ sidecar, name }: MoveRecord): Promise<MoveStatus["sidecar"]> {
  try {
    const { crossings, figures } = await controlOf(sidecar.state, systemClock).list();
    return { crossing: crossings.find((one) => one.name === name), calls: callsOf(figures) };
  } catch (error) {
    if (isMeshError(error)) return undefined;
    throw error;
  }
}

function callsOf(figures: readonly CrossingFigures[]): Calls {
  const sum = (count: (figure: CrossingFigures) => number): number =>
    figures.reduce((total, figure) => total + count(figure), 0);
  const all = ({ results }: CrossingFigures): number => Object.values(results).reduce((total, one) => total + one, 0);
  return {
    inbound: sum((figure) => (figure.direction === "inbound" ? all(figure) : 0)),
    outbound: sum((figure) => (figure.direction === "outbound" ? all(figure) : 0)),
    failed: sum((figure) => all(figure) - (figure.results["ok"] ?? 0) - (figure.results["error"] ?? 0)),
  };
}

function textOf({ record, processLives, moverLives, sidecar }: MoveStatus, wall: number): string {
  const { state, step, failed, host, servers, published } = record;
  const lines = [`${titleOf(record)}: ${ageText(record, wall)}${step === "" ? "" : `, at ${step}: ${stepText(step)}`}`];
  if (state === "closing")
    lines.push(
      "it is over; its crossing is closed when its sidecar answers again, and goes with the state directory of one that never will",
    );
  else if (!processLives) lines.push("the process has ended: dualmesh move recover takes away what was made for it");
  else if (isUnfinished(record) && !moverLives)
    lines.push("its mover has died: the guard goes on with it, or dualmesh move recover");
  if (isUnfinished(record)) lines.push(...stoppedLines(record.mover));
  if (failed !== "") lines.push(`why: ${failed}`);
  lines.push(`registry ${servers.join(", ")}; others reach it at ${host}`);
  if (published.length > 0) {
    const ports = published.map(({ service, published: at, direct }) => `${service} at ${at.port} for ${direct.port}`);
    lines.push(`published ${ports.join(", ")}`);
  }
  lines.push(...sidecarLines(record, sidecar));
  return lines.map((line, index) => (index === 0 ? line : `  ${line}`)).join("\n");
}

function stoppedLines(mover: ProcessId): readonly string[] {
  const group = stoppedGroup(mover);
  if (group === undefined) return [];
  return [`its mover, process ${mover.pid}, ${stoppedText(group)}, and it goes on; ${killText(mover.pid)}`];
}

/** How long it has been so. A process that is in stays in while it is mended. */
function ageText({ state, since, cameIn = since }: MoveRecord, wall: number): string {
  const seconds = (from: number): number => Math.max(0, Math.round((wall - from) / 1_000));
  if (state !== "in" || cameIn === since) return `${state} for ${seconds(since)} s`;
  return `in for ${seconds(cameIn)} s, mended ${seconds(since)} s ago`;
}

function sidecarLines({ sidecar: { state } }: MoveRecord, sidecar: MoveStatus["sidecar"]): readonly string[] {
  if (sidecar === undefined) return [`its sidecar at ${state} does not answer, or is another user's`];
  const { crossing, calls } = sidecar;
  const connected = crossing?.sessions.filter((session) => session.connected).length ?? 0;
  return [
    `sidecar ${state}: ${crossing?.connections ?? 0} connections, ${connected} sessions; provides ${crossing?.provides ?? "direct"}, consumes ${crossing?.consumes ?? "direct"}`,
    `calls through it: ${calls.inbound} in, ${calls.outbound} out, ${calls.failed} not answered`,
  ];
}
