/** Memory of a fresh proxy: 30 s after its start, and after 60 s of load. */
import { sleep, systemClock } from "@dualmesh/base/clock";
import { Scope } from "@dualmesh/base/scope";
import { type DataplaneOptions, type Load, loadsOf, loadText, type ProxyName, type Work } from "../options.ts";
import { type Measured, runLoad, startEcho } from "./load.ts";
import { memoryOf, say } from "./process.ts";
import { isUnavailable, placeOf } from "./proxy.ts";
import type { Row } from "./row.ts";
import { starters } from "./starters.ts";
import { rounded } from "./statistics.ts";

const idleMs = 30_000;
const loadSeconds = 60;
/** What dualmesh may take, in MB of resident memory. */
const idleGoalMb = 60;
const loadGoalMb = 70;

export async function measureMemory(
  options: DataplaneOptions,
  signal: AbortSignal,
  emit: (row: Row) => void,
): Promise<boolean> {
  let errors = 0;
  for (const work of options.works) {
    for (const name of options.proxies) {
      for (const load of loadsOf(options, work)) {
        for (const row of await measureOne(work, name, load, signal)) {
          errors += row.errors ?? 0;
          say(`${work} ${name} ${row.load}: RSS ${row.rssMb ?? "-"} MB, PSS ${row.pssMb ?? "-"} MB${goalText(row)}`);
          emit(row);
        }
      }
    }
  }
  return errors === 0;
}

async function measureOne(work: Work, name: ProxyName, load: Load, signal: AbortSignal): Promise<readonly Row[]> {
  await using scope = new Scope();
  const texts = ["idle", loadText(load)] as const;
  const echo = await startEcho(scope, work);
  const proxy = await starters[name](scope, work, echo.port);
  if (isUnavailable(proxy) || proxy.pid === undefined) {
    say(`${name}: ${isUnavailable(proxy) ? proxy.unavailable : "there is no proxy to measure"}`);
    return texts.map((text) => makeRow(work, name, text));
  }
  await sleep(systemClock, idleMs, signal);
  const idle = makeRow(work, name, texts[0], proxy.pid);
  const measured = await runLoad({
    ...{ work, load, ...placeOf(proxy) },
    seconds: loadSeconds,
    warmUpSeconds: 0,
    watch: [proxy.pid],
    signal,
  });
  return [idle, makeRow(work, name, texts[1], proxy.pid, measured)];
}

function makeRow(work: Work, proxy: ProxyName, load: string, pid?: number, measured?: Measured): Row {
  const memory = pid === undefined ? { rssMb: null, pssMb: null } : memoryOf(pid);
  return {
    work,
    load,
    proxy,
    cpuMicros: rounded(measured?.watchedCpuMicros[0], 2),
    rps: rounded(measured?.rps, 0),
    p50Micros: rounded(measured?.p50Micros, 1),
    p99Micros: rounded(measured?.p99Micros, 1),
    rssMb: rounded(memory.rssMb, 1),
    saturated: null,
    pssMb: rounded(memory.pssMb, 1),
    errors: measured?.errors ?? null,
  };
}

function goalText(row: Row): string {
  if (row.proxy !== "dualmesh" || row.rssMb === null) return "";
  const goal = row.load === "idle" ? idleGoalMb : loadGoalMb;
  return ` (${row.rssMb <= goal ? "reached" : "MISSED"}: at most ${goal} MB RSS)`;
}
