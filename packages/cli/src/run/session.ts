/** A part in force: its state directory, itself, its admin port and its control socket, opened and closed together. */
import { type Admin, jsonReply, openAdmin } from "@dualmesh/base/admin/server";
import { type Clock, systemClock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import { Scope } from "@dualmesh/base/scope";
import { type ControlHandler, openControl, upgradingError } from "@dualmesh/base/state/control-socket";
import { openState, type StateDirectory } from "@dualmesh/base/state/state";
import type { Taken } from "@dualmesh/sidecar/upgrade/taken";
import { productVersion } from "../version.ts";
import type { RunnablePart, RunningPart } from "./part.ts";
import type { PartReport, RunOptions } from "./run-part.ts";

export interface SessionOptions<Config> {
  readonly part: RunnablePart<Config>;
  readonly run: RunOptions<Config>;
  readonly log: Log;
  /** Clock time at which the process was started. */
  readonly started: number;
  readonly taken?: Taken | undefined;
  /** What it may be told beside what the part itself may. */
  readonly commands: ReadonlyMap<string, ControlHandler>;
  /** Another process answers at the control socket until `show`. */
  readonly isHidden: boolean;
}

export interface Session {
  readonly running: RunningPart;
  readonly state: StateDirectory;
  readonly admin: string | undefined;
  /** One orderly end. */
  close(): Promise<void>;
  /** Answers at the control socket from now on. Throws `control.listen-failed`. */
  show(): void;
  /** Lays down what another process can take up from the state directory. Whoever asks something meanwhile is told to ask again. */
  suspend(): ReturnType<NonNullable<RunningPart["upgrade"]>["suspend"]>;
  /** Once it is laid down, and another one answers at the control socket. */
  leave(): void;
}

/** Rejects with `state.…`, `listen.…` or what the part rejects with; what had been opened is closed then. */
export async function openSession<Config>(options: SessionOptions<Config>): Promise<Session> {
  const scope = new Scope(options.log);
  try {
    return await opened(options, scope);
  } catch (error) {
    await scope.end();
    throw error;
  }
}

async function opened<Config>(
  { part, run, log, started, taken, commands, isHidden }: SessionOptions<Config>,
  scope: Scope,
): Promise<Session> {
  const clock: Clock = systemClock;
  const { config, shown } = run;
  const state = scope.use(await openState({ path: run.state, part: part.name, clock, log }));
  const context = { config, shown, state, clock, random: systemRandom, log, ...(taken === undefined ? {} : { taken }) };
  const { running, admin: pages, warnings = [] } = await part.start(context);
  let isSuspended = false;
  let before: Awaited<ReturnType<Session["suspend"]>> | undefined;
  scope.defer(async () => {
    if (isSuspended) before = await running.upgrade?.suspend();
    else await running.close();
  });
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
  const own = [...(running.commands ?? []), ["status", async () => report()] as const] as const;
  const handlers = new Map<string, ControlHandler>([
    ...own.map(([name, handler]) => [name, unlessSuspended(handler, () => isSuspended)] as const),
    ...commands,
  ]);
  const control = await openControl({ directory: state.path, handlers, clock, log, isHidden });
  scope.defer(async () => {
    if (!isSuspended) await control.close();
  });
  if (pages !== undefined) {
    const routes = new Map([...pages.routes, ["/status", () => jsonReply(report())] as const]);
    const bind = running.upgrade?.data.ports.atOnce;
    const more = bind === undefined ? {} : { bind };
    const { port } = pages;
    const open = (at: number): Promise<Admin> => openAdmin({ ...pages, port: at, routes, clock, log, ...more });
    const openedAdmin = await (typeof port === "number" ? open(port) : port(open));
    admin = openedAdmin;
    scope.defer(() => openedAdmin.close());
  }
  for (const warning of warnings) log.warn({}, warning);
  log.info({ pid: process.pid, state: state.path, epoch: state.epoch, admin: admin?.address }, "running");
  return {
    running,
    state,
    admin: admin?.address,
    close: () => scope.end(),
    show: () => control.show(),
    async suspend() {
      isSuspended = true;
      await scope.end();
      return before as NonNullable<typeof before>;
    },
    leave() {
      if (isSuspended) control.leave();
    },
  };
}

/** What was begun before may have been broken off, or done to what is another process's since: only that one can say how it stands. */
function unlessSuspended(handler: ControlHandler, isSuspended: () => boolean): ControlHandler {
  return async (given) => {
    if (isSuspended()) throw upgradingError();
    const [end] = await Promise.allSettled([handler(given)]);
    if (isSuspended()) throw upgradingError();
    if (end.status === "rejected") throw end.reason;
    return end.value;
  };
}
