/**
 * How other programs are run with privileges: by an absolute path from a fixed list of directories, with an array of words (never through a shell),
 * an environment of two variables, and a limit for their time and for what they may say. Each is in a session of its own, so
 * that Ctrl-C at the terminal does not end the half of an operation.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Entrance } from "./namespace.ts";

/** Each program, and the package of Debian and its like that has it. */
const packages = {
  nft: "nftables",
  ss: "iproute2",
  nsenter: "util-linux",
  setpriv: "util-linux",
  tcpdump: "tcpdump",
  getent: "libc-bin",
} as const;

export type ProgramName = keyof typeof packages;

const directories: readonly string[] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
export const cleanEnvironment: Readonly<Record<string, string>> = { PATH: directories.join(":"), LC_ALL: "C" };

const timeoutMs = 20_000;
const maxOutputBytes = 4 * 1_024 * 1_024;

export interface Ran {
  readonly code: number;
  readonly output: string;
  readonly said: string;
}

export interface Command {
  readonly program: ProgramName;
  readonly words: readonly string[];
  readonly input?: string;
}

export type Started = ChildProcessByStdio<Writable, Readable, Readable>;

const debuggerOff = "--disable-sigusr1";

/**
 * This product's own program such that a signal of its user opens no debugger in it: that one listens on loopback, and whoever is on the machine may
 * have it run anything.
 */
export function withoutDebugger([node, ...words]: readonly [string, ...string[]]): readonly [string, ...string[]] {
  return [node, ...(words.includes(debuggerOff) ? [] : [debuggerOff]), ...words];
}

/** The absolute path of a program; undefined where there is none. */
export function findProgram(program: ProgramName): string | undefined {
  return directories.map((directory) => `${directory}/${program}`).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The same, or throws `host.missing-program`. */
export function needProgram(program: ProgramName): string {
  const path = findProgram(program);
  if (path === undefined) throw new MeshError("host.missing-program", missingText(program), { program });
  return path;
}

export function missingText(program: ProgramName): string {
  return `the program ${program} is in none of ${directories.join(", ")}: install the package ${packages[program]}`;
}

/** The words that run a program at an entrance. */
export function commandLine({ program, words }: Command, entrance: Entrance): readonly [string, ...string[]] {
  const line = [needProgram(program), ...words] as const;
  // The namespace is the child's own descriptor 3, which nobody can have changed meanwhile.
  return entrance.fd === undefined ? line : [needProgram("nsenter"), "--net=/proc/self/fd/3", "--", ...line];
}

/** Starts a program at an entrance, with pipes; the caller sees that it ends. */
export function startProgram(command: Command, entrance: Entrance): Started {
  const [file, ...words] = commandLine(command, entrance);
  return spawn(file, words, {
    stdio: ["pipe", "pipe", "pipe", ...(entrance.fd === undefined ? [] : [entrance.fd])],
    env: { ...cleanEnvironment },
    detached: true,
    cwd: "/",
  }) as unknown as Started;
}

/** Runs a program at an entrance to its end. Rejects with `host.failed` when it cannot be run, takes too long or says too much. */
export function runProgram(command: Command, entrance: Entrance, clock: Clock = systemClock): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = startProgram(command, entrance);
    const fail = (why: string): void => {
      timer.cancel();
      child.kill("SIGKILL");
      reject(new MeshError("host.failed", `${command.program} ${why}`, { program: command.program }));
    };
    const timer = clock.after(timeoutMs, () => fail(`did not end within ${timeoutMs} ms`), true);
    const output = collect(child.stdout, () => fail(`said more than ${maxOutputBytes} bytes`));
    const said = collect(child.stderr, () => fail(`said more than ${maxOutputBytes} bytes`));
    child.once("error", (error) => fail(`cannot be run: ${error.message}`));
    child.once("close", (code, signal) => {
      timer.cancel();
      if (code === null) reject(new MeshError("host.failed", `${command.program} was ended by ${signal}`));
      else resolve({ code, output: output(), said: said() });
    });
    child.stdin.on("error", () => undefined); // it ended without reading; its exit code says the rest
    child.stdin.end(command.input ?? "");
  });
}

function collect(stream: Readable, excess: () => void): () => string {
  const pieces: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > maxOutputBytes) excess();
    else pieces.push(piece);
  });
  return () => Buffer.concat(pieces).toString("utf8");
}

/** The first line of what a program said that tells something, for a message. */
export function firstLine(said: string): string {
  const lines = said.split("\n").map((line) => line.trim());
  return (lines.find((line) => /error|denied|not permitted|cannot|couldn't/i.test(line)) ?? lines[0] ?? "").slice(
    0,
    300,
  );
}
