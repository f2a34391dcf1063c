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

const abort = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => abort.abort(new DOMException(`ended by ${signal}`, "AbortError")));
}
process.exitCode = await main(process.argv.slice(2));

async function main([bench, ...args]: readonly string[]): Promise<number> {
  try {
    if (bench === undefined || bench === "--help" || bench === "help") return help();
    if (bench !== "dataplane") {
      say(`there is no bench "${bench}"; there is: dataplane`);
      return 2;
    }
    const options = parseDataplaneOptions(args);
    if (options === undefined) return help();
    buildLoad();
    if (!pinning)
      say(
        "processes cannot be held to a core here (taskset or a second core is missing): the figures are of little use",
      );
    return (await run(options)) ? 0 : 1;
  } catch (error) {
    if (abort.signal.aborted) return 130;
    if (isMeshError(error, "bench.usage")) say(`${error.message}\n\n${usage}`);
    else if (isMeshError(error)) say(error.message);
    else say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return 2;
  }
}

function run(options: DataplaneOptions): Promise<boolean> {
  const emit = (row: object): void => {
    if (options.json) process.stdout.write(`${JSON.stringify(row)}\n`);
  };
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

function help(): number {
  say(usage);
  return 0;
}
