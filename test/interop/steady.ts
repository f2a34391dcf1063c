/** Consumers that keep calling while something happens around them, and the span in which it could be felt. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { type Call, callsOf, describeCalls, lostDuring, type Span } from "./calls.ts";
import { type Implementation, implementations, serviceOf } from "./plan.ts";
import { eventually, type Program } from "./program.ts";
import type { World } from "./world.ts";

export const [dubbo27, dubbo3, sofarpc] = implementations as readonly [Implementation, Implementation, Implementation];
const callsPerSecond = 50;
/** One of each protocol, whoever provides it. */
export const services = { dubbo: serviceOf(dubbo3, "mesh"), bolt: serviceOf(sofarpc, "mesh"), http: "interop-steady" };

/** A consumer of each SDK behind the consumers' sidecar, calling steadily. */
export async function startPumps(
  world: World,
  callers: readonly Implementation[] = [dubbo27, dubbo3, sofarpc],
): Promise<readonly Program[]> {
  return Promise.all(
    callers.map(async (implementation) => {
      const consumer = await world.startConsumer(implementation, "mesh");
      const service = services[implementation.family];
      await eventually(
        `${consumer.name} reaches its provider`,
        25_000,
        async () => (await consumer.ask(`case reach ${service}`)).ok,
      );
      const answer = await consumer.ask(`pump ${service} ${callsPerSecond}`);
      assert.ok(answer.ok, answer.reason);
      return consumer;
    }),
  );
}

export async function stopPumps(consumers: readonly Program[]): Promise<void> {
  for (const consumer of consumers) {
    const answer = await consumer.ask("stop");
    assert.ok(answer.ok, answer.reason);
  }
}

/** Plays `disturb` amid steady calls, and says from when to when it could be felt. */
export async function during(disturb: () => Promise<void>, afterMs: number): Promise<Span> {
  const from = systemClock.wall();
  await disturb();
  await sleep(systemClock, afterMs);
  return { from, to: systemClock.wall() };
}

export function tellCalls(t: TestContext, consumer: Program): void {
  const calls = callsOf(consumer);
  const lost = calls.filter(({ who }) => who === undefined).length;
  t.diagnostic(`${consumer.name}: ${calls.length} calls, ${lost} lost`);
}

export function assertNoneLost(calls: readonly Call[], span: Span, world: World): void {
  const lost = lostDuring(calls, span);
  assert.equal(lost.length, 0, `${describeCalls(lost)}\n${world.tails()}`);
}

export function assertRate(calls: readonly Call[], span: Span): void {
  const during = calls.filter(({ at }) => at >= span.from && at < span.to);
  const seconds = (span.to - span.from) / 1_000;
  assert.ok(during.length > seconds * callsPerSecond * 0.8, `${during.length} calls in ${seconds} s`);
}
