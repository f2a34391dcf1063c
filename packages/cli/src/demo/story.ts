/**
 * The story that the demo tells: everything calls everything by SDK; consumers move behind their sidecars, then providers, one instance
 * at a time; sidecars are replaced under the calls; then one instance of each is rolled back. Each step is over only when the calls themselves show their way.
 */
import { type Clock, sleep } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { consumers, providers, roleOf } from "./cast.ts";
import type { Ledger, Way } from "./ledger.ts";

/** What the story does to the world. Each resolves when the service runs again. */
export interface Stage {
  moveIn(name: string): Promise<void>;
  moveOut(name: string): Promise<void>;
  /** Its sidecar. */
  upgrade(name: string): Promise<Upgraded>;
}

/** What came of an upgrade: connections that another process has now, and milliseconds of the whole, and in which they stood still. */
export interface Upgraded {
  readonly moved: number;
  readonly ms: number;
  readonly stillMs: number;
}

export interface Telling {
  readonly stage: Stage;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How long people have to look at what a step did. */
  readonly pauseMs: number;
  /** The step with this index of `chapters` begins. */
  readonly onChapter: (index: number) => void;
  readonly note: (text: string) => void;
  /** Why connections cannot be moved on this machine; undefined when they can. */
  readonly cannotUpgrade: string | undefined;
}

export const chapters: readonly { readonly title: string; readonly step: string | undefined }[] = [
  { title: "all by SDK", step: undefined },
  { title: "consumers in", step: "consumer-in" },
  { title: "providers in", step: "provider-in" },
  { title: "upgrades", step: "sidecar-upgrade" },
  { title: "rollback", step: "provider-out" },
];

/** How many calls by the new way show that a move is done. */
const enoughCalls = 5;
const shownWithinMs = 20_000;
const lookEveryMs = 100;

export async function tellStory(telling: Telling): Promise<void> {
  const { stage, ledger, note } = telling;
  const ways = new Map<string, Way>([...consumers, ...providers].map((name) => [name, "SDK"]));
  const chapter = (index: number): void => {
    const step = chapters[index]?.step;
    if (step !== undefined) ledger.beginStep(step, telling.clock.wall());
    telling.onChapter(index);
  };
  const move = async (name: string, to: Way): Promise<void> => {
    const begin = telling.clock.now();
    const failedBefore = ledger.totals().failed;
    await (to === "mesh" ? stage.moveIn(name) : stage.moveOut(name));
    ways.set(name, to);
    await shown(telling, name, ways);
    const seconds = ((telling.clock.now() - begin) / 1000).toFixed(1);
    const lost = ledger.totals().failed - failedBefore;
    const where = to === "mesh" ? "behind its sidecar" : "back on the SDK, its sidecar gone";
    note(`${name} runs ${where}: ${seconds} s, ${lost} calls lost`);
  };
  const upgrade = async (name: string): Promise<void> => {
    const failedBefore = ledger.totals().failed;
    const { moved, ms, stillMs } = await stage.upgrade(name);
    await shown(telling, name, ways);
    const lost = ledger.totals().failed - failedBefore;
    const seconds = (ms / 1000).toFixed(1);
    note(
      `${name}'s sidecar upgraded: ${seconds} s, ${moved} connections moved, ${stillMs} ms still, ${lost} calls lost`,
    );
  };

  chapter(0);
  await Promise.all(consumers.map((name) => shown(telling, name, ways)));
  note("the apps have found each other in the registry: by ZooKeeper's protocol, by HTTP and by the SDK");
  await pause(telling);

  chapter(1);
  await Promise.all(consumers.map((name) => move(name, "mesh")));
  await pause(telling);

  chapter(2);
  for (const round of ["1", "2"]) {
    await Promise.all(providers.filter((name) => name.endsWith(round)).map((name) => move(name, "mesh")));
  }
  await pause(telling);

  chapter(3);
  if (telling.cannotUpgrade === undefined) for (const name of consumers) await upgrade(name);
  else note(`no sidecar is upgraded here: ${telling.cannotUpgrade}`);
  await pause(telling);

  chapter(4);
  await Promise.all(providers.filter((name) => name.endsWith("1")).map((name) => move(name, "SDK")));
  await pause(telling);
}

/** Resolves when every couple that `name` is part of has been seen to call by the ways in `ways`, since now. */
async function shown(telling: Telling, name: string, ways: ReadonlyMap<string, Way>): Promise<void> {
  const { ledger, clock, signal } = telling;
  const since = clock.wall();
  const deadline = clock.now() + shownWithinMs;
  const couples = consumers
    .flatMap((caller) => roleOf(caller).calls.map((called) => ({ caller, called })))
    .filter(({ caller, called }) => caller === name || called === name);
  for (const { caller, called } of couples) {
    const row = { caller, called, callerWay: ways.get(caller) ?? "SDK", calledWay: ways.get(called) ?? "SDK" };
    while (ledger.answered(row, since) < enoughCalls) {
      signal.throwIfAborted();
      if (clock.now() > deadline) {
        const wanted = `${caller} (${row.callerWay}) to ${called} (${row.calledWay})`;
        throw new MeshError("demo.not-shown", `no calls seen from ${wanted} within ${shownWithinMs} ms`, row);
      }
      await sleep(clock, lookEveryMs, signal);
    }
  }
}

function pause({ clock, pauseMs, signal }: Telling): Promise<void> {
  return sleep(clock, pauseMs, signal);
}
