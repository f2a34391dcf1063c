/**
 * The way out, which is also how a way in is undone; and the two ways of a move whose sidecar is away: set aside, when the host takes its
 * place, and back. Whoever fails on these ways leaves a record that says where, and they are gone again.
 */
import { sleep } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import type { CrossingStepArguments } from "@dualmesh/model/crossing";
import { attendIn, attendOut } from "./attend.ts";
import { forward } from "./forwarding.ts";
import { inwardSteps } from "./inward.ts";
import { isAway, isGone, type OneMove, type StepWork } from "./one-move.ts";
import type { MoveRecord } from "./record.ts";
import { areThrough, leadBack } from "./sessions.ts";
import { type AsideStep, type OutwardStep, type ReturnStep, stepsAside, stepsOut, stepsReturn } from "./steps.ts";

/** Both addresses stand side by side for so long when a move is undone: calls are to go the old way within ten seconds. */
const undoOverlapMs = 2_500;
/** Dubbo 3 takes a change up to five seconds later, and then its longest call may still be under way. */
const lingerMs = 15_000;
/** SDKs keep some connections open long after they use them no more; the sidecar goes on with them for a while. */
const longestLingerMs = 60_000;
const lookMs = 1_000;
/** A session lives 40 s without a connection; a client that is held up by names comes back after twelve. */
const sessionsBackMs = 20_000;
const sessionsLookMs = 250;

export type OutwardEnd = "out" | "forwarded";

/** Takes back what was begun. `forwarded` when the sidecar is away and calls may have gone through it. */
export async function goOut(move: OneMove): Promise<OutwardEnd> {
  const steps = stepsOut(move.record.begun).filter((step) => !move.record.done.includes(step));
  const swaps = steps.filter((step) => step === "consume-back" || step === "provide-back");
  try {
    await swapBack(move, swaps);
  } catch (error) {
    if (!isAway(error)) throw error;
    await setAside(move, messageOf(error));
    return "forwarded";
  }
  const backAt = move.world.clock.now();
  const rest: Readonly<Partial<Record<OutwardStep, StepWork>>> = {
    release: () => release(move),
    "cut-back": () => leadBack(move),
    linger: () => linger(move, backAt),
    close: () => close(move),
    "end-sidecar": () => endSidecar(move),
  };
  const attending = steps.includes("linger") ? attendOut(move, () => forward(move)) : undefined;
  try {
    for (const step of steps) {
      // Nobody needs it any more, and it must not be started again.
      if (step === "close" || step === "end-sidecar") await attending?.end();
      const work = rest[step];
      if (work !== undefined) await move.step(step, work);
    }
  } finally {
    await attending?.end();
  }
  return "out";
}

/** One after the other, with all the time that callers may need; side by side and soon when calls have become worse. */
async function swapBack(move: OneMove, swaps: readonly OutwardStep[]): Promise<void> {
  const { name, state } = move.record;
  const back: CrossingStepArguments = { name, to: "direct" };
  if (swaps.length > 0) {
    await leadAgain(move);
    await areThrough(move);
  }
  const swap = (step: OutwardStep, asked: CrossingStepArguments): Promise<void> =>
    move.step(step, async () => {
      try {
        await (step === "provide-back" ? provideBack : consumeBack)(move, asked);
      } catch (error) {
        if (!isMeshError(error, "crossing.unknown")) throw error;
      }
    });
  if (state !== "undoing") {
    for (const step of swaps) await swap(step, back);
    return;
  }
  const ends = await Promise.allSettled(swaps.map((step) => swap(step, { ...back, overlapMs: undoOverlapMs })));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

/**
 * A sidecar that has just come back knows of a registration again when its session has come through the doors: a step back that found none
 * has done nothing, and once the rule is gone nobody could do it any more.
 */
async function provideBack(move: OneMove, asked: CrossingStepArguments): Promise<void> {
  const { clock } = move.world;
  const begun = clock.now();
  for (;;) {
    const { registrations } = await move.ask((control) => control.provide(asked));
    const left = move.record.published.filter(
      ({ service, direct }) =>
        !registrations.some((one) => one.service === service && one.appPort === direct.port && one.state === "direct"),
    );
    const [first] = left;
    if (first === undefined) return;
    await move.facts();
    if (clock.now() - begun >= sessionsBackMs)
      return move.note(
        `${first.service} was not seen to come back within ${sessionsBackMs / 1_000} s: has its process withdrawn it?`,
      );
    await sleep(clock, sessionsLookMs);
  }
}

async function consumeBack(move: OneMove, asked: CrossingStepArguments): Promise<void> {
  await move.ask((control) => control.consume(asked));
}

/**
 * Only sessions that come through the doors can be swapped back: a rule that somebody else took away is put in force again first. Where there are no
 * doors, a way out that could not be written down has closed them, and nothing is left to swap.
 */
async function leadAgain(move: OneMove): Promise<void> {
  if ((await move.hasRule()) || (await move.crossing()).crossing === undefined) return;
  move.note("the rule that leads to the sidecar was taken away by somebody else, and is put in force again");
  const { signal } = new AbortController();
  for (const step of ["rule", "cut"] as const) await inwardSteps[step]({ move, signal, watch: undefined });
}

async function release(move: OneMove): Promise<void> {
  await (await move.host()).release(move.record.name);
}

async function linger(move: OneMove, backAt: number, signal?: AbortSignal): Promise<void> {
  const { clock, sidecars, log } = move.world;
  for (;;) {
    const waited = clock.now() - backAt;
    if (waited >= longestLingerMs) return;
    if (waited >= lingerMs) {
      const callers = await sidecars.callers(move.record).catch((error) => {
        log.warn({ error: messageOf(error) }, "it cannot be seen who still calls the published ports");
        return 0;
      });
      if (callers === 0) return;
    }
    await sleep(clock, lookMs, signal);
  }
}

/** What a sidecar that is away keeps is closed later, for which the record stays. */
async function close(move: OneMove): Promise<void> {
  const { name, sidecar, state } = move.record;
  try {
    await move.ask((control) => control.close({ name }));
  } catch (error) {
    if (isMeshError(error, "crossing.unknown")) return;
    if (!isAway(error)) throw error;
    if (!(await move.world.sidecars.keepsState(move.record))) return;
    await move.change({ ended: state === "undoing" ? "undone" : "out" });
    move.note(`the sidecar at ${sidecar.state} is away: the crossing ${name} is closed when it answers again`);
  }
}

async function endSidecar(move: OneMove): Promise<string> {
  // Left by a time in which the sidecar was away: it takes no more calls now.
  await (await move.host()).unforward(move.record.name);
  await move.startEnded();
  const { own, state } = move.record.sidecar;
  if (own === undefined) return `the sidecar at ${state} goes on: no move has started it`;
  return await move.world.sidecars.end(move.record, "in order");
}

/** The sidecar is away: its callers arrive at the application itself, and the application at its registry. */
export async function setAside(move: OneMove, failed: string): Promise<void> {
  await move.become("forwarded", { failed });
  await goAside(move);
}

/** True for a move all of which is set aside. */
export function isAside({ state, done }: MoveRecord): boolean {
  return state === "forwarded" && stepsAside.every((step) => done.includes(step));
}

/** What is left of setting it aside. */
export async function goAside(move: OneMove): Promise<void> {
  const work: Readonly<Record<AsideStep, () => Promise<void>>> = {
    forward: () => forward(move),
    release: () => release(move),
    "cut-back": async () => {
      await leadBack(move);
      await readAgain(move);
    },
  };
  for (const step of stepsAside) if (!move.record.done.includes(step)) await move.step(step, work[step]);
  await move.change({});
}

/** It was shown stand-ins, and nothing in its registry has changed since: some clients would find that out only after ten seconds. */
async function readAgain(move: OneMove): Promise<void> {
  if (!move.record.begun.includes("consume") || move.record.lists.length === 0) return;
  try {
    await move.world.touchLists(move.record);
  } catch (error) {
    if (!isMeshError(error)) throw error;
    move.note(`its lists could not be touched, and it reads them again in its own time: ${error.message}`);
  }
}

/**
 * The sidecar answers again: the way in once more, as far as it was gone. For a move that is wanted out only the sessions come through the
 * doors, since only there they can be swapped back. False when it was set aside again.
 */
export async function comeBack(move: OneMove): Promise<boolean> {
  const { wanted, begun, state, name } = move.record;
  const stop = new AbortController();
  const { signal } = stop;
  await move.change({ done: [], step: "" });
  const work = async (step: ReturnStep): Promise<void> => {
    if (step === "provide-back") return provideBack(move, { name, to: "direct" });
    if (step === "consume-back") return consumeBack(move, { name, to: "direct", overlapMs: 0 });
    if (step === "linger") return linger(move, move.world.clock.now(), signal);
    if (step === "unforward") return (await move.host()).unforward(name);
    return inwardSteps[step]({ move, signal, watch: undefined });
  };
  const all = stepsReturn(wanted === "in" ? begun : [], state === "forwarded");
  // What is wanted out keeps the host's rule until nobody needs it.
  const steps = wanted === "in" ? all : all.filter((step) => step !== "unforward");
  // It may die once more, and some of these steps ask nothing of it for a long time.
  const attending = attendIn(move, stop);
  try {
    for (const step of steps) {
      signal.throwIfAborted();
      await move.step(step, () => work(step));
    }
  } catch (error) {
    await attending.end();
    if (isGone(error)) throw error;
    await setAside(move, messageOf(error));
    return false;
  } finally {
    await attending.end();
  }
  return true;
}
