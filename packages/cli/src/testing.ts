/** Runs the real command line in tests, with a home of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const program = fileURLToPath(new URL("./main.ts", import.meta.url));

export interface Home extends AsyncDisposable {
  readonly path: string;
  /** Runs a command to its end. */
  run(...words: string[]): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>;
  /** Starts a command that goes on; ended with the home at the latest. */
  start(...words: string[]): Running;
}

export interface Running {
  readonly child: ChildProcess;
  /** Resolves when standard error holds `text` for the n-th time. */
  saw(text: string, times?: number): Promise<string>;
  ended(): Promise<number | null>;
}

export async function openHome(): Promise<Home> {
  const path = await mkdtemp(join(tmpdir(), "dualmesh-cli-"));
  const started: Running[] = [];
  const start = (...words: string[]): Running => {
    const child = spawn(process.execPath, [program, ...words], {
      cwd: path,
      env: { ...process.env, XDG_STATE_HOME: path },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const running = follow(child);
    started.push(running);
    return running;
  };
  return {
    path,
    start,
    async run(...words) {
      const { child, ended } = start(...words);
      let stdout = "";
      let stderr = "";
      child.stdout?.on("data", (piece) => {
        stdout += piece;
      });
      child.stderr?.on("data", (piece) => {
        stderr += piece;
      });
      return { code: await ended(), stdout, stderr };
    },
    async [Symbol.asyncDispose]() {
      for (const { child, ended } of started) {
        child.kill("SIGTERM");
        await ended();
      }
      await rm(path, { recursive: true });
    },
  };
}

function follow(child: ChildProcess): Running {
  let text = "";
  const ended = once(child, "close").then(() => child.exitCode);
  child.stderr?.on("data", (piece) => {
    text += piece;
  });
  return {
    child,
    ended: () => ended,
    async saw(wanted, times = 1) {
      while (text.split(wanted).length <= times) {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`it ended before "${wanted}": ${text}`);
        await Promise.race([once(child.stderr as NodeJS.ReadableStream, "data"), ended]);
      }
      return text;
    },
  };
}
