/** `npm run bench -- BENCH [options]`: one object a line on standard output with `--json`, everything else on standard error. */
import { isMeshError } from "@dualmesh/base/errors";
import { compare } from "./dataplane/compare.ts";
import { buildLoad } from "./dataplane/load.ts";
import { measureMemory } from "./dataplane/memory.ts";
import { pinning, say } from "./dataplane/process.ts";
import { soak } from "./dataplane/soak.ts";
import { measureStreams } from "./dataplane/stream.ts";
import { measureStuck } from "./dataplane/stuck.ts";
import { type DataplaneOptions, parseDataplaneOptions, usage } from "./options.ts";
import { measureUpgrades } from "./upgrade/measure.ts";
import { parseUpgradeOptions, type UpgradeOptions, upgradeUsage } from "./upgrade/options.ts";

const abort = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => abort.abort(new DOMException(`ended by ${signal}`, "AbortError")));
}

/** The benches. A new one is a line here. */
const benches: Readonly<Record<string, Bench>> = {
  dataplane: { usage, prepare: (args) => prepared(parseDataplaneOptions(args), runDataplane) },
  upgrade: { usage: upgradeUsage, prepare: (args) => prepared(parseUpgradeOptions(args), runUpgrade) },
};

interface Bench {
  readonly usage: string;
  /** Throws `bench.usage`. Undefined when help was asked for; otherwise what runs it, and resolves with whether it went well. */
  readonly prepare: (args: readonly string[]) => (() => Promise<boolean>) | undefined;
}

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || name === "--help" || name === "help")
    return help(...Object.values(benches).map((each) => each.usage));
  const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
  if (bench === undefined) {
    say(`there is no bench "${name}"; there are: ${Object.keys(benches).join(", ")}`);
    return 2;
  }
  try {
    const run = bench.prepare(args);
    if (run === undefined) return help(bench.usage);
    buildLoad();
    if (!pinning)
      say(
        "processes cannot be held to a core here (taskset or a second core is missing): the figures are of little use",
      );
    return (await run()) ? 0 : 1;
  } catch (error) {
    if (abort.signal.aborted) return 130;
    if (isMeshError(error, "bench.usage")) say(`${error.message}\n\n${bench.usage}`);
    else if (isMeshError(error)) say(error.message);
    else say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return 2;
  }
}

function prepared<Options>(
  options: Options | undefined,
  run: (options: Options) => Promise<boolean>,
): (() => Promise<boolean>) | undefined {
  return options === undefined ? undefined : () => run(options);
}

function runUpgrade(options: UpgradeOptions): Promise<boolean> {
  return measureUpgrades(options, abort.signal, emitter(options));
}

function emitter({ json }: { readonly json: boolean }): (row: object) => void {
  return (row) => {
    if (json) process.stdout.write(`${JSON.stringify(row)}\n`);
  };
}

function runDataplane(options: DataplaneOptions): Promise<boolean> {
  const emit = emitter(options);
  switch (options.kind) {
    case "compare":
      return compare(options, abort.signal, emit);
    case "soak":
      return soak(options, abort.signal, emit);
    case "stuck":
      return measureStuck(options, abort.signal, emit);
    case "stream":
      return measureStreams(options, abort.signal, emit);
    case "memory":
      return measureMemory(options, abort.signal, emit);
  }
}

function help(...usages: readonly string[]): number {
  for (const each of usages) say(each);
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
