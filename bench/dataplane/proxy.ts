/** What stands between caller and provider in a bench, whatever its kind. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Scope } from "@dualmesh/base/scope";
import type { Work } from "../options.ts";

export interface RunningProxy {
  /** Where callers connect on 127.0.0.1. */
  readonly port: number;
  /** The process whose CPU time and memory are the proxy's; undefined when there is no proxy. */
  readonly pid: number | undefined;
  /** The heap in use, in MB, where the proxy tells it. */
  readonly heapMb?: () => Promise<number | null>;
}

/** Why a proxy cannot be had here: its rows are null and this is said. */
export interface Unavailable {
  readonly unavailable: string;
}

/** Starts a proxy before the provider at `echoPort`; it ends with `scope`. */
export type StartProxy = (scope: Scope, work: Work, echoPort: number) => Promise<RunningProxy | Unavailable>;

export function isUnavailable(proxy: RunningProxy | Unavailable): proxy is Unavailable {
  return "unavailable" in proxy;
}

/** A directory that goes with `scope`. */
export function temporaryDirectory(scope: Scope): string {
  const directory = mkdtempSync(join(tmpdir(), "dualmesh-bench-"));
  scope.defer(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Whether a program answers on PATH. */
export function isInstalled(command: string, ...args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}
