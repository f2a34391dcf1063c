/** What stands between caller and provider in a bench, whatever its kind. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Scope } from "@dualmesh/base/scope";
import type { Work } from "../options.ts";
import type { Place } from "./load.ts";

/** Callers connect to its place. */
export interface RunningProxy extends Place {
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

export function isUnavailable(proxy: object): proxy is Unavailable {
  return "unavailable" in proxy;
}

/** Where to send load. */
export function placeOf({ host, port }: RunningProxy): Place {
  return host === undefined ? { port } : { host, port };
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
