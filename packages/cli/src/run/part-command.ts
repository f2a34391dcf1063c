/** `PART run`: the flags that every part has. What reads a configuration is loaded only by who needs one; a supervisor does not. */
import { flushCompileCache } from "node:module";
import { systemClock } from "@dualmesh/base/clock";
import { logLevels } from "@dualmesh/base/log";
import type { Command, Flag } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { defaultStateText } from "../state-path.ts";
import type { PartSchema, RunnablePart } from "./part.ts";
import { quietCompilers } from "./quiet-compilers.ts";

export interface PartCommandOptions<Config> {
  readonly part: string;
  readonly summary: string;
  /** Beside those of every part. */
  readonly flags: readonly Flag[];
  readonly example: string;
  readonly loadSchema: () => Promise<PartSchema<Config>>;
  /** The part without what reads its configuration: another process does that, so that this one stays small. */
  readonly loadRunner: () => Promise<RunnablePart<Config>>;
}

const commonFlags: readonly Flag[] = [
  { name: "config", value: "FILE", summary: "the configuration, YAML; flags win over it", default: "none" },
  { name: "state", value: "DIR", summary: "the state directory", default: defaultStateText, key: ["state"] },
  { name: "log-level", value: "LEVEL", summary: logLevels.join(", "), key: ["log", "level"] },
  { name: "print-config", summary: "print the configuration as it would be in force, and end" },
];

const supervisedFlag: Flag = {
  name: "supervised",
  summary: "run under a small parent that starts it again within a second when it dies",
};

export function partCommand<Config>({ flags, ...options }: PartCommandOptions<Config>): Command {
  const keyed = [...flags, ...commonFlags];
  return {
    name: `${options.part} run`,
    summary: options.summary,
    flags: [...keyed, supervisedFlag],
    example: options.example,
    defaults: async () => (await import("./configured.ts")).defaultsOf(await options.loadSchema()),
    run: async (values) => {
      if (values.has("print-config")) {
        const { printedConfig } = await import("./configured.ts");
        process.stdout.write(await printedConfig(await options.loadSchema(), keyed, values));
        await quietCompilers(systemClock);
        return exitCodes.ok;
      }
      const { configurationTold, isReader, tell } = await import("./apart.ts");
      if (isReader()) {
        const { readConfigured } = await import("./configured.ts");
        const configured = await readConfigured(await options.loadSchema(), keyed, values);
        // It is killed once it has told: what the next start is to find is written now.
        flushCompileCache();
        tell(configured);
        return exitCodes.ok;
      }
      if (values.has("supervised")) return (await import("./supervise.ts")).supervise();
      const [told, { runPart }, runner] = await Promise.all([
        configurationTold<Config>(),
        import("./run-part.ts"),
        options.loadRunner(),
      ]);
      return typeof told === "number" ? told : runPart(runner, told);
    },
  };
}
