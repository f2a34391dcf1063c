/**
 * The comparison: every proxy under the same work, in turns (A B C A B C …), so that whatever else the machine does falls on all
 * of them. CPU is the minimum over the rounds, for a disturbance only adds; latency and rate are medians.
 */
import { messageOf } from "@dualmesh/base/errors";
import { Scope } from "@dualmesh/base/scope";
import { type DataplaneOptions, type Load, loadsOf, loadText, type ProxyName, type Work } from "../options.ts";
import { checkGoals } from "./goals.ts";
import { type Measured, runLoad, startEcho } from "./load.ts";
import { loadCore, type Memory, memoryOf, proxyCore, say } from "./process.ts";
import { isUnavailable, placeOf, type RunningProxy } from "./proxy.ts";
import type { Row } from "./row.ts";
import { starters } from "./starters.ts";
import { median, rounded } from "./statistics.ts";
import { tableHead, tableLine } from "./table.ts";

interface Entry {
  readonly name: ProxyName;
  /** Undefined when it cannot be had. */
  readonly running: RunningProxy | undefined;
}

const warmUpSeconds = 1;
/** A new process is given some load before its first round, so that code is compiled and pools are open. */
const firstLoads: Readonly<Record<Work, Load>> = {
  bolt: { connections: 16, inFlight: 16 },
  dubbo: { connections: 16, inFlight: 16 },
  http: { connections: 64, inFlight: 1 },
};
const busyGenerator = 0.95;
const busyProxy = 0.9;

/** Measures everything asked for; `emit` is given each row. Resolves with whether every call was answered. */
export async function compare(
  options: DataplaneOptions,
  signal: AbortSignal,
  emit: (row: Row) => void,
): Promise<boolean> {
  let errors = 0;
  const rows: Row[] = [];
  for (const work of options.works) {
    await using scope = new Scope();
    const entries = await startAll(scope, work, options, signal);
    for (const load of loadsOf(options, work)) {
      for (const row of await measure(entries, work, load, options, signal)) {
        errors += row.errors ?? 0;
        rows.push(row);
        emit(row);
      }
    }
  }
  for (const verdict of checkGoals(rows)) say(verdict);
  if (errors > 0) say(`${errors} calls were not answered rightly`);
  return errors === 0;
}

async function startAll(
  scope: Scope,
  work: Work,
  options: DataplaneOptions,
  signal: AbortSignal,
): Promise<readonly Entry[]> {
  const echo = await startEcho(scope, work);
  const entries: Entry[] = [];
  for (const name of options.proxies) {
    entries.push({ name, running: await startOne(scope, name, work, echo.port, signal) });
  }
  return entries;
}

async function startOne(
  scope: Scope,
  name: ProxyName,
  work: Work,
  echoPort: number,
  signal: AbortSignal,
): Promise<RunningProxy | undefined> {
  try {
    const proxy = await starters[name](scope, work, echoPort);
    if (isUnavailable(proxy)) {
      say(`${name}: ${proxy.unavailable}`);
      return undefined;
    }
    if (proxy.pid !== undefined) {
      await runLoad({
        ...{ work, ...placeOf(proxy) },
        load: firstLoads[work],
        seconds: 2,
        warmUpSeconds: 0,
        watch: [proxy.pid],
        signal,
      });
    }
    return proxy;
  } catch (error) {
    signal.throwIfAborted();
    say(`${name}: cannot be measured with ${work}: ${messageOf(error)}`);
    return undefined;
  }
}

async function measure(
  entries: readonly Entry[],
  work: Work,
  load: Load,
  options: DataplaneOptions,
  signal: AbortSignal,
): Promise<readonly Row[]> {
  const found = new Map<ProxyName, Measured[]>();
  const failed = new Set<ProxyName>();
  for (let round = 0; round < options.rounds; round++) {
    for (const { name, running } of entries) {
      if (running === undefined || failed.has(name)) continue;
      const watch = running.pid === undefined ? [] : [running.pid];
      try {
        const measured = await runLoad({
          ...{ work, load, ...placeOf(running) },
          seconds: options.seconds,
          warmUpSeconds,
          watch,
          signal,
        });
        found.set(name, [...(found.get(name) ?? []), measured]);
      } catch (error) {
        signal.throwIfAborted();
        failed.add(name); // half a comparison would mislead: its figures of this load are null
        found.delete(name);
        say(`${name}: failed with ${work} ${loadText(load)}: ${messageOf(error)}`);
      }
    }
  }
  say(`\n${work} ${loadText(load)}, ${options.rounds} rounds of ${options.seconds} s`);
  say(tableHead);
  return entries.map(({ name, running }) => {
    const rounds = found.get(name) ?? [];
    const memory = running?.pid === undefined ? { rssMb: null, pssMb: null } : memoryOf(running.pid);
    const row = makeRow(work, load, name, rounds, memory);
    say(tableLine(row, rounds));
    return row;
  });
}

function makeRow(work: Work, load: Load, proxy: ProxyName, rounds: readonly Measured[], memory: Memory): Row {
  const cpu = rounds.map((round) => round.watchedCpuMicros[0]).filter((value) => value !== undefined);
  const middle = (pick: (round: Measured) => number): number | undefined => median(rounds.map(pick));
  const proxyBusy = proxy === "direct" ? 0 : (middle((round) => round.coreBusy[proxyCore] ?? 0) ?? 0);
  return {
    work,
    load: loadText(load),
    proxy,
    cpuMicros: cpu.length > 0 ? rounded(Math.min(...cpu), 2) : null,
    rps: rounded(
      middle((round) => round.rps),
      0,
    ),
    p50Micros: rounded(
      middle((round) => round.p50Micros),
      1,
    ),
    p99Micros: rounded(
      middle((round) => round.p99Micros),
      1,
    ),
    rssMb: rounded(memory.rssMb, 1),
    saturated:
      rounds.length === 0
        ? null
        : (middle((round) => round.coreBusy[loadCore] ?? 0) ?? 0) > busyGenerator && proxyBusy < busyProxy,
    pssMb: rounded(memory.pssMb, 1),
    errors: rounds.length === 0 ? null : rounds.reduce((sum, round) => sum + round.errors, 0),
  };
}
