/** `PART run`: the flags that every part has. What reads a configuration is loaded only by who needs one; a supervisor does not. */
import { logLevels } from "@dualmesh/base/log";
import type { Command, Flag, FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { defaultStateText } from "../state-path.ts";
import type { Part, RunnablePart } from "./part.ts";

export interface PartCommandOptions {
  readonly part: string;
  readonly summary: string;
  /** Beside those of every part. */
  readonly flags: readonly Flag[];
  readonly example: string;
  readonly supervisable?: boolean;
  readonly load: () => Promise<Part>;
  /** The part without what reads its configuration: another process does that, so that this one stays small. */
  readonly loadRunner?: () => Promise<RunnablePart>;
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

export function partCommand(options: PartCommandOptions): Command {
  return {
    name: `${options.part} run`,
    summary: options.summary,
    flags: [...options.flags, ...commonFlags, ...(options.supervisable ? [supervisedFlag] : [])],
    example: options.example,
    defaults: async () => (await import("./configured.ts")).defaultsOf(await options.load()),
    run: async (flags) => {
      if (flags.has("supervised") && !flags.has("print-config")) return (await import("./supervise.ts")).supervise();
      const allFlags = [...options.flags, ...commonFlags];
      if (options.loadRunner !== undefined && !flags.has("print-config"))
        return runSmall(options.load, options.loadRunner, allFlags, flags);
      const { runConfigured } = await import("./configured.ts");
      return runConfigured(await options.load(), allFlags, flags);
    },
  };
}

/** Runs a part whose configuration is read apart, or is the one who reads it. */
async function runSmall(
  load: () => Promise<Part>,
  loadRunner: () => Promise<RunnablePart>,
  allFlags: readonly Flag[],
  values: FlagValues,
): Promise<number> {
  const { isReader, readApart, tell } = await import("./apart.ts");
  if (isReader()) {
    const { readConfigured } = await import("./configured.ts");
    tell(await readConfigured(await load(), allFlags, values));
    return exitCodes.ok;
  }
  const told = await readApart();
  if (typeof told === "number") return told;
  const { runPart } = await import("./run-part.ts");
  return runPart(await loadRunner(), told);
}
