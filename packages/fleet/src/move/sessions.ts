/**
 * The cut of a process's registry connections, and the wait until its sessions stand again, on the other way. The client library sees a
 * lost connection, dials again and resumes the same session; a session that nobody resumes ends after its time, usually 40 s, and with it
 * all that the process registered. So each wait has an end that leaves time to go back.
 */
import { sleep } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Crossing } from "@dualmesh/model/crossing";
import type { FlowAddress } from "../host/host.ts";
import type { ProcessFacts } from "../process/facts.ts";
import { flowText } from "../process/socket-table.ts";
import { addressText, sameText } from "./addresses.ts";
import { isAway, type OneMove } from "./one-move.ts";
import type { MoveRecord } from "./record.ts";

/** Of the 40 s that a session lives a quarter is left for the way back. Reverse name resolution may hold a client up for ten seconds. */
const returnMs = 30_000;
/** A client library that has lost a session's connection dials again long before this. */
const closedMs = 10_000;
const lookMs = 250;
/** Sessions that stand for so long do not wait for anything else. */
const stillMs = 500;
/** A connection that has come since the cut is led by the rule; its session shows when the door has learnt what it owns (up to 5 s). */
const cutAgainMs = 8_000;

/** The registry connections of a process: those whose sessions come through the doors, and the others. */
interface Standing {
  readonly led: readonly FlowAddress[];
  readonly others: readonly FlowAddress[];
}

function standing(record: MoveRecord, facts: ProcessFacts, crossing: Crossing | undefined): Standing {
  const servers = new Set(record.servers.map(sameText));
  const flows = facts.connections.filter(({ remote }) => servers.has(addressText(remote)));
  const sessions = crossing?.sessions.filter(({ connected }) => connected) ?? [];
  const throughDoors = new Set(sessions.map(({ remote }) => sameText(remote)));
  const isLed = ({ local }: FlowAddress): boolean => throughDoors.has(addressText(local));
  return { led: flows.filter(isLed), others: flows.filter((flow) => !isLed(flow)) };
}

/** The sessions of this process in its crossing; undefined for all of them, those to come included, when nobody else comes through. */
export async function ownSessions(move: OneMove, crossing: Crossing): Promise<readonly string[] | undefined> {
  if (move.record.exclusive) return undefined;
  const { led } = standing(move.record, await move.facts(), crossing);
  const locals = new Set(led.map(({ local }) => addressText(local)));
  return crossing.sessions.filter(({ remote }) => locals.has(sameText(remote))).map(({ id }) => id);
}

/** Whether all that was moved is in the mesh still: a way out that could not be written down may have led some of it out. */
export async function areInMesh(move: OneMove): Promise<boolean> {
  const { crossing } = await move.crossing();
  if (crossing === undefined) return false;
  const { begun, done, state } = move.record;
  const moved = state === "entering" ? done : begun;
  const own = await ownSessions(move, crossing);
  const isOwn = (id: string): boolean => own === undefined || own.includes(id);
  const provided = crossing.registrations.filter(({ session, bypassed }) => isOwn(session) && bypassed === "");
  const consumers = crossing.sessions.filter(({ id, connected }) => isOwn(id) && connected);
  return (
    (!moved.includes("provide") || provided.every((one) => one.state === "mesh")) &&
    (!moved.includes("consume") || consumers.every(({ consumes }) => consumes === "mesh"))
  );
}

/**
 * Cuts what does not come through the doors, and waits until as many sessions do. Resolves to how many these are: none for a move that was
 * in already and whose process has no connection to its registry any more.
 */
export async function leadThrough(move: OneMove, signal: AbortSignal): Promise<number> {
  const { clock } = move.world;
  const host = await move.host();
  const begun = clock.now();
  /** When each connection that is not led was first seen. */
  const seen = new Map<string, number>();
  let expected: number | undefined;
  let hasStood = false;
  let since = begun;
  for (;;) {
    signal.throwIfAborted();
    const { crossing } = await move.crossing(signal);
    const { led, others } = standing(move.record, await move.facts(), crossing);
    const now = clock.now();
    const isFirst = expected === undefined;
    expected ??= Math.max(1, led.length + others.length);
    const late = others.filter((flow) => isFirst || now - (seen.get(flowText(flow)) ?? now) >= cutAgainMs);
    if (late.length > 0) {
      await host.cut(late);
      for (const flow of late) seen.delete(flowText(flow));
    }
    for (const flow of others) if (!late.includes(flow)) seen.set(flowText(flow), seen.get(flowText(flow)) ?? now);
    if (led.length < expected || others.length > 0) since = now;
    else if (now - since >= stillMs) return led.length;
    hasStood ||= led.length + others.length > 0;
    if (!hasStood && now - begun >= closedMs && move.record.state !== "entering") return 0;
    if (now - begun >= returnMs) throw notBack(move, `${led.length} of its ${expected} sessions came`, "the doors");
    await sleep(clock, lookMs, signal);
  }
}

/**
 * Waits until the sessions that were led through the doors stand there: what they own can be asked for only then, and a sidecar that was away
 * for a moment has lost them all.
 */
export async function areThrough(move: OneMove): Promise<void> {
  const { clock } = move.world;
  const begun = clock.now();
  /** When a connection to its registry was last there, on whichever way. */
  let lastStood = begun;
  for (;;) {
    const { crossing } = await move.crossing();
    if (crossing === undefined) return;
    const { led, others } = standing(move.record, await move.facts(), crossing);
    const now = clock.now();
    const waited = now - begun;
    if (led.length >= move.record.sessions) return;
    // The application may have closed one that it needs no more, or all of them.
    if (led.length > 0 && others.length === 0 && waited >= closedMs) return;
    if (led.length + others.length > 0) lastStood = now;
    else if (now - lastStood >= closedMs) return;
    if (waited >= returnMs)
      throw notBack(move, `${led.length} of its ${move.record.sessions} sessions came`, "the doors");
    await sleep(clock, lookMs);
  }
}

/** The rule is gone: cuts what comes through the doors, and waits until nothing does and it is connected to its servers. */
export async function leadBack(move: OneMove): Promise<void> {
  const { clock } = move.world;
  const host = await move.host();
  const begun = clock.now();
  let expected: number | undefined;
  let hasStood = false;
  let since = begun;
  for (;;) {
    const crossing = await ifThere(move);
    const isAlone = crossing === "away";
    const { led, others } = standing(move.record, await move.facts(), isAlone ? undefined : crossing);
    // Without a sidecar nobody says which came through its doors: all that stand are cut once, some of them for nothing.
    const through = isAlone && expected === undefined ? others : led;
    if (through.length > 0) await host.cut(through);
    expected ??= Math.max(1, through.length);
    const now = clock.now();
    const comesThrough = through.length > 0 || (!isAlone && move.record.exclusive && (crossing?.connections ?? 0) > 0);
    if (comesThrough || others.length < expected) since = now;
    else if (now - since >= stillMs) return;
    // It has closed its registry clients, and there is nothing to lead.
    hasStood ||= led.length + others.length > 0;
    if (!hasStood && now - begun >= closedMs) return;
    if (now - begun >= returnMs) {
      if (comesThrough) throw notBack(move, "its connections still came", "the sidecar's doors");
      const text = `has fewer connections to its registry than before; nothing of dualmesh stands in their way`;
      return move.note(`process ${move.record.process.pid} ${text}`);
    }
    await sleep(clock, lookMs);
  }
}

async function ifThere(move: OneMove): Promise<Crossing | undefined | "away"> {
  if (!(await move.world.sidecars.answers(move.record))) return "away";
  try {
    // Not asked for again: it may be away for good, and the process must get back to its registry all the same.
    const { crossings } = await move.world.control(move.record).list();
    return crossings.find(({ name }) => name === move.record.name);
  } catch (error) {
    if (isAway(error)) return "away";
    throw error;
  }
}

function notBack(move: OneMove, what: string, where: string): MeshError {
  const { pid } = move.record.process;
  return new MeshError(
    "move.not-back",
    `within ${returnMs / 1_000} s ${what} through ${where} for process ${pid}: look into its log for what its registry client says, and see that names resolve where it runs`,
    { pid },
  );
}
