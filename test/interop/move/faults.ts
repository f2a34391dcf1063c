/** A sidecar with a planted fault, to which a process is moved: the move must see it, undo itself in time, and say what was wrong. */
import { join } from "node:path";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { callsOf } from "../calls.ts";
import type { Said } from "../program.ts";
import { move } from "./mover.ts";
import { ended, type Outcome } from "./outcome.ts";
import type { Framework } from "./plan.ts";
import { Stage } from "./stage.ts";
import { noneCarried } from "./way.ts";
import type { World } from "./world.ts";

export type Fault = "errors" | "slow";

/** From the first call that the fault harmed to the last. */
const undoLimitMs = 10_000;
const quietMs = 5_000;
const lateMs = 200;
/** A busy machine makes one call late now and then; the fault makes all of them. */
const lateInARow = 3;
const operator = { uid: 4_009, cgroup: undefined, resolver: undefined };
/** What the reason that is given has to name. */
const named: Readonly<Record<Fault, RegExp>> = { errors: /fail|error|%/i, slow: /ms|slow|latency|longer/i };

export async function playFault(framework: Framework, fault: Fault): Promise<Outcome> {
  await using stage = await Stage.open({ framework });
  const { world } = stage;
  const state = await world.startSidecar("faulty-sidecar", world.moved.host, {
    somebody: operator,
    imports: [join(import.meta.dirname, "fault.ts")],
    env: { FAULT: fault },
  });
  const began = systemClock.wall();
  const end = await move(world, "in", world.moved, { before: "5s", watch: "30s", words: ["--state", state] });
  const outside = await noneCarried(world, world.moved);
  await sleep(systemClock, quietMs);
  await stage.stop();
  const harmed = (fault === "errors" ? failed(world) : late(world)).filter((at) => at >= began);
  const [first = 0, last = 0] = [Math.min(...harmed), Math.max(...harmed)];
  const quiet = { from: end.to, to: systemClock.wall() };
  const wrong = [
    ...ended(end, "undone"),
    ...(named[fault].test(end.failed) ? [] : [`what failed is told as: ${end.failed}`]),
    ...(harmed.length === 0 ? ["the fault harmed no call"] : []),
    ...(last - first > undoLimitMs ? [`calls were harmed for ${last - first} ms`] : []),
    ...(fault === "errors" ? stage.harmBesideCalls(quiet) : stage.harm({ from: stage.from, to: quiet.to })),
    ...(harmed.some((at) => at >= quiet.from) ? ["calls were still harmed when it was undone"] : []),
    ...outside.wrong,
  ];
  const measured = `${harmed.length} calls harmed within ${last - first} ms; told: ${end.failed}; ${end.steps.join(", ")}`;
  return { wrong, measured, seconds: end.seconds, logs: world.tails() };
}

/** When calls began that nobody answered. */
function failed(world: World): readonly number[] {
  return world.callers.flatMap(({ program }) =>
    callsOf(program)
      .filter(({ who }) => who === undefined)
      .map(({ at }) => at),
  );
}

/** When calls began that came late among others that came late, where the provider takes no time. */
function late(world: World): readonly number[] {
  return world.callers.flatMap(({ program }) => {
    const calls = program.said.filter((line) => line["of"] === 0);
    return calls.flatMap((call, index) => {
      const around = calls.slice(Math.max(0, index - lateInARow + 1), index + 1);
      return around.length === lateInARow && around.every(isLate) ? [Number(call["call"])] : [];
    });
  });
}

function isLate(line: Said): boolean {
  return Number(line["ms"]) >= lateMs;
}
