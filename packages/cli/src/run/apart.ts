/**
 * A configuration read by a process of its own, which ends with having told it. The libraries that read YAML and check it against a schema
 * take 10 MB that a part which runs for months would keep and never use again (docs/performance.md). A supervisor has it read once, and
 * tells each process that it starts: a part that died is back without reading anything.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { MeshError } from "@dualmesh/base/errors";
import type { RunOptions } from "./run-part.ts";

/** Set for the process that reads. */
const readerVariable = "DUALMESH_READS_CONFIGURATION";
/** Set for a process that hears its configuration from its parent. */
const toldVariable = "DUALMESH_IS_TOLD_CONFIGURATION";

export function isReader(): boolean {
  return process.env[readerVariable] === "1";
}

/** What the reader tells, as one line of JSON on standard output. */
export function tell<Config>(options: RunOptions<Config>): void {
  process.stdout.write(`${JSON.stringify(options)}\n`);
}

/** What a reader told, as it stands. */
export type Told = string;

/** The environment of a process to which `hand` gives a configuration. */
export const toldEnvironment: Readonly<Record<string, string>> = { [toldVariable]: "1" };

/** Gives a configuration to a child that was started with `toldEnvironment` and a channel. */
export function hand(child: ChildProcess, told: Told): void {
  // A child that is gone already is told of by its "exit".
  child.send(told, () => {});
}

/** The configuration, from the parent or from a process that reads it; the exit code of that when it could not, having said why. */
export async function configurationTold<Config>(): Promise<RunOptions<Config> | number> {
  const told = process.env[toldVariable] === "1" ? await heard() : await readApart(process.argv.slice(1));
  // It was checked against the schema by this same program.
  return typeof told === "number" ? told : (JSON.parse(told) as RunOptions<Config>);
}

/** Has the words of a command read by another process. Resolves to its exit code when it could not: it has said why on standard error. */
export async function readApart(
  words: readonly string[],
  more: Readonly<Record<string, string>> = {},
  [node = "", ...program]: readonly string[] = [process.execPath, ...process.execArgv, words[0] ?? ""],
): Promise<Told | number> {
  const child = spawn(node, [...program, ...words.slice(1)], {
    stdio: ["inherit", "pipe", "inherit"],
    env: { ...process.env, ...more, [readerVariable]: "1" },
  });
  return new Promise((resolve, reject) => {
    let told = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (piece: string) => {
      told += piece;
      if (!told.endsWith("\n")) return;
      resolve(told);
      // It has nothing more to do, and its own way out takes time, at worst for ever (quiet-compilers.ts).
      child.kill("SIGKILL");
    });
    child.once("error", reject);
    child.once("close", (code) => resolve(code || 1));
  });
}

function heard(): Promise<Told> {
  return new Promise((resolve, reject) => {
    process.once("message", (told) => resolve(String(told)));
    process.once("disconnect", () => reject(new MeshError("supervisor.gone", "the supervisor is gone")));
  });
}
