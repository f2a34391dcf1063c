#!/usr/bin/env node
/** `dualmesh`: finds the command that the words name, runs it, and ends with its exit code. */
import { closest } from "@dualmesh/base/config/suggest";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import { type Command, columns, helpText, type RawCommand, readFlags } from "./command.ts";
import { commands } from "./commands.ts";
import { exitCodeOf, exitCodes } from "./exit-codes.ts";
import { printable } from "./printable.ts";
import { productVersion } from "./version.ts";

process.stdout.on("error", () => {}); // whoever read the output has gone, as with `| head`
const exitCode = await main(process.argv.slice(2));
await written(process.stdout);
process.exit(exitCode);

/** A pipe takes no more than its reader does, and an end before that would cut off what is left. */
async function written(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength > 0) await new Promise<void>((resolve) => stream.write("", () => resolve()));
}

async function main(words: readonly string[]): Promise<number> {
  const [first = "", second = ""] = words;
  if (["--help", "-h", "help", ""].includes(first) && words.length <= 1) {
    (first === "" ? process.stderr : process.stdout).write(overview());
    return first === "" ? exitCodes.usage : exitCodes.ok;
  }
  if (first === "--version") {
    process.stdout.write(`${productVersion()}\n`);
    return exitCodes.ok;
  }
  if (first === "help") return main([...words.slice(1), "--help"]);
  const named =
    commands.find(({ name }) => name === `${first} ${second}`) ?? commands.find(({ name }) => name === first);
  try {
    if (named === undefined) throw unknownCommand(first, second);
    const rest = words.slice(named.name.split(" ").length);
    return await runCommand(named, rest);
  } catch (error) {
    process.stderr.write(`dualmesh${named === undefined ? "" : ` ${named.name}`}: ${printable(messageOf(error))}\n`);
    if (named !== undefined && saysJson(named, words)) process.stdout.write(`${errorLine(error)}\n`);
    return exitCodeOf(error);
  }
}

/** Whether who called reads what the command says as JSON. */
function saysJson(command: Command | RawCommand, words: readonly string[]): boolean {
  return "flags" in command && command.flags.some(({ name }) => name === "json") && words.includes("--json");
}

/** What went wrong, for programs: on one line, as the events of commands are. */
function errorLine(error: unknown): string {
  const code = isMeshError(error) ? error.code : "failed";
  return JSON.stringify({ event: "error", code, text: printable(messageOf(error)) });
}

async function runCommand(command: Command | RawCommand, words: readonly string[]): Promise<number> {
  if ("runRaw" in command) return command.runRaw(words);
  const flags = readFlags(command, words);
  if (!flags.has("help")) return command.run(flags);
  process.stdout.write(await helpText(command));
  return exitCodes.ok;
}

function unknownCommand(first: string, second: string): MeshError {
  const names = commands.map(({ name }) => name);
  const verbs = names.filter((name) => name.startsWith(`${first} `));
  if (verbs.length > 0) return new MeshError("usage.wrong", `"${first}" needs a verb: ${verbs.join(", ")}`);
  const meant =
    closest(second === "" || second.startsWith("-") ? first : `${first} ${second}`, names) ?? closest(first, names);
  const hint = meant === undefined ? `the commands are ${names.join(", ")}` : `did you mean "${meant}"?`;
  return new MeshError("usage.wrong", `there is no command "${first}"; ${hint}`);
}

function overview(): string {
  return `dualmesh: a service mesh for the applications a company already has.

Usage: dualmesh COMMAND [FLAGS]

Commands:
${columns(commands.map(({ name, summary }) => [name, summary]))}

  dualmesh COMMAND --help   flags, exit codes and an example
  dualmesh --version        the version
`;
}
