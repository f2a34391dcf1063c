/** Runs a part from its state directory to its orderly end: lock, part, control socket, admin port, then the wait for a signal. */
import { flushCompileCache } from "node:module";
import { type Admin, jsonReply, openAdmin } from "@dualmesh/base/admin/server";
import { systemClock } from "@dualmesh/base/clock";
import { onScarceDescriptors } from "@dualmesh/base/descriptors";
import type { LogLevel } from "@dualmesh/base/log";
import { openLog } from "@dualmesh/base/open-log";
import { systemRandom } from "@dualmesh/base/random";
import { Scope } from "@dualmesh/base/scope";
import { type ControlHandler, openControl } from "@dualmesh/base/state/control-socket";
import { openState } from "@dualmesh/base/state/state";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import { exitCodes } from "../exit-codes.ts";
import { productVersion } from "../version.ts";
import type { RunnablePart } from "./part.ts";
import { quietCompilers } from "./quiet-compilers.ts";
import { nextSignal } from "./signals.ts";

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
  await using scope = new Scope(log);
  const clock = systemClock;
  const started = clock.now();
  const told = new ThrottledLog({ log, clock });
  onScarceDescriptors((use, openFiles) => told.error(use, { use, openFiles }, scarceText));
  const state = scope.use(await openState({ path: options.state, part: part.name, clock, log }));
  const {
    running,
    admin: pages,
    warnings = [],
  } = await part.start({
    config: options.config,
    shown: options.shown,
    state,
    clock,
    random: systemRandom,
    log,
  });
  scope.defer(() => running.close());
  let admin: Admin | undefined;
  const report = (): PartReport => ({
    part: part.name,
    version: productVersion(),
    pid: process.pid,
    uptime: Math.floor((clock.now() - started) / 1000),
    state: state.path,
    admin: admin?.address ?? null,
    warnings,
    status: running.status(),
  });
  // Before the admin port, so that whoever finds the part ready can also tell it what to do.
  const handlers = new Map<string, ControlHandler>([...(running.commands ?? []), ["status", async () => report()]]);
  const control = await openControl({ directory: state.path, handlers, clock, log });
  scope.defer(() => control.close());
  if (pages !== undefined) {
    const routes = new Map([...pages.routes, ["/status", () => jsonReply(report())] as const]);
    const { port } = pages;
    const open = (at: number): Promise<Admin> => openAdmin({ ...pages, port: at, routes, clock, log });
    const opened = await (typeof port === "number" ? open(port) : port(open));
    admin = opened;
    scope.defer(() => opened.close());
  }
  for (const warning of warnings) log.warn({}, warning);
  log.info({ pid: process.pid, state: state.path, epoch: state.epoch, admin: admin?.address }, "running");
  // A process that is killed writes no cache: what the next start is to find is written now. Without a cache this does nothing.
  flushCompileCache();
  const reason = await signals;
  log.info({ reason }, "ending in order; a second signal ends at once");
  await scope.end();
  log.info({}, "ended");
  await quietCompilers(clock);
  return exitCodes.ok;
}

const scarceText =
  "nearly no file descriptors are left and connections are turned away: raise the limit (ulimit -n) or lower the connection limits";
