/** The process that takes over from this one: started by it, or by the parent that supervises both. */
import { spawn } from "node:child_process";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Packets } from "@dualmesh/sidecar/transport/native";
import type { Successor } from "@dualmesh/sidecar/upgrade/old-side";
import { supervisedVariable } from "./signals.ts";

/** Set for a process that takes over: where its predecessor listens. */
export const takesOverVariable = "DUALMESH_TAKES_OVER";

export interface SuccessorOptions {
  /** Node with its flags, and the program; the words of this process follow. */
  readonly program: readonly string[];
  /** What `takesOverVariable` says. */
  readonly where: string;
}

/** By what the two talk, and where: both have to choose alike. */
export function whereOf({ takesDescriptors }: Pick<Packets, "takesDescriptors">, path: string): string {
  return `${takesDescriptors ? "moving" : "draining"}:${path}`;
}

/** Throws `upgrade.program`. */
export function readWhere(where: string): { readonly how: "moving" | "draining"; readonly path: string } {
  const [, how, path = ""] = /^(moving|draining):(\/.+)$/.exec(where) ?? [];
  if (how !== "moving" && how !== "draining") {
    throw new MeshError(
      "upgrade.program",
      `${takesOverVariable} is "${where}", which only a process that is upgraded sets`,
    );
  }
  return { how, path };
}

/** What a child asks of the parent that supervises it, and hears from it. */
export interface SuccessorWish {
  readonly wish: "successor";
  readonly program: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}
export interface SuccessorStarted {
  readonly started: "successor";
  readonly pid: number | undefined;
}

/** What it says last when the successor has everything. */
export interface HandedOver {
  readonly ended: "handed over";
}

const lookMs = 50;
const answerMs = 10_000;

/** Throws `upgrade.program`. */
export function readProgram(words: unknown): readonly string[] {
  if (words === undefined) return [process.execPath, ...process.execArgv, process.argv[1] ?? ""];
  if (!Array.isArray(words) || words.length < 2 || !words.every((word) => typeof word === "string" && word !== "")) {
    throw new MeshError("upgrade.program", "the program of the new process is given as Node, its flags, and a file");
  }
  return words as readonly string[];
}

export async function startSuccessor({ program, where }: SuccessorOptions): Promise<Successor> {
  const env = { [takesOverVariable]: where };
  const isSupervised = process.env[supervisedVariable] === "1" && process.connected;
  return isSupervised ? await startedByParent({ wish: "successor", program, env }) : startedHere(program, env);
}

function startedHere([node = "", ...words]: readonly string[], env: Readonly<Record<string, string>>): Successor {
  const child = spawn(node, [...words, ...process.argv.slice(2)], {
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  const { pid } = child;
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  child.unref();
  return { pid: pid ?? 0, ended, kill: () => void child.kill("SIGKILL") };
}

/** The parent starts it, since it is the parent's child from then on. */
async function startedByParent(wish: SuccessorWish): Promise<Successor> {
  const answered = new Promise<SuccessorStarted>((resolve) => {
    const hear = (message: unknown): void => {
      if ((message as Partial<SuccessorStarted>).started !== "successor") return;
      process.off("message", hear);
      resolve(message as SuccessorStarted);
    };
    process.on("message", hear);
  });
  process.send?.(wish);
  const late = sleep(systemClock, answerMs).then((): never => {
    throw new MeshError("upgrade.not-started", "the parent that supervises this process has not started another one");
  });
  const { pid } = await Promise.race([answered, late]);
  if (pid === undefined)
    throw new MeshError(
      "upgrade.not-started",
      "the parent that supervises this process could not start another one: its log says why",
    );
  return { pid, ended: untilGone(pid), kill: () => killed(pid) };
}

/** The parent, if there is one, then knows that the successor is its child even if that dies in the same moment. */
export async function tellHandedOver(): Promise<void> {
  if (process.env[supervisedVariable] !== "1" || !process.connected) return;
  const word: HandedOver = { ended: "handed over" };
  await new Promise<void>((resolve) => process.send?.(word, () => resolve()));
}

async function untilGone(pid: number): Promise<string> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return "it is gone";
    }
    await sleep(systemClock, lookMs);
  }
}

function killed(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it is gone already
  }
}
