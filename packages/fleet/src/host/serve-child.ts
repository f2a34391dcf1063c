/**
 * How an ordinary user who was given capabilities comes to a mover without any. Whoever is not root cannot lay them down for good in a running process,
 * so that this process keeps them and becomes the agent, and the same words begin again in a child that has none and asks over a socket. The kernel ends
 * the child with it.
 */
import { spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import { MeshError } from "@dualmesh/base/errors";
import { runHostAgent } from "./agent.ts";
import type { Privileged } from "./host.ts";
import { openLinux } from "./linux.ts";
import { needProgram } from "./programs.ts";
import { agentDescriptor, agentSocketVariable } from "./start-agent.ts";
import { ownUser, refuseDebugger } from "./users.ts";

export interface ServeOptions {
  /** Whether it runs `sudo`, which could not become root then: it may gain rights by the files that it executes. */
  readonly sudo: boolean;
}

/**
 * Runs the program without rights and serves it until it ends. Resolves to its exit code. What the file of Node itself would give to whoever runs it
 * (`setcap`) is not given either, but for `sudo`: who runs has to see whether it has rights.
 */
export async function serveChild(
  program: readonly [string, ...string[]],
  words: readonly string[],
  { sudo }: ServeOptions,
): Promise<number> {
  refuseDebugger(); // whoever is this user could have this process run anything, with what it has
  const confine = [
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--pdeathsig",
    "KILL",
    ...(sudo ? [] : ["--no-new-privs"]),
  ];
  const line = [...confine, "--", ...program, ...words];
  const child = spawn(needProgram("setpriv"), line, {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: { ...process.env, [agentSocketVariable]: String(agentDescriptor) },
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", (cause) => {
      reject(new MeshError("host.failed", `setpriv cannot be run: ${cause.message}`, {}, { cause }));
    });
    child.once("close", (code, signal) => {
      if (code !== null) resolve(code);
      else reject(new MeshError("host.failed", `what was started without rights was ended by ${signal}`));
    });
  });
  ended.catch(() => undefined); // who waits for it hears of it, when the agent has ended
  // Who ends a mover by its number means the child; what a terminal sends reaches both.
  const pass = (): void => void child.kill("SIGTERM");
  process.on("SIGTERM", pass);
  try {
    const asked = child.stdio[agentDescriptor] as Duplex;
    // Who asks is known: it is believed neither when it says so, nor by what the environment of this process has of a sudo before.
    const open = (): Privileged => openLinux({ asker: ownUser(), users: [] });
    await runHostAgent({ input: asked, output: asked, environment: {}, open, isJob: true });
    return await ended;
  } finally {
    process.off("SIGTERM", pass);
  }
}
