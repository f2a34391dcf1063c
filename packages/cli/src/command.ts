/** What a command of `dualmesh` is, how its words are read, and its `--help`. */
import { parseArgs } from "node:util";
import type { Path } from "@dualmesh/base/config/document";
import { closest } from "@dualmesh/base/config/suggest";
import { MeshError } from "@dualmesh/base/errors";
import { exitCodeTexts } from "./exit-codes.ts";

export interface Flag {
  /** Without the dashes. */
  readonly name: string;
  /** What stands for the value in the help: `PORT`. A flag without is given or not. */
  readonly value?: string;
  readonly summary: string;
  /** As text for the help; a flag with `key` shows the default of its key. */
  readonly default?: string;
  /** The key of the configuration that the flag sets. */
  readonly key?: Path;
}

export type FlagValues = ReadonlyMap<string, string | true>;

export interface Command {
  /** One or two words: `status`, `sidecar run`. */
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly Flag[];
  readonly example: string;
  /** Resolves to the exit code. */
  readonly run: (flags: FlagValues) => Promise<number>;
  /** The defaults of the keys that flags set, for the help. */
  readonly defaults?: () => Promise<(key: Path) => unknown>;
}

/** A command that reads its own words and has its own help. */
export interface RawCommand {
  readonly name: string;
  readonly summary: string;
  readonly runRaw: (words: readonly string[]) => Promise<number>;
}

export const helpFlag: Flag = { name: "help", summary: "this text" };

/** Reads the words after the command's name; throws `usage.wrong`. */
export function readFlags(command: Command, words: readonly string[]): FlagValues {
  const flags = [...command.flags, helpFlag];
  const fail = (text: string): never => {
    throw new MeshError("usage.wrong", `${text}; see dualmesh ${command.name} --help`);
  };
  const { tokens } = parseArgs({
    args: [...words],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      flags.map(({ name, value }) => [name, { type: value === undefined ? "boolean" : "string" }]),
    ),
  });
  const values = new Map<string, string | true>();
  for (const token of tokens) {
    if (token.kind === "positional") fail(`"${token.value}" is not expected here`);
    if (token.kind !== "option") continue;
    const name = token.rawName === "-h" ? "help" : token.name;
    const flag = flags.find((known) => known.name === name);
    if (flag === undefined) {
      const meant = closest(
        name,
        flags.map((known) => known.name),
      );
      fail(`${token.rawName} is no flag of it${meant === undefined ? "" : `; did you mean --${meant}?`}`);
    } else if (values.has(name)) fail(`--${name} is given twice`);
    else if (flag.value === undefined && token.value !== undefined) fail(`--${name} takes no value`);
    else if (flag.value !== undefined && (token.value === undefined || token.value === ""))
      fail(`--${name} needs a value: --${name} ${flag.value}`);
    else values.set(name, token.value ?? true);
  }
  return values;
}

/** The help of one command. */
export async function helpText(command: Command): Promise<string> {
  const defaultOf = await command.defaults?.();
  const rows = [...command.flags, helpFlag].map((flag): [string, string] => {
    const shown = flag.default ?? (flag.key === undefined ? undefined : defaultOf?.(flag.key));
    const suffix =
      shown === undefined ? "" : ` (default: ${typeof shown === "object" ? JSON.stringify(shown) : shown})`;
    return [`--${flag.name}${flag.value === undefined ? "" : ` ${flag.value}`}`, `${flag.summary}${suffix}`];
  });
  return `${command.summary}

Usage: dualmesh ${command.name} [FLAGS]

Flags:
${columns(rows)}

Exit codes:
${columns(exitCodeTexts.map(([code, text]) => [String(code), text]))}

Example:
  ${command.example}
`;
}

/** Two columns, indented. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join("\n");
}
