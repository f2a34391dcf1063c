/** `PART run`: the flags that every part has. What reads a configuration is loaded only by who needs one; a supervisor does not. */
import { logLevels } from "@dualmesh/base/log";
import type { Command, Flag } from "../command.ts";
import { defaultStateText } from "../state-path.ts";
import type { Part } from "./part.ts";

export interface PartCommandOptions {
  readonly part: string;
  readonly summary: string;
  /** Beside those of every part. */
  readonly flags: readonly Flag[];
  readonly example: string;
  readonly supervisable?: boolean;
  readonly load: () => Promise<Part>;
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
      const { runConfigured } = await import("./configured.ts");
      return runConfigured(await options.load(), [...options.flags, ...commonFlags], flags);
    },
  };
}
