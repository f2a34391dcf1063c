/**
 * Streaming: one body of 1 GiB up and one down, by one proxy and by two in a row (dualmesh: the caller's sidecar and the provider's), in turns. What is
 * told is the rate, and how far the memory of the proxies rose above what they had before: a proxy that passes bodies on as they come takes
 * the same whatever their size.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { Scope } from "@dualmesh/base/scope";
import type { DataplaneOptions, ProxyName } from "../options.ts";
import { startDualmeshPair } from "./dualmesh.ts";
import { type Place, runStream, startStreamServer } from "./load.ts";
import { cpuSeconds, memoryOf, say } from "./process.ts";
import { isUnavailable, type Unavailable } from "./proxy.ts";
import { starters } from "./starters.ts";
import { median, rounded } from "./statistics.ts";

export interface StreamRow {
  readonly work: "http-stream";
  readonly load: "up" | "down";
  readonly proxy: ProxyName;
  /** Proxies in a row. */
  readonly hops: number;
  readonly mebibytes: number;
  readonly megabytesPerSecond: number | null;
  /** CPU seconds of all proxies for each gigabyte: the minimum over the rounds. */
  readonly cpuSecondsPerGigabyte: number | null;
  /** Of all proxies, before the first body. */
  readonly rssMb: number | null;
  /** How far the largest growth of one of them went while a body passed. */
  readonly growthMb: number | null;
}

interface Way extends Place {
  readonly name: ProxyName;
  readonly hops: number;
  readonly pids: readonly number[];
}

interface Passed {
  readonly megabytesPerSecond: number;
  readonly cpuSecondsPerGigabyte: number;
  readonly growthMb: number | null;
}

const mebibyte = 1_048_576;
/** Pools are opened, code is compiled and stages are taken by a first body. */
const warmUpBytes = 128 * mebibyte;
/** What a sidecar may take beyond what it had after the first body, whatever the size: its stages, and what is not collected yet. */
const growthLimitMb = 16;

/** Resolves with whether every body arrived, and went through dualmesh in constant memory. */
export async function measureStreams(
  options: DataplaneOptions,
  signal: AbortSignal,
  emit: (row: StreamRow) => void,
): Promise<boolean> {
  let passed = true;
  for (const hops of [1, 2]) {
    for (const row of await measureHops(options, hops, signal)) {
      const constant = row.proxy !== "dualmesh" || (row.growthMb !== null && row.growthMb <= growthLimitMb);
      passed &&= constant;
      emit(row);
    }
  }
  return passed;
}

async function measureHops(
  options: DataplaneOptions,
  hops: number,
  signal: AbortSignal,
): Promise<readonly StreamRow[]> {
  await using scope = new Scope();
  const { port } = await startStreamServer(scope);
  const names = options.proxies.filter((name) => hops === 1 || name !== "direct");
  const ways = new Map<ProxyName, Way>();
  for (const name of names) {
    const way = await startOne(scope, name, hops, port, signal);
    if (way !== undefined) ways.set(name, way);
  }
  const rows: StreamRow[] = [];
  for (const load of ["up", "down"] as const) {
    const before = new Map([...ways].map(([name, { pids }]) => [name, sum(pids.map(rssMb))]));
    const rounds = new Map<ProxyName, Passed[]>();
    for (let round = 0; round < options.rounds; round++) {
      for (const [name, way] of ways) {
        const passed = await pass(way, load, options.streamMebibytes * mebibyte, signal);
        rounds.set(name, [...(rounds.get(name) ?? []), passed]);
      }
    }
    say(`\n${options.streamMebibytes} MiB ${load}, ${hops} in a row, ${options.rounds} rounds`);
    for (const name of names) {
      const found = rounds.get(name) ?? [];
      const row = makeRow({ name, hops, load, mebibytes: options.streamMebibytes }, before.get(name) ?? null, found);
      say(line(row, found));
      rows.push(row);
    }
  }
  return rows;
}

async function startOne(
  scope: Scope,
  name: ProxyName,
  hops: number,
  providerPort: number,
  signal: AbortSignal,
): Promise<Way | undefined> {
  try {
    const way = await startRow(scope, name, hops, providerPort);
    if (isUnavailable(way)) {
      say(`${name}: ${way.unavailable}`);
      return undefined;
    }
    for (const load of ["up", "down"] as const) await runStream(load, way, warmUpBytes, signal);
    return way;
  } catch (error) {
    signal.throwIfAborted();
    say(`${name}: cannot be measured ${hops} in a row: ${messageOf(error)}`);
    return undefined;
  }
}

/** Two sidecars are the caller's and the provider's; two of any other proxy stand one before the other. */
async function startRow(scope: Scope, name: ProxyName, hops: number, providerPort: number): Promise<Way | Unavailable> {
  if (name === "dualmesh" && hops === 2) return { name, hops, ...(await startDualmeshPair(scope, providerPort)) };
  const pids: number[] = [];
  let place: Place = { port: providerPort };
  for (let hop = 0; hop < hops; hop++) {
    const proxy = await starters[name](scope, "http", place.port);
    if (isUnavailable(proxy)) return proxy;
    if (proxy.pid !== undefined) pids.push(proxy.pid);
    place = proxy;
  }
  return { name, hops, ...place, pids };
}

async function pass(way: Way, load: "up" | "down", bytes: number, signal: AbortSignal): Promise<Passed> {
  const before = way.pids.map((pid) => ({ pid, rss: rssMb(pid), cpu: cpuSeconds(pid) }));
  for (const { pid } of before) writeFileSync(`/proc/${pid}/clear_refs`, "5"); // its peak begins anew
  const { seconds } = await runStream(load, way, bytes, signal);
  const growths = before.map(({ pid, rss }) => (rss === null ? null : peakMb(pid) - rss));
  const cpu = sum(before.map(({ pid, cpu: from }) => cpuSeconds(pid) - from)) ?? 0;
  return {
    megabytesPerSecond: bytes / 1e6 / seconds,
    cpuSecondsPerGigabyte: cpu / (bytes / 1e9),
    growthMb: growths.includes(null) || growths.length === 0 ? null : Math.max(...(growths as number[])),
  };
}

function makeRow(
  { name, hops, load, mebibytes }: Pick<Way, "name" | "hops"> & Pick<StreamRow, "load" | "mebibytes">,
  rss: number | null,
  found: readonly Passed[],
): StreamRow {
  const isThere = found.length > 0;
  const growths = found.map((each) => each.growthMb).filter((each) => each !== null);
  return {
    work: "http-stream",
    load,
    proxy: name,
    hops: name === "direct" ? 0 : hops,
    mebibytes,
    megabytesPerSecond: rounded(median(found.map((each) => each.megabytesPerSecond)), 0),
    cpuSecondsPerGigabyte:
      isThere && name !== "direct" ? rounded(Math.min(...found.map((each) => each.cpuSecondsPerGigabyte)), 3) : null,
    rssMb: isThere && name !== "direct" ? rounded(rss, 1) : null,
    growthMb: growths.length > 0 ? rounded(Math.max(...growths), 1) : null,
  };
}

function line(row: StreamRow, found: readonly Passed[]): string {
  const name = row.proxy.padEnd(15);
  if (found.length === 0) return `${name} -`;
  const rates = found.map((each) => each.megabytesPerSecond.toFixed(0));
  const rate = `${String(row.megabytesPerSecond).padStart(6)} MB/s (${rates.join(", ")})`;
  if (row.growthMb === null) return `${name} ${rate}`;
  const judged =
    row.proxy === "dualmesh" ? `, ${row.growthMb <= growthLimitMb ? "reached" : "MISSED"}: ${growthLimitMb}` : "";
  return `${name} ${rate}, CPU ${row.cpuSecondsPerGigabyte} s a GB, RSS ${row.rssMb} MB and at most ${row.growthMb} more${judged}`;
}

function rssMb(pid: number): number | null {
  return memoryOf(pid).rssMb;
}

/** The largest resident memory since it was last asked to forget it. */
function peakMb(pid: number): number {
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  if (found === null) throw new MeshError("bench.memory", `the kernel does not tell the peak of process ${pid}`);
  return Number(found[1]) / 1_024;
}

function sum(values: readonly (number | null)[]): number {
  return values.reduce<number>((total, value) => total + (value ?? 0), 0);
}
