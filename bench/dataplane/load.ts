/** The C programs of `bench/load`: built on first use, and run from here. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { createInterface } from "node:readline";
import { MeshError } from "@dualmesh/base/errors";
import { Scope } from "@dualmesh/base/scope";
import type { Load, Work } from "../options.ts";
import { loadCore, type Started, start } from "./process.ts";

const sources = new URL("../load/", import.meta.url).pathname;
const built = new URL("../build/", import.meta.url).pathname;
const programs = ["load", "echo", "stuck", "stream", "steady"] as const;
type Program = (typeof programs)[number];

/** What the generator found in one window. */
export interface Measured {
  readonly requests: number;
  readonly seconds: number;
  readonly rps: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
  readonly errors: number;
  /** The generator's own CPU time for each request. */
  readonly ownCpuMicros: number;
  /** CPU time, user and system, of each watched process for each request. */
  readonly watchedCpuMicros: readonly number[];
  /** Share of each core's time that was not idle, whoever used it. */
  readonly coreBusy: readonly number[];
}

export interface Progress {
  readonly seconds: number;
  readonly requests: number;
  readonly errors: number;
}

/** Where to send something. */
export interface Place {
  /** 127.0.0.1 unless said. */
  readonly host?: string;
  readonly port: number;
}

export interface LoadRun extends Place {
  readonly work: Work;
  readonly load: Load;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly watch: readonly number[];
  readonly progress?: { readonly everySeconds: number; readonly listener: (progress: Progress) => void };
  readonly signal?: AbortSignal;
}

/** Builds what is missing or older than its sources. Throws `bench.compiler` when that cannot be done. */
export function buildLoad(): void {
  const files = readdirSync(sources).filter((name) => /\.[ch]$/.test(name));
  const newest = Math.max(...files.map((name) => statSync(sources + name).mtimeMs));
  const stale = programs.filter(
    (program) => (statSync(built + program, { throwIfNoEntry: false })?.mtimeMs ?? 0) < newest,
  );
  if (stale.length === 0) return;
  const compiler = [process.env["CC"], "cc", "gcc", "clang"].find(
    (name) => name !== undefined && name !== "" && spawnSync(name, ["--version"]).status === 0,
  );
  if (compiler === undefined) {
    throw new MeshError(
      "bench.compiler",
      "the load generator is in C and no C compiler was found (tried $CC, cc, gcc, clang): install one, for example by `apt-get install gcc libc6-dev`",
    );
  }
  mkdirSync(built, { recursive: true });
  const shared = files.filter((name) => name.endsWith(".c") && !programs.some((program) => name === `${program}.c`));
  for (const program of stale) {
    // Whole at once: another process may build it, or run it, at the same time.
    const fresh = `${built}${program}.${process.pid}`;
    const args = [
      "-O2",
      "-std=gnu11",
      "-Wall",
      "-pthread",
      "-o",
      fresh,
      ...[`${program}.c`, ...shared].map((name) => sources + name),
    ];
    const { status, stderr } = spawnSync(compiler, args, { encoding: "utf8" });
    if (status !== 0)
      throw new MeshError("bench.compiler", `${compiler} could not build bench/load/${program}.c:\n${stderr}`);
    renameSync(fresh, built + program);
  }
}

/** Starts the provider; resolves with its port once it listens. */
export function startEcho(scope: Scope, work: Work, port = 0): Promise<Provider> {
  return startServer(scope, "echo", [work, `127.0.0.1:${port}`]);
}

/** Starts the server that takes and gives bodies of any length over HTTP. */
export function startStreamServer(scope: Scope): Promise<Provider> {
  return startServer(scope, "stream", ["serve", "127.0.0.1:0"]);
}

interface Provider {
  readonly port: number;
  readonly pid: number;
}

async function startServer(scope: Scope, program: Program, args: readonly string[]): Promise<Provider> {
  const started = start(scope, { core: loadCore, command: built + program, args, speaks: true });
  for await (const line of linesOf(started))
    return { port: (JSON.parse(line) as { port: number }).port, pid: started.pid };
  throw new MeshError("bench.start", `the provider (${program}) ended: ${started.complaint()}`);
}

/** Makes load and resolves with what was measured. */
export async function runLoad(run: LoadRun): Promise<Measured> {
  const args = [
    run.work,
    addressOf(run),
    "--connections",
    String(run.load.connections),
    "--in-flight",
    String(run.load.inFlight),
  ];
  args.push("--seconds", String(run.seconds), "--warm-up", String(run.warmUpSeconds));
  for (const pid of run.watch) args.push("--watch", String(pid));
  if (run.progress !== undefined) args.push("--progress", String(run.progress.everySeconds));
  const listener = (line: object): void => run.progress?.listener(line as Progress);
  const measured = await runProgram<Measured>("load", args, run.signal, listener);
  if (measured.requests === 0)
    throw new MeshError("bench.load", `no call was answered at port ${run.port} (${measured.errors} errors)`);
  return measured;
}

export interface StuckReport {
  readonly deafBytes: number;
  readonly deafCuts: number;
  readonly dripBytes: number;
  readonly dripCuts: number;
}

/** Runs the client that never reads and the one that sends a byte a second. */
export function runStuck(work: Work, at: Place, seconds: number, signal?: AbortSignal): Promise<StuckReport> {
  return runProgram<StuckReport>("stuck", [work, addressOf(at), "--seconds", String(seconds)], signal);
}

export interface Streamed {
  readonly bytes: number;
  readonly seconds: number;
}

/** Sends or fetches one body; every byte of it was right. */
export function runStream(way: "up" | "down", at: Place, bytes: number, signal?: AbortSignal): Promise<Streamed> {
  return runProgram<Streamed>("stream", [way, addressOf(at), String(bytes)], signal);
}

/** Starts the callers at a steady rate (`steady.c`), which end with `scope` or with their input; resolves with the lines that they print. */
export function startSteady(
  scope: Scope,
  options: { readonly rate: number; readonly bodyBytes: number; readonly targets: readonly SteadyTarget[] },
): { readonly started: Started; readonly lines: AsyncIterable<string> } {
  const targets = options.targets.flatMap(({ work, place, connections }) => [
    work,
    addressOf(place),
    String(connections),
  ]);
  const args = [String(options.rate), String(options.bodyBytes), ...targets];
  const started = start(scope, { core: loadCore, command: `${built}steady`, args, speaks: true });
  return { started, lines: linesOf(started) };
}

export interface SteadyTarget {
  readonly work: Work;
  readonly place: Place;
  readonly connections: number;
}

function addressOf({ host = "127.0.0.1", port }: Place): string {
  return `${host}:${port}`;
}

async function runProgram<Result>(
  program: Program,
  args: readonly string[],
  signal?: AbortSignal,
  onProgress?: (line: object) => void,
): Promise<Result> {
  await using scope = new Scope();
  const started = start(scope, { core: loadCore, command: built + program, args, speaks: true });
  const abort = (): boolean => started.child.kill("SIGTERM");
  signal?.addEventListener("abort", abort, { once: true });
  scope.defer(() => signal?.removeEventListener("abort", abort));
  let result: Result | undefined;
  for await (const line of linesOf(started)) {
    const parsed = JSON.parse(line) as object;
    if ("progress" in parsed) onProgress?.(parsed);
    else result = parsed as Result;
  }
  await started.ended;
  signal?.throwIfAborted();
  if (result === undefined)
    throw new MeshError("bench.load", `bench/load/${program}.c gave no result: ${started.complaint()}`);
  return result;
}

function linesOf(started: Started): AsyncIterable<string> {
  return createInterface({ input: started.child.stdout as NodeJS.ReadableStream });
}
