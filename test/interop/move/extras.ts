/** The cells beside the matrix. `long` ones are played only when the whole is asked for. */
import { playFault } from "./faults.ts";
import { playLocksKept, playSlowNames, playTrip, playTwenty, playTwo } from "./kept.ts";
import {
  playLeaderKilled,
  playMoverKilled,
  playSidecarGone,
  playSidecarKilledAfter,
  playSidecarKilledInTheMiddle,
} from "./killed.ts";
import { type Operator, whyNoOperator } from "./operators.ts";
import type { Outcome } from "./outcome.ts";
import { dubbo3, dubbo27, type Framework, frameworks, sofarpc } from "./plan.ts";
import { playOperator } from "./rights.ts";
import { playYardstick } from "./yardstick.ts";

export interface Extra {
  /** `FRAMEWORK/EXTRA`. */
  readonly name: string;
  readonly long: boolean;
  /** Why it cannot be played here; undefined when it can. */
  readonly missing?: string | undefined;
  readonly play: () => Promise<Outcome>;
}

type Play = (framework: Framework) => Promise<Outcome>;

/** Of these frameworks, the first in every play and the others when the whole is asked for. */
function of(name: string, play: Play, ...whose: readonly Framework[]): readonly Extra[] {
  return whose.map((framework, index) => ({
    name: `${framework.name}/${name}`,
    long: index > 0,
    play: () => play(framework),
  }));
}

function long(extras: readonly Extra[]): readonly Extra[] {
  return extras.map((extra) => ({ ...extra, long: true }));
}

function needs(missing: string | undefined): (extra: Extra) => Extra {
  return (extra) => ({ ...extra, missing });
}

function by(operator: Operator): (framework: Framework) => Promise<Outcome> {
  return (framework) => playOperator(framework, operator);
}

/** What a continuous build picks one of. */
export const faults: readonly Extra[] = [
  ...of("fault-errors", (framework) => playFault(framework, "errors"), dubbo3, sofarpc, dubbo27),
  ...of("fault-slow", (framework) => playFault(framework, "slow"), sofarpc, dubbo27, dubbo3),
];

export const extras: readonly Extra[] = [
  ...of("ensemble", (framework) => playTrip({ framework, servers: 3, providers: 3 }), dubbo27, dubbo3, sofarpc),
  ...of("leader-killed", playLeaderKilled, dubbo3, dubbo27, sofarpc),
  ...of("sidecar-killed-in-the-middle", playSidecarKilledInTheMiddle, sofarpc, dubbo27, dubbo3),
  ...of("sidecar-killed-after", playSidecarKilledAfter, dubbo27, dubbo3, sofarpc),
  ...of("sidecar-gone", playSidecarGone, dubbo3, dubbo27),
  ...of("locks-kept", playLocksKept, sofarpc),
  ...of("slow-dns", playSlowNames, dubbo3, dubbo27, sofarpc),
  ...of("two-processes", playTwo, dubbo3, sofarpc),
  ...faults,
  ...long(of("calls-itself", (framework) => playTrip({ framework, callsItself: true }), sofarpc)),
  ...long(of("without-root-in-its-container", by("container-root"), dubbo3, sofarpc, dubbo27)),
  ...long(of("without-root-in-a-bare-container", by("bare-root"), dubbo27)),
  ...long(of("without-root", by("container-user"), sofarpc, dubbo3, dubbo27)),
  ...long(of("by-sudo", by("sudo"), dubbo27, dubbo3, sofarpc)).map(needs(whyNoOperator("sudo"))),
  ...long(of("yardstick", playYardstick, ...frameworks)),
  ...long(of("mover-killed", playMoverKilled, dubbo3, sofarpc)),
  ...long(of("twenty-moves", playTwenty, dubbo27)),
];
