/** The world of a mover that runs: processes and rules through who holds the privileges, sidecars through their control sockets. */
import { statSync } from "node:fs";
import type { Clock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { Crossing, CrossingList, CrossingStepArguments } from "@dualmesh/model/crossing";
import type { Privileged } from "../host/host.ts";
import { netnsOf } from "../host/namespace.ts";
import { openWatch } from "../watch/watch.ts";
import { addressText } from "./addresses.ts";
import { ensureGuard, guardWords } from "./guard-post.ts";
import { Livenesses } from "./liveness.ts";
import { childOf, OwnSidecars } from "./own-sidecars.ts";
import { lives, processId } from "./processes.ts";
import { touchLists } from "./touch-lists.ts";
import type { MoveRecords, MoveWorld, SidecarControl, SidecarProcesses } from "./world.ts";

export interface RealWorldOptions {
  readonly privileged: Privileged;
  readonly records: MoveRecords;
  /** The moves directory. */
  readonly moves: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Beside the time in which both addresses stand side by side: until every provider of every list is known. */
const stepMs = 45_000;
const defaultOverlapMs = 6_000;
const openMs = 15_000;

export function openRealWorld(options: RealWorldOptions): MoveWorld {
  const { privileged, moves, clock, log } = options;
  const [self, netns] = [processId("self"), netnsOf("self")];
  if (self === undefined || netns === undefined)
    throw new MeshError("move.no-proc", "this process is not in /proc: mount it where dualmesh runs");
  return {
    clock,
    log,
    self,
    lives: (of) => lives(of, privileged),
    async process({ pid, started }) {
      const [facts] = await privileged.facts({ kind: "pid", pid });
      return facts?.started === started ? facts : undefined;
    },
    host: ({ process }) => privileged.host(process.netns),
    control: ({ sidecar }) => controlOf(sidecar.state, clock),
    sidecars: sidecarsOf(options),
    touchLists: (record) => touchLists(record, clock),
    // It knows that of itself without a look at anything.
    checkPrivileges: async () => void (await privileged.host(netns)),
    ensureGuard: ({ process: { netns } }) =>
      ensureGuard(moves, clock, (file) =>
        privileged.start({ netns, user: undefined, words: guardWords(moves), log: file }),
      ),
    openWatch: (asked) => openWatch(asked, { clock, log }),
  };
}

/** A sidecar by its state directory. */
export function controlOf(state: string, clock: Clock): SidecarControl {
  const ask = async (command: string, given: object, timeoutMs: number): Promise<unknown> =>
    callControl(controlPath(state), command, { ...given }, { timeoutMs, clock });
  const step = (command: string, asked: CrossingStepArguments): Promise<Crossing> =>
    ask(command, asked, stepMs + (asked.overlapMs ?? defaultOverlapMs)) as Promise<Crossing>;
  return {
    list: () => ask("crossing.list", {}, 5_000) as Promise<CrossingList>,
    open: (asked) => ask("crossing.open", asked, openMs) as Promise<Crossing>,
    provide: (asked) => step("crossing.provide", asked),
    consume: (asked) => step("crossing.consume", asked),
    // Whoever still comes through is brought back before.
    close: async (asked) => void (await ask("crossing.close", asked, stepMs + defaultOverlapMs)),
  };
}

function sidecarsOf({ privileged, records, clock }: RealWorldOptions): SidecarProcesses {
  const livenesses = new Livenesses(clock);
  const own = new OwnSidecars({ privileged, records, clock, liveness: (state) => livenesses.of(state) });
  return {
    answers: async ({ sidecar }) => (await livenesses.of(sidecar.state)) === "answers",
    start: (record) => own.start(record),
    end: (record, how) => own.end(record, how),
    keepsState: async ({ sidecar }) => statSync(sidecar.state, { throwIfNoEntry: false }) !== undefined,
    async callers({ sidecar, published }) {
      const process = await childOf(sidecar.state);
      if (process === undefined) return 0;
      const ports = new Set(published.map((port) => addressText(port.published)));
      const [facts] = await privileged.facts({ kind: "pid", pid: process.pid });
      return (facts?.connections ?? []).filter(({ local }) => ports.has(addressText(local))).length;
    },
  };
}
