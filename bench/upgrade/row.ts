/** What the bench `upgrade` tells: its row, what is asked of it, and both as a person reads them. */
import { median, rounded } from "../dataplane/statistics.ts";
import type { Work } from "../options.ts";
import type { CallersEnd, Tally } from "./callers.ts";
import type { UpgradeOptions } from "./options.ts";
import type { SeenUpgrade } from "./upgrade.ts";

/** Milliseconds count from when a call was due. Where nothing else is said, a figure is the worst of all upgrades. */
export interface UpgradeRow {
  readonly connections: number;
  /** Those that were never closed, as their callers saw it. */
  readonly kept: number;
  readonly upgrades: number;
  /** All of them, those before the first upgrade among them. */
  readonly calls: number;
  readonly failed: number;
  /** From the first upgrade on. */
  readonly worstMs: number;
  readonly worstBeforeMs: number;
  readonly p99DuringMs: number;
  readonly p99BeforeMs: number;
  /** The median. */
  readonly totalMs: number | null;
  readonly stillMs: number;
  readonly loopMs: number;
  readonly oldGoneMs: number | null;
  /** The median of what the one process took before each upgrade, and the most that both took together. */
  readonly rssOneMb: number | null;
  readonly rssBothMb: number | null;
  readonly pssOneMb: number | null;
  readonly pssBothMb: number | null;
  /** `both` over `one` of the same upgrade. */
  readonly rssRatio: number | null;
  readonly pssRatio: number | null;
  readonly rate: number;
  readonly works: readonly Work[];
  /** Share of its core that the sidecar took under the load alone. */
  readonly busyBefore: number | null;
  /** How late the callers themselves were with a call: latencies of that size say nothing of the sidecar. */
  readonly callersLateMs: number;
  readonly callersLateBeforeMs: number;
}

export interface Measured {
  readonly options: UpgradeOptions;
  readonly seen: readonly SeenUpgrade[];
  readonly end: CallersEnd;
  readonly busyBefore: number;
}

export function makeRow({ options, seen, end, busyBefore }: Measured): UpgradeRow {
  const before = end.totals.get("before") ?? nothing;
  const during = end.totals.get("during") ?? nothing;
  const between = end.totals.get("between") ?? nothing;
  const all = [...end.totals.values()];
  const most = (pick: (one: SeenUpgrade) => number): number => Math.max(...seen.map(pick));
  const middle = (pick: (one: SeenUpgrade) => number): number | undefined => median(seen.map(pick));
  return {
    connections: end.connections,
    kept: end.kept,
    upgrades: seen.length,
    calls: all.reduce((sum, { calls }) => sum + calls, 0),
    failed: all.reduce((sum, { failed }) => sum + failed, 0),
    worstMs: inHundredths(Math.max(during.worstMs, between.worstMs)),
    worstBeforeMs: inHundredths(before.worstMs),
    p99DuringMs: inHundredths(during.p99Ms),
    p99BeforeMs: inHundredths(before.p99Ms),
    totalMs: rounded(
      middle(({ totalMs }) => totalMs),
      0,
    ),
    stillMs: most(({ stillMs }) => stillMs),
    loopMs: most(({ loopMs }) => loopMs),
    oldGoneMs: rounded(
      most(({ oldGoneMs }) => oldGoneMs),
      0,
    ),
    rssOneMb: rounded(
      middle(({ rssMb }) => rssMb.one),
      1,
    ),
    rssBothMb: rounded(
      most(({ rssMb }) => rssMb.both),
      1,
    ),
    pssOneMb: rounded(
      middle(({ pssMb }) => pssMb.one),
      1,
    ),
    pssBothMb: rounded(
      most(({ pssMb }) => pssMb.both),
      1,
    ),
    rssRatio: rounded(
      most(({ rssMb }) => rssMb.both / rssMb.one),
      2,
    ),
    pssRatio: rounded(
      most(({ pssMb }) => pssMb.both / pssMb.one),
      2,
    ),
    rate: options.rate,
    works: options.works,
    busyBefore: rounded(busyBefore, 2),
    callersLateMs: inHundredths(Math.max(during.lateMs, between.lateMs)),
    callersLateBeforeMs: inHundredths(before.lateMs),
  };
}

const nothing: Tally = {
  seconds: 0,
  calls: 0,
  failed: 0,
  lost: 0,
  p50Ms: 0,
  p99Ms: 0,
  worstMs: 0,
  worstAtMs: 0,
  lateMs: 0,
};

function inHundredths(ms: number): number {
  return Number(ms.toFixed(2));
}

/** No call fails, and no connection is closed: anything else is a defect. */
export function isSound({ connections, kept, failed }: UpgradeRow): boolean {
  return failed === 0 && kept === connections;
}

const worstMoreMs = 50;
/** More of them stand still for longer, which is told and not judged. */
const worstConnections = 1_000;
const goneGoalMs = 5_000;
const loopGoalMs = 1_000;
const memoryGoal = 2;

/** What is asked of an upgrade, and whether it is reached. */
export function goalLines(row: UpgradeRow): readonly string[] {
  const more = row.worstMs - row.worstBeforeMs;
  const judged: readonly (readonly [boolean | undefined, string])[] = [
    [row.failed === 0, `${row.failed} of ${row.calls} calls failed (goal: none)`],
    [row.kept === row.connections, `${row.kept} of ${row.connections} connections were kept (goal: all)`],
    [
      row.connections <= worstConnections ? more <= worstMoreMs : undefined,
      `the worst call took ${more.toFixed(1)} ms more than without (goal, up to ${worstConnections} connections: ${worstMoreMs})`,
    ],
    [
      (row.oldGoneMs ?? Number.POSITIVE_INFINITY) <= goneGoalMs,
      `the old process was gone after ${row.oldGoneMs} ms (goal: ${goneGoalMs})`,
    ],
    [row.loopMs < loopGoalMs, `${row.loopMs} ms of the old process's loop were taken (goal: below ${loopGoalMs})`],
    // What both take of the machine's memory: RSS has the pages of the program twice, of which there is one.
    [
      (row.pssRatio ?? Number.POSITIVE_INFINITY) <= memoryGoal,
      `both took ${row.pssRatio} times the PSS of one (goal: ${memoryGoal}), and ${row.rssRatio} times its RSS`,
    ],
  ];
  const words = new Map([
    [true, "reached"],
    [false, "MISSED "],
    [undefined, "       "],
  ]);
  return judged.map(([isReached, text]) => `${words.get(isReached)}  ${text}`);
}

const widths = [8, 8, 8, 6, 6, 7, 9, 7, 7, 9, 9, 9, 8, 8, 9, 9];

export const tableHead: string = columns([
  ...["window", "calls", "p50 ms", "p99", "worst", "due at", "own late", "failed", "lost"],
  ...["total ms", "still ms", "loop ms", "gone ms", "moved", "RSS x", "PSS x"],
]);

/** A window of the load, with the upgrade in it. */
export function tableLine(name: string, tally: Tally, seen?: SeenUpgrade): string {
  const { calls, p50Ms, p99Ms, worstMs, worstAtMs, lateMs, failed, lost } = tally;
  const cells = [
    name,
    calls,
    p50Ms.toFixed(2),
    p99Ms.toFixed(1),
    worstMs.toFixed(1),
    worstAtMs.toFixed(0),
    lateMs.toFixed(1),
    failed,
    lost,
  ];
  if (seen === undefined) return columns(cells);
  const { totalMs, stillMs, loopMs, oldGoneMs, moved, rssMb, pssMb, stayed, cut } = seen;
  const memory = [rssMb, pssMb].map(({ one, both }) => (both / one).toFixed(2));
  const late = Object.entries({ ...stayed, ...cut }).map(([why, count]) => `${count} (${why})`);
  return (
    columns([...cells, totalMs.toFixed(0), stillMs, loopMs, oldGoneMs.toFixed(0), moved, ...memory]) +
    (late.length === 0 ? "" : `  later: ${late.join(", ")}`) +
    `\n  ${seen.steps.map(({ step, ms }, index) => `${step} ${ms - (seen.steps[index - 1]?.ms ?? 0)}`).join(", ")}`
  );
}

function columns(cells: readonly (string | number)[]): string {
  return cells
    .map((cell, index) =>
      index === 0 ? String(cell).padEnd(widths[0] as number) : String(cell).padStart(widths[index] as number),
    )
    .join(" ");
}
