/** What each step of the way in does. All may be done again. */
import { sleep } from "@dualmesh/base/clock";
import { isMeshError, MeshError } from "@dualmesh/base/errors";
import type { Crossing, CrossingStepArguments } from "@dualmesh/model/crossing";
import type { HostAddress } from "../host/host.ts";
import type { WatchedConsumed, WatchedProvided, Watching } from "../watch/watching.ts";
import { readAddress } from "./addresses.ts";
import { narrowOthers } from "./forwarding.ts";
import type { OneMove } from "./one-move.ts";
import type { PublishedPort } from "./record.ts";
import { leadThrough, ownSessions } from "./sessions.ts";
import type { InwardStep } from "./steps.ts";

/** What the steps of one way in share. */
export interface WayIn {
  readonly move: OneMove;
  /** Aborted when the way in must end: what waits ends its wait. */
  readonly signal: AbortSignal;
  /** Looks at calls; opened at the first wish. Undefined for a way that is not judged. */
  readonly watch: (() => Promise<Watching>) | undefined;
}

const maxLists = 1_000;

export const inwardSteps: Readonly<Record<InwardStep, (way: WayIn) => Promise<void>>> = {
  sidecar,
  crossing,
  guard: ({ move }) => move.world.ensureGuard(move.record),
  tracking: async ({ move }) => (await move.host()).keepTracking(),
  rule,
  cut: async ({ move, signal }) => move.change({ sessions: await leadThrough(move, signal) }),
  measure,
  provide,
  consume,
  settle,
};

async function sidecar({ move, signal }: WayIn): Promise<void> {
  if (move.record.sidecar.own !== undefined) await move.world.sidecars.start(move.record);
  const { directory } = await move.crossing(signal);
  if (directory.kind !== "zookeeper") {
    throw new MeshError(
      "move.other-directory",
      `the sidecar at ${move.record.sidecar.state} has its instances from "${directory.kind}": a process is moved by one with directory: zookeeper; name it with --state, or leave that out and one is started`,
      { state: move.record.sidecar.state },
    );
  }
}

async function crossing({ move, signal }: WayIn): Promise<void> {
  const { name, servers, chroots, host } = move.record;
  const opened = await move.ask((control) => control.open({ name, servers, chroots, host }), signal);
  await move.change({ doors: opened.doors, published: publishedOf(opened) });
}

async function rule({ move }: WayIn): Promise<void> {
  const { name, selection, doors } = move.record;
  const ways = doors.flatMap(({ server, port }) => {
    const address = readAddress(server);
    return address === undefined ? [] : [{ server: address, port }];
  });
  await (await move.host()).catch({ name, of: selection, ways });
}

async function measure({ move, signal, watch }: WayIn): Promise<void> {
  const { watchBeforeMs } = move.record;
  const watching = await watch?.();
  if (watchBeforeMs > 0) await watching?.measureBefore(watchBeforeMs, signal);
}

async function provide(way: WayIn): Promise<void> {
  const { move, signal } = way;
  const asked = await begin(way);
  // A mover that is killed once the sidecar has begun leaves these to who sets the sidecar aside.
  await move.change({ published: publishedOf(asked.crossing) });
  await narrowOthers(move);
  try {
    const provided = await unlessAborted(
      move.ask((control) => control.provide(asked.step), signal),
      signal,
    );
    await move.change({ published: publishedOf(provided) });
    // Somebody may have set another move aside meanwhile, and not have seen this one.
    await narrowOthers(move);
  } catch (error) {
    if (!isMeshError(error, "crossing.not-carried") || move.record.only === "provider") throw error;
    move.note(`what it provides stays as it is: ${error.message}`);
  }
}

async function consume(way: WayIn): Promise<void> {
  const { step, crossing: found } = await begin(way);
  const lists = [...new Set(found.sessions.flatMap((session) => session.lists))].slice(0, maxLists);
  await way.move.change({ lists });
  await unlessAborted(
    way.move.ask((control) => control.consume(step), way.signal),
    way.signal,
  );
}

/** A step that takes seconds is not waited for when the way in must end: the step back overtakes it at the sidecar. */
function unlessAborted<Answer>(work: Promise<Answer>, signal: AbortSignal): Promise<Answer> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", abort));
}

async function begin({ move, signal, watch }: WayIn): Promise<{
  readonly crossing: Crossing;
  readonly step: CrossingStepArguments;
}> {
  const { crossing: found } = await move.crossing(signal);
  if (found === undefined) {
    throw new MeshError(
      "move.no-crossing",
      `the sidecar has lost the crossing ${move.record.name}: was its state removed?`,
    );
  }
  const sessions = await ownSessions(move, found);
  (await watch?.())?.start();
  const step = { name: move.record.name, to: "mesh" as const };
  return { crossing: found, step: sessions === undefined ? step : { ...step, sessions } };
}

async function settle({ move, signal, watch }: WayIn): Promise<void> {
  (await watch?.())?.start();
  await sleep(move.world.clock, move.record.watchMs, signal);
}

function publishedOf({ registrations }: Crossing): readonly PublishedPort[] {
  const ports = registrations.flatMap(({ service, host, appPort, published, bypassed }) => {
    const address = readAddress(published);
    return address === undefined || bypassed !== ""
      ? []
      : [{ service, published: address, direct: { host, port: appPort } }];
  });
  return ports;
}

/** Opens the watch over what this move is about. */
export async function openWatch(move: OneMove): Promise<Watching> {
  const { crossing: found, outbound } = await move.crossing();
  const { only, calls, bounds } = move.record;
  const provided: WatchedProvided[] = (found === undefined ? [] : publishedOf(found)).map((port) => ({
    ...port,
    protocol: protocolOf(port.service),
  }));
  const at: HostAddress | undefined = readAddress(outbound);
  const consumed: WatchedConsumed[] = calls.flatMap(({ service, direct }) =>
    at === undefined ? [] : [{ service, protocol: protocolOf(service), direct, outbound: at }],
  );
  return move.world.openWatch({
    host: await move.host(),
    figures: async () => (await move.world.control(move.record).list()).figures,
    provided: only === "consumer" ? [] : provided,
    consumed: only === "provider" ? [] : consumed,
    bounds,
  });
}

function protocolOf(service: string): string {
  return service.slice(0, service.indexOf("/"));
}
