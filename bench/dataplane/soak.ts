/**
 * The soak: load for minutes, with the proxy's memory beside the number of requests. The first third is not judged (code is still
 * compiled, caches fill); from then on memory may grow by less than 1 MB per 10 million requests.
 */
import { Scope } from "@dualmesh/base/scope";
import { type DataplaneOptions, type Load, loadsOf, loadText, type ProxyName, type Work } from "../options.ts";
import { type Progress, runLoad, startEcho } from "./load.ts";
import { memoryOf, say } from "./process.ts";
import { isUnavailable, placeOf, type RunningProxy } from "./proxy.ts";
import { starters } from "./starters.ts";
import { rounded, slope } from "./statistics.ts";

interface Sample {
  readonly seconds: number;
  readonly requests: number;
  readonly rssMb: number | null;
  readonly pssMb: number | null;
  readonly heapMb: number | null;
}

export interface SoakRow {
  readonly work: Work;
  readonly load: string;
  readonly proxy: ProxyName;
  readonly minutes: number;
  readonly requests: number | null;
  readonly errors: number | null;
  readonly rssMb: number | null;
  readonly pssMb: number | null;
  readonly heapMb: number | null;
  /** Growth of resident memory after the first third, in MB per 10 million requests; null when nothing can be said. */
  readonly growthMb: number | null;
  readonly passed: boolean | null;
}

const sampleSeconds = 5;
const growthLimitMb = 1;
const requestsUnit = 10_000_000;
const fewestSamples = 6;

/** Resolves with whether every soak passed; one that could not be run has not. */
export async function soak(
  options: DataplaneOptions,
  signal: AbortSignal,
  emit: (row: SoakRow) => void,
): Promise<boolean> {
  let passed = true;
  for (const work of options.works) {
    for (const proxy of options.proxies) {
      for (const load of loadsOf(options, work)) {
        const row = await soakOne(work, proxy, load, options.soakMinutes, signal);
        emit(row);
        passed &&= row.passed === true;
      }
    }
  }
  return passed;
}

async function soakOne(
  work: Work,
  name: ProxyName,
  load: Load,
  minutes: number,
  signal: AbortSignal,
): Promise<SoakRow> {
  await using scope = new Scope();
  const nothing = {
    requests: null,
    errors: null,
    rssMb: null,
    pssMb: null,
    heapMb: null,
    growthMb: null,
    passed: null,
  };
  const echo = await startEcho(scope, work);
  const proxy = await starters[name](scope, work, echo.port);
  if (isUnavailable(proxy)) {
    say(`${name}: ${proxy.unavailable}`);
    return { work, load: loadText(load), proxy: name, minutes, ...nothing };
  }
  const samples: Sample[] = [];
  const taken: Promise<void>[] = [];
  const listener = (progress: Progress): void => void taken.push(sample(proxy, progress, samples));
  const watch = proxy.pid === undefined ? [] : [proxy.pid];
  const measured = await runLoad({
    ...{ work, load, watch, signal, ...placeOf(proxy) },
    seconds: minutes * 60,
    warmUpSeconds: 0,
    progress: { everySeconds: Math.min(sampleSeconds, (minutes * 60) / 30), listener },
  });
  await Promise.all(taken);
  const growthMb = growth(samples, "rssMb");
  const growthText = (field: "rssMb" | "pssMb" | "heapMb"): string => growth(samples, field)?.toFixed(2) ?? "-";
  say(
    `growth per 10 million requests, in MB: RSS ${growthText("rssMb")}, PSS ${growthText("pssMb")}, heap ${growthText("heapMb")} (limit ${growthLimitMb})`,
  );
  if (growthMb === undefined) say("too few samples to tell a slope: the soak was too short");
  const last = samples.at(-1);
  return {
    work,
    load: loadText(load),
    proxy: name,
    minutes,
    requests: measured.requests,
    errors: measured.errors,
    rssMb: rounded(last?.rssMb, 1),
    pssMb: rounded(last?.pssMb, 1),
    heapMb: rounded(last?.heapMb, 1),
    growthMb: rounded(growthMb, 3),
    passed: growthMb !== undefined && growthMb < growthLimitMb && measured.errors === 0,
  };
}

async function sample(proxy: RunningProxy, progress: Progress, samples: Sample[]): Promise<void> {
  if (proxy.pid === undefined) return;
  const memory = memoryOf(proxy.pid);
  const heapMb = (await proxy.heapMb?.()) ?? null;
  samples.push({ ...memory, heapMb, seconds: progress.seconds, requests: progress.requests });
  const show = (value: number | null): string => value?.toFixed(1) ?? "-";
  const { seconds, requests, errors } = progress;
  say(
    `${seconds.toFixed(0)} s, ${requests} requests, ${errors} errors: RSS ${show(memory.rssMb)}, PSS ${show(memory.pssMb)}, heap ${show(heapMb)} MB`,
  );
}

function growth(samples: readonly Sample[], field: "rssMb" | "pssMb" | "heapMb"): number | undefined {
  const end = samples.at(-1)?.seconds ?? 0;
  const points = samples.flatMap((each) => {
    const value = each[field];
    return value === null || each.seconds < end / 3 ? [] : [{ x: each.requests / requestsUnit, y: value }];
  });
  return points.length < fewestSamples ? undefined : slope(points);
}
