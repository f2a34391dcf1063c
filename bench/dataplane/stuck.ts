/**
 * The head-of-line scenario: ordinary load, alone and beside two clients that are stuck (one never reads, one sends a frame of 1 MiB
 * at a byte a second), in turns. What is told is how much the others' p99 suffers.
 */
import { Scope } from "@dualmesh/base/scope";
import { type DataplaneOptions, type Load, loadsOf, loadText, type ProxyName, type Work } from "../options.ts";
import { type Measured, runLoad, runStuck, type StuckReport, startEcho } from "./load.ts";
import { say } from "./process.ts";
import { isUnavailable, placeOf } from "./proxy.ts";
import { starters } from "./starters.ts";
import { median, rounded } from "./statistics.ts";

export interface StuckRow {
  readonly work: Work;
  readonly load: string;
  readonly proxy: ProxyName;
  readonly p99Micros: number | null;
  readonly p99MicrosBeside: number | null;
  readonly ratio: number | null;
  readonly errors: number | null;
  /** How often the proxy cut the client that never reads, and the one that drips. */
  readonly deafCuts: number | null;
  readonly dripCuts: number | null;
}

const warmUpSeconds = 1;
const ratioGoal = 2;

/** Resolves with whether every call of the ordinary load was answered; the ratio is a goal, and printed. */
export async function measureStuck(
  options: DataplaneOptions,
  signal: AbortSignal,
  emit: (row: StuckRow) => void,
): Promise<boolean> {
  let errors = 0;
  for (const work of options.works) {
    for (const proxy of options.proxies) {
      for (const load of loadsOf(options, work)) {
        const row = await measureOne(work, proxy, load, options, signal);
        errors += row.errors ?? 0;
        if (row.ratio !== null) {
          const verdict = row.ratio <= ratioGoal ? "reached" : "MISSED";
          say(
            `${work} ${row.load} ${proxy}: p99 ${row.p99Micros} us alone, ${row.p99MicrosBeside} us beside stuck clients: ${row.ratio}x (${verdict}: ${ratioGoal}x)`,
          );
          say(
            `  the client that never reads was cut ${row.deafCuts} times, the one that drips ${row.dripCuts} times; ${row.errors} errors`,
          );
        }
        emit(row);
      }
    }
  }
  return errors === 0;
}

async function measureOne(
  work: Work,
  name: ProxyName,
  load: Load,
  options: DataplaneOptions,
  signal: AbortSignal,
): Promise<StuckRow> {
  await using scope = new Scope();
  const at = { work, load: loadText(load), proxy: name };
  const echo = await startEcho(scope, work);
  const proxy = await starters[name](scope, work, echo.port);
  if (isUnavailable(proxy)) {
    say(`${name}: ${proxy.unavailable}`);
    return { ...at, p99Micros: null, p99MicrosBeside: null, ratio: null, errors: null, deafCuts: null, dripCuts: null };
  }
  const alone: Measured[] = [];
  const beside: Measured[] = [];
  const reports: StuckReport[] = [];
  const measure = (): Promise<Measured> =>
    runLoad({ work, load, ...placeOf(proxy), seconds: options.seconds, warmUpSeconds, watch: [], signal });
  for (let round = 0; round < options.rounds; round++) {
    alone.push(await measure());
    // The stuck clients are there from before the window opens until after it has closed.
    const stuck = runStuck(work, placeOf(proxy), options.seconds + 2 * warmUpSeconds, signal);
    const [measured, report] = await Promise.all([measure(), stuck]);
    beside.push(measured);
    reports.push(report);
  }
  const p99 = median(alone.map((each) => each.p99Micros)) ?? 0;
  const p99Beside = median(beside.map((each) => each.p99Micros)) ?? 0;
  return {
    ...at,
    p99Micros: rounded(p99, 1),
    p99MicrosBeside: rounded(p99Beside, 1),
    ratio: rounded(p99Beside / p99, 2),
    errors: [...alone, ...beside].reduce((sum, each) => sum + each.errors, 0),
    deafCuts: reports.reduce((sum, each) => sum + each.deafCuts, 0),
    dripCuts: reports.reduce((sum, each) => sum + each.dripCuts, 0),
  };
}
