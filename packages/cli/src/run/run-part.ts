/** Runs a part from its state directory to its orderly end, or until another process has taken over from it. */
import { flushCompileCache } from "node:module";
import { systemClock } from "@dualmesh/base/clock";
import { onScarceDescriptors } from "@dualmesh/base/descriptors";
import type { LogLevel } from "@dualmesh/base/log";
import { openLog } from "@dualmesh/base/open-log";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import { exitCodes } from "../exit-codes.ts";
import type { RunnablePart } from "./part.ts";
import { quietCompilers } from "./quiet-compilers.ts";
import { nextSignal } from "./signals.ts";
import { openUpgradable } from "./upgradable.ts";

export interface RunOptions<Config> {
  readonly config: Config;
  /** The configuration as anybody may see it. */
  readonly shown: unknown;
  readonly state: string;
  readonly log: { readonly level: LogLevel; readonly pretty?: boolean | undefined };
}

/** What `dualmesh status` gets from a running part. */
export interface PartReport {
  readonly part: string;
  readonly version: string;
  readonly pid: number;
  /** Seconds since it was started. */
  readonly uptime: number;
  readonly state: string;
  readonly admin: string | null;
  readonly warnings: readonly string[];
  readonly status: unknown;
}

/** Resolves to the exit code when the part has ended. */
export async function runPart<Config>(part: RunnablePart<Config>, options: RunOptions<Config>): Promise<number> {
  const { level, pretty } = options.log;
  const log = (await openLog(pretty === undefined ? { level } : { level, pretty })).child({ part: part.name });
  const signals = nextSignal();
  const clock = systemClock;
  const told = new ThrottledLog({ log, clock });
  onScarceDescriptors((use, openFiles) => told.error(use, { use, openFiles }, scarceText));
  const upgradable = await openUpgradable({ part, run: options, log });
  // A process that is killed writes no cache: what the next start is to find is written now. Without a cache this does nothing.
  flushCompileCache();
  const reason = await Promise.race([signals, upgradable.handedOver]);
  if (reason !== "handed over") {
    log.info({ reason }, "ending in order; a second signal ends at once");
    await upgradable.close();
  }
  log.info({}, "ended");
  await quietCompilers(clock);
  return exitCodes.ok;
}

const scarceText =
  "nearly no file descriptors are left and connections are turned away: raise the limit (ulimit -n) or lower the connection limits";
