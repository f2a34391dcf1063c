/**
 * A part whose process may be replaced while calls go on (`dualmesh sidecar upgrade`): in force here, laid down for the new process, taken up again
 * when that fails, or taken over from an old one.
 */
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import { systemRandom } from "@dualmesh/base/random";
import type { Packets } from "@dualmesh/sidecar/transport/native";
import type { Taken } from "@dualmesh/sidecar/upgrade/taken";
import { productVersion } from "../version.ts";
import type { RunnablePart } from "./part.ts";
import type { RunOptions } from "./run-part.ts";
import { tellManager } from "./service-manager.ts";
import { openSession, type Session } from "./session.ts";
import { readProgram, readWhere, startSuccessor, takesOverVariable, tellHandedOver, whereOf } from "./successor.ts";

export interface UpgradableOptions<Config> {
  readonly part: RunnablePart<Config>;
  readonly run: RunOptions<Config>;
  readonly log: Log;
}

export interface Upgradable {
  /** Resolves when another process has taken over and nothing is left here. */
  readonly handedOver: Promise<"handed over">;
  close(): Promise<void>;
}

/** In the state directory, which only its user can enter. */
const socketName = "upgrade.sock";
/** Where a new process that cannot move connections says why: the old one starts it again, to be replaced by draining. */
const inabilityAt = (socket: string): string => `${socket}.cannot`;
/** The old process gives its state directory up before it says so; a moment passes between. */
const lockTries = 50;
const lockAgainMs = 20;
const resumeAgainMs = 1_000;
const formerMs = 1_000;
/** What the journals of either process may need at once. */
const roomBytes = 256 * 1024;

export async function openUpgradable<Config>(options: UpgradableOptions<Config>): Promise<Upgradable> {
  const upgradable = new UpgradablePart(options);
  await upgradable.open();
  return upgradable;
}

class UpgradablePart<Config> implements Upgradable {
  readonly #options: UpgradableOptions<Config>;
  readonly #started = systemClock.now();
  readonly #handedOver = Promise.withResolvers<"handed over">();
  readonly handedOver: Promise<"handed over"> = this.#handedOver.promise;
  #session: Session | undefined;
  #isUpgrading = false;
  #isClosing = false;
  /** Resolves when the process that was upgraded to this one has passed on its last reply. */
  #former: Promise<void> | undefined;

  constructor(options: UpgradableOptions<Config>) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const where = process.env[takesOverVariable];
    delete process.env[takesOverVariable];
    if (where !== undefined) return this.#takeOver(where);
    await this.#openSession(undefined);
    await tellManager(this.#options.log);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#session?.close();
  }

  async #openSession(taken: Taken | undefined, isHidden = false): Promise<Session> {
    const { part, run, log } = this.#options;
    const commands = new Map([["upgrade", (words: Readonly<Record<string, unknown>>) => this.#upgrade(words)]]);
    const session = await openSession({ part, run, log, taken, commands, isHidden, started: this.#started });
    this.#session = session;
    return session;
  }

  // ---- the old process ----

  async #upgrade(words: Readonly<Record<string, unknown>>): Promise<unknown> {
    const session = this.#session;
    const data = session?.running.upgrade?.data;
    if (session === undefined || data === undefined)
      throw new MeshError("upgrade.unavailable", `a ${this.#options.part.name} is not upgraded while it runs`);
    if (this.#isUpgrading) throw new MeshError("upgrade.busy", "an upgrade is under way already: wait for its end");
    if (this.#isClosing) throw new MeshError("upgrade.busy", "it is about to end");
    const program = readProgram(words["program"]);
    this.#isUpgrading = true;
    try {
      await this.#formerEnded();
      const end = await this.#handOver(session, program, words["drain"] === true ? "draining" : "any");
      await tellHandedOver();
      // The answer leaves first.
      setImmediate(() => this.#handedOver.resolve("handed over"));
      return end;
    } finally {
      this.#isUpgrading = false;
    }
  }

  /** What it still passes on would come to a process that has no caller for it any more. Its last word may be on its way. */
  async #formerEnded(): Promise<void> {
    const former = this.#former?.then(() => true);
    if (former === undefined || (await Promise.race([former, sleep(systemClock, formerMs)])) === true) return;
    throw new MeshError(
      "upgrade.busy",
      "the process before this one still passes on late replies: it ends within a minute",
    );
  }

  async #handOver(session: Session, program: readonly string[], how: "any" | "draining") {
    const { log } = this.#options;
    const { openPackets } = await import("@dualmesh/sidecar/upgrade/means");
    const calls = await openPackets(how, log);
    const path = join(session.state.path, socketName);
    await rm(inabilityAt(path), { force: true });
    await proveRoom(session.state.path);
    try {
      return await this.#handOverBy(calls, path, session, program);
    } catch (error) {
      const why = calls.takesDescriptors ? await readFile(inabilityAt(path), "utf8").catch(() => undefined) : undefined;
      if (why === undefined || !isMeshError(error, "upgrade.not-started")) throw error;
      log.warn({ why }, "the new process cannot take connections: they end in order, and callers connect again");
      return await this.#handOverBy(await openPackets("draining", log), path, session, program);
    } finally {
      await rm(inabilityAt(path), { force: true });
    }
  }

  async #handOverBy(calls: Packets, path: string, session: Session, program: readonly string[]) {
    const { log } = this.#options;
    const upgrade = session.running.upgrade as NonNullable<Session["running"]["upgrade"]>;
    const { handOver } = await import("@dualmesh/sidecar/upgrade/old-side");
    await rm(path, { force: true });
    const steps: { readonly step: string; readonly ms: number }[] = [];
    try {
      const end = await handOver({
        ...{ calls, clock: systemClock, log, path, version: productVersion(), data: upgrade.data, drainMs: 60_000 },
        start: () => startSuccessor({ program, where: whereOf(calls, path) }),
        suspend: () => session.suspend(),
        resume: (before) => this.#resume({ data: upgrade.data, ...(before === undefined ? {} : { before }) }),
        tell: (progress) => {
          steps.push(progress);
          log.info({ ...progress }, "upgrading");
        },
      });
      await upgrade.data.close();
      log.info({ ...end }, "another process has taken over");
      return { ...end, steps };
    } finally {
      session.leave();
      await rm(path, { force: true });
    }
  }

  /** Calls are carried meanwhile, and nobody else can do it: it is tried for as long as this process is to run. */
  async #resume(taken: Taken): Promise<void> {
    const { log } = this.#options;
    for (;;) {
      try {
        await this.#openSession(taken);
        return;
      } catch (error) {
        if (this.#isClosing) throw error;
        log.error({ error: messageOf(error), againMs: resumeAgainMs }, "not everything could be taken up again");
        await sleep(systemClock, resumeAgainMs);
      }
    }
  }

  // ---- the new process ----

  async #takeOver(where: string): Promise<void> {
    const { run, log } = this.#options;
    const [{ takeOver }, { openPackets }, { selfTest }] = await Promise.all([
      import("@dualmesh/sidecar/upgrade/new-side"),
      import("@dualmesh/sidecar/upgrade/means"),
      import("@dualmesh/sidecar/upgrade/self-test"),
    ]);
    const { how, path } = readWhere(where);
    const calls = await openPackets(how, log).catch(async (error: unknown) => {
      await writeFile(inabilityAt(path), messageOf(error));
      throw error;
    });
    await selfTest({
      config: run.config as Parameters<typeof selfTest>[0]["config"],
      clock: systemClock,
      random: systemRandom,
      log,
    });
    const { promise: former, resolve: onAlone } = Promise.withResolvers<void>();
    this.#former = former;
    await takeOver({
      ...{ calls, clock: systemClock, log, path, version: productVersion(), onAlone },
      onServing: () => this.#show(),
      takeUp: async (taken) => {
        const session = await this.#takeUp(taken);
        const upgrade = session.running.upgrade as NonNullable<Session["running"]["upgrade"]>;
        await upgrade.covered().catch((error: unknown) => {
          // Alone there is nobody who could do better.
          if (taken.before !== undefined && taken.isAlone?.() !== true) throw error;
          log.warn({ error: messageOf(error) }, "not everything is known that was");
        });
        return upgrade.data;
      },
    });
    await tellManager(log, calls);
  }

  /** Not before it serves: until then whatever was asked here would be asked of connections that the old process has. */
  #show(): void {
    try {
      this.#session?.show();
    } catch (error) {
      this.#options.log.error({ error: messageOf(error), againMs: resumeAgainMs }, "it cannot be told what to do yet");
      systemClock.after(resumeAgainMs, () => this.#isClosing || this.#show());
    }
  }

  async #takeUp(taken: Taken): Promise<Session> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#openSession(taken, true);
      } catch (error) {
        if (!isMeshError(error, "state.locked") || attempt >= lockTries) throw error;
        await sleep(systemClock, lockAgainMs);
      }
    }
  }
}

/** Throws `upgrade.disk` while there is nothing to undo yet: neither process could open what the other had laid down. */
async function proveRoom(directory: string): Promise<void> {
  const path = join(directory, "upgrade.room");
  try {
    await writeFile(path, Buffer.alloc(roomBytes), { flush: true });
  } catch (error) {
    throw new MeshError(
      "upgrade.disk",
      `${directory} cannot be written: ${messageOf(error)}; make room on its disk first`,
    );
  } finally {
    await rm(path, { force: true });
  }
}
