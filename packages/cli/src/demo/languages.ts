/** What runs programs of each language of the cast on this machine. */
import { spawn } from "node:child_process";
import type { Language } from "./cast.ts";

export const commands: Readonly<Record<Language, string>> = { Node: process.execPath, Python: "python3" };

/** Older ones lack what the example uses. */
const pythonProbe = "import sys, http.server; sys.exit(sys.version_info < (3, 8))";
const probeMs = 5000;

export async function languagesHere(): Promise<ReadonlySet<Language>> {
  const hasPython = await succeeds(commands.Python, ["-c", pythonProbe]);
  return new Set<Language>(hasPython ? ["Node", "Python"] : ["Node"]);
}

function succeeds(command: string, words: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, words, { stdio: "ignore", timeout: probeMs, killSignal: "SIGKILL" });
    child.on("error", () => resolve(false)); // there is none
    child.on("exit", (code) => resolve(code === 0));
  });
}
