/**
 * Sidecars that movers start: one for the moves of a network namespace to one ensemble, in a directory below the moves directory, with its
 * configuration and its state, and its log beside that. It runs under its own parent, which has it back within a third of a second when it dies; a mover or
 * the guard starts it when both are gone.
 */
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Clock, sleep } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import { readDocument, writeDocument } from "@dualmesh/base/state/document";
import { systemFiles } from "@dualmesh/base/state/files";
import { type Lock, takeLock } from "@dualmesh/base/state/lock";
import type { Privileged } from "../host/host.ts";
import type { Liveness } from "./liveness.ts";
import { isAlive, processId } from "./processes.ts";
import type { MoveRecord, ProcessId } from "./record.ts";
import { removeRemains, sidecarLog } from "./sidecar-remains.ts";
import type { MoveRecords } from "./world.ts";

export interface OwnSidecarsOptions {
  readonly privileged: Pick<Privileged, "start" | "facts">;
  readonly records: Pick<MoveRecords, "list" | "unreadable">;
  readonly clock: Clock;
  readonly liveness: (state: string) => Promise<Liveness>;
}

/** A start of Node from the sources on a busy machine. */
const startMs = 20_000;
/** More than its own drain may take (below). */
const endMs = 60_000;
const lookMs = 50;
/** Another mover may be waiting for its start or its end. */
const lockMs = startMs + endMs;
/** How often a directory that is removed while its lock is asked for is made again. */
const goneRounds = 100;

/** The directory of the sidecar for a namespace and an ensemble, below the moves directory. */
export function ownSidecarState(moves: string, netns: number, servers: readonly string[], chroot: string): string {
  const hash = createHash("sha256").update([netns, chroot, ...[...servers].sort()].join("\n"));
  return join(moves, `sidecar-${hash.digest("hex").slice(0, 8)}`, "state");
}

/**
 * What a sidecar was started with, if movers started it, undefined if not. Its place says so: the name does not, since servers that do not answer
 * for a while are not among those that it is made of.
 */
export async function readOwnConfiguration(moves: string, state: string): Promise<string | undefined> {
  const directory = dirname(state);
  if ((await movesOf(state)) !== moves) return undefined;
  return (await systemFiles.read(configurationFile(directory)))?.toString("utf8");
}

/** The moves directory whose movers started a sidecar; undefined for one that no mover started, and where that cannot be read. */
export async function movesOf(state: string): Promise<string | undefined> {
  const directory = dirname(state);
  if (basename(state) !== "state" || !/^sidecar-[0-9a-f]{8}$/.test(basename(directory))) return undefined;
  try {
    return (await readProcess(directory)) === undefined ? undefined : dirname(directory);
  } catch (error) {
    if (["EACCES", "EPERM", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

/** Its configuration: no doors but those of crossings, and a short wait at its end, before which nobody has called it for a while. */
export function ownSidecarConfiguration(servers: readonly string[], chroot: string, host: string): string {
  const lines = [
    "# Written by dualmesh move for the sidecar that it starts.",
    "directory: zookeeper",
    `zookeeper: { addresses: ${JSON.stringify(servers)}${chroot === "" ? "" : `, chroot: ${JSON.stringify(chroot)}`} }`,
    `advertise: ${JSON.stringify(host)}`,
    "doors: { zookeeper: false, mesh: false, eureka: false, http: false }",
    "drain: { idleMs: 2000, maxMs: 30000 }",
  ];
  return `${lines.join("\n")}\n`;
}

export class OwnSidecars {
  readonly #options: OwnSidecarsOptions;

  constructor(options: OwnSidecarsOptions) {
    this.#options = options;
  }

  async start(record: MoveRecord): Promise<void> {
    const { own, state } = record.sidecar;
    if (own === undefined) throw new MeshError("move.not-own", `the sidecar at ${state} is not the mover's to start`);
    const directory = dirname(state);
    const lock = await this.#lock(directory);
    try {
      const liveness = await this.#options.liveness(state);
      if (liveness === "answers") return;
      // Its parent has it back.
      if (liveness === "hangs") for (const one of await this.#serving(record)) signal(one, "SIGKILL");
      const running = await readProcess(directory);
      // Its parent lives, and has it back soon.
      if (running === undefined || !isAlive(running)) await this.#spawn(record, directory, own);
      await this.#untilItAnswers(state, directory);
    } finally {
      await lock.release();
    }
  }

  /** As `SidecarProcesses.end`. */
  async end(record: MoveRecord, how: "in order" | "at once"): Promise<string> {
    const { state } = record.sidecar;
    const directory = dirname(state);
    const lock = await this.#lock(directory);
    try {
      const { records } = this.#options;
      const others = await records.list();
      if (others.some(({ name, sidecar }) => name !== record.name && sidecar.state === state))
        return goesOn("another move needs it");
      if ((await records.unreadable()).length > 0) return goesOn("a move whose record cannot be read may need it");
      const answering = await childOf(state);
      // One that hangs does not say which it is, and its parent may be dead.
      const serving = answering === undefined ? await this.#serving(record) : [answering];
      const processes = [await readProcess(directory), ...serving].filter((one) => one !== undefined);
      await this.#endAll(processes.filter(isAlive), how);
      return await this.#cleared(directory);
    } finally {
      await lock.release();
    }
  }

  /** What cannot be cleared away keeps no move from its end. */
  async #cleared(directory: string): Promise<string> {
    const has = "the sidecar that was started for it has ended";
    try {
      const isGone = await removeRemains(directory, this.#options.clock);
      if (!isGone) return goesOn(`it could not be ended: a process that is not seen has ${directory}`);
      return `${has}; the end of its log is in ${sidecarLog(directory)}`;
    } catch (error) {
      await systemFiles.remove(processFile(directory));
      return `${has}; what it kept in ${directory} could not be removed: ${messageOf(error)}`;
    }
  }

  async #spawn(record: MoveRecord, directory: string, own: NonNullable<MoveRecord["sidecar"]["own"]>): Promise<void> {
    const file = configurationFile(directory);
    await writeFile(file, own.configuration, { mode: 0o600 });
    const pid = await this.#options.privileged.start({
      netns: record.process.netns,
      user: own.user,
      words: ["sidecar", "run", "--supervised", "--config", file, "--state", record.sidecar.state],
      log: sidecarLog(directory),
    });
    const started = processId(pid);
    if (started !== undefined) await writeDocument(systemFiles, processFile(directory), started);
  }

  /** The processes that are the sidecar of a state directory, without their parents; one that hangs cannot be asked which it is. */
  async #serving({ process: { netns }, sidecar: { state } }: MoveRecord): Promise<readonly ProcessId[]> {
    const all = await this.#options.privileged.facts({ kind: "netns", name: String(netns) });
    return all.filter(({ command }) => {
      const at = command.indexOf("--state");
      const isSidecar = command.includes("sidecar") && command.includes("run") && !command.includes("--supervised");
      return isSidecar && at >= 0 && command[at + 1] === state;
    });
  }

  async #untilItAnswers(state: string, directory: string): Promise<void> {
    const { clock, liveness } = this.#options;
    const end = clock.now() + startMs;
    for (;;) {
      if ((await liveness(state)) === "answers") return;
      const running = await readProcess(directory);
      const hasEnded = running === undefined || !isAlive(running);
      if (hasEnded || clock.now() >= end) {
        const how = hasEnded ? "ended at once" : `does not answer within ${startMs / 1_000} s`;
        throw new MeshError(
          "move.sidecar-failed",
          `the sidecar that was started ${how}; ${sidecarLog(directory)} says why`,
          { state },
        );
      }
      await sleep(clock, lookMs);
    }
  }

  async #endAll(processes: readonly ProcessId[], how: "in order" | "at once"): Promise<void> {
    const { clock } = this.#options;
    const [first] = processes;
    // The parent passes it on, and ends with its child.
    if (first !== undefined && how === "in order") signal(first, "SIGTERM");
    const end = clock.now() + (how === "in order" ? endMs : 0);
    while (processes.some(isAlive)) {
      if (clock.now() >= end) for (const one of processes) if (isAlive(one)) signal(one, "SIGKILL");
      await sleep(clock, lookMs);
    }
  }

  /** Of the directory, which is made when it is not there: whoever ended a sidecar a moment ago has taken it away. */
  async #lock(directory: string): Promise<Lock> {
    const { clock } = this.#options;
    const end = clock.now() + lockMs;
    for (let round = 1; ; round++) {
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        return await takeLock(directory, clock);
      } catch (error) {
        // The system tells in one way or another that it has just gone.
        const mayPass = isMeshError(error, "state.lock-failed") || (error as NodeJS.ErrnoException).code === "ENOENT";
        const isWorthIt = isMeshError(error, "state.locked") || (mayPass && round < goneRounds);
        if (!isWorthIt || clock.now() >= end) throw error;
        await sleep(clock, lookMs);
      }
    }
  }
}

function goesOn(why: string): string {
  return `the sidecar that was started for it goes on, since ${why}`;
}

const processFile = (directory: string): string => join(directory, "process.document");
const configurationFile = (directory: string): string => join(directory, "sidecar.yaml");

async function readProcess(directory: string): Promise<ProcessId | undefined> {
  const known = (await readDocument(systemFiles, processFile(directory))) as Partial<ProcessId> | null | undefined;
  if (typeof known?.pid !== "number" || typeof known.started !== "number") return undefined;
  return { pid: known.pid, started: known.started };
}

/** The process that answers; undefined when none does. */
export async function childOf(state: string): Promise<ProcessId | undefined> {
  try {
    const { pid } = (await callControl(controlPath(state), "status")) as { readonly pid?: unknown };
    return typeof pid === "number" ? processId(pid) : undefined;
  } catch (error) {
    if (isMeshError(error)) return undefined;
    throw error;
  }
}

function signal({ pid }: ProcessId, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
