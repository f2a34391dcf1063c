/**
 * The load under which everything is moved: each caller always has calls under way that take the provider nothing, 400 ms and 1,500 ms, none is
 * made a second time, and each tells how it ended.
 */
import assert from "node:assert/strict";
import { type Call, callsOf, describeCalls, lostDuring, type Span } from "../calls.ts";
import { eventually } from "../program.ts";
import type { Caller } from "./world.ts";

/** Calls a second, and how long the provider takes for each, in milliseconds. */
const pumps = [
  [40, 0],
  [6, 400],
  [3, 1_500],
] as const;
const callsPerSecond = pumps.reduce((sum, [rate]) => sum + rate, 0);
const reachLimitMs = 60_000;

export async function startLoad(callers: readonly Caller[]): Promise<void> {
  await Promise.all(
    callers.map(async ({ name, program, service }) => {
      const reach = async (): Promise<boolean> => (await program.ask(`case reach ${service}`)).ok;
      await eventually(`${name} reaches ${service}`, reachLimitMs, reach);
      for (const [rate, millis] of pumps) {
        const answer = await program.ask(`pump ${service} ${rate} ${millis}`);
        assert.ok(answer.ok, answer.reason);
      }
    }),
  );
}

/** Resolves when the last call has ended. A caller that has ended by itself has nothing more to tell. */
export async function stopLoad(callers: readonly Caller[]): Promise<readonly string[]> {
  const answers = await Promise.all(
    callers.filter(({ program }) => program.running).map(({ program }) => program.ask("stop")),
  );
  return answers.flatMap(({ ok, reason }) => (ok ? [] : [`a caller does not stop: ${reason}`]));
}

export interface Lost {
  readonly caller: string;
  readonly calls: readonly Call[];
}

export function lostBy(callers: readonly Caller[], span: Span): readonly Lost[] {
  return callers
    .map(({ name, program }) => ({ caller: name, calls: lostDuring(callsOf(program), span) }))
    .filter(({ calls }) => calls.length > 0);
}

export function describeLost(lost: readonly Lost[]): readonly string[] {
  return lost.map(({ caller, calls }) => `${caller} lost ${calls.length} calls, first\n${describeCalls(calls)}`);
}

/** Calls that began in the span, of all callers of a service. */
export function callsMade(callers: readonly Caller[], span: Span, service?: string): readonly Call[] {
  return callers
    .filter((caller) => service === undefined || caller.service === service)
    .flatMap(({ program }) => callsOf(program))
    .filter(({ at }) => at >= span.from && at < span.to);
}

/** Callers that did not call as steadily as they should: a call that was never made cannot fail. */
export function slack(callers: readonly Caller[], span: Span): readonly string[] {
  const least = ((span.to - span.from) / 1_000) * callsPerSecond * 0.8;
  return callers.flatMap((caller) => {
    const made = callsMade([caller], span).length;
    return made >= least ? [] : [`${caller.name} made ${made} calls of ${Math.round(least / 0.8)}`];
  });
}
