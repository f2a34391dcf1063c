/**
 * A configuration read by a process of its own, which ends with having told it. The libraries that read YAML and check it against a schema
 * take 10 MB that a part which runs for months would keep and never use again (docs/performance.md).
 */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import type { RunOptions } from "./run-part.ts";

/** Set for the process that reads. */
const readerVariable = "DUALMESH_READS_CONFIGURATION";

export function isReader(): boolean {
  return process.env[readerVariable] === "1";
}

/** What the reader tells, as one line of JSON on standard output. */
export function tell(options: RunOptions): void {
  process.stdout.write(JSON.stringify(options));
}

/**
 * Has the words of this command read by another process. Resolves to its exit code when it could not: it has said why on standard
 * error, which is the same for both.
 */
export async function readApart(): Promise<RunOptions | number> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: ["inherit", "pipe", "inherit"],
    env: { ...process.env, [readerVariable]: "1" },
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
  });
  const [code, told] = await Promise.all([ended, text(child.stdout)]);
  return code === 0 ? (JSON.parse(told) as RunOptions) : code;
}
