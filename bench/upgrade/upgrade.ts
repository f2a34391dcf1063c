/** One upgrade of a sidecar as it is seen from outside: what it says of it, when the old process is gone, and what both take of memory meanwhile. */
import { readdirSync, readFileSync } from "node:fs";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import type { Scope } from "@dualmesh/base/scope";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { UpgradeEnd, UpgradeProgress } from "@dualmesh/sidecar/upgrade/old-side";
import { productCommand } from "../dataplane/bundle.ts";
import type { Sidecar } from "../dataplane/dualmesh.ts";
import { memoryOf } from "../dataplane/process.ts";

export interface MemoryPair {
  /** Of the old process alone, just before. */
  readonly one: number;
  /** The most that all processes of the sidecar took together. */
  readonly both: number;
}

export interface SeenUpgrade {
  readonly moved: number;
  /** Milliseconds: from the word until its answer; in which connections stood still; of the old process's event loop. */
  readonly totalMs: number;
  readonly stillMs: number;
  readonly loopMs: number;
  /** From when connections stood still, which is before the last reply that the old process passed on, until it was gone. */
  readonly oldGoneMs: number;
  readonly stayed: Readonly<Record<string, number>>;
  readonly cut: Readonly<Record<string, number>>;
  readonly steps: readonly UpgradeProgress[];
  readonly rssMb: MemoryPair;
  readonly pssMb: MemoryPair;
}

const upgradeMs = 120_000;
const goneMs = 30_000;
const lookMs = 5;
/** Resident memory is cheap to ask for; what is shared the kernel has to walk through page tables for, which holds the process up. */
const rssEveryMs = 20;
const pssEveryMs = 200;
const endMs = 10_000;

export class UpgradedSidecar {
  readonly #sidecar: Sidecar;
  readonly #program = productCommand();
  #pid: number;

  /** Every process that the sidecar becomes ends with `scope`. */
  constructor(scope: Scope, sidecar: Sidecar) {
    this.#sidecar = sidecar;
    this.#pid = sidecar.pid;
    const kill = (): void => this.#signal("SIGKILL");
    process.on("exit", kill);
    scope.defer(async () => {
      this.#signal("SIGTERM");
      if (!(await isGone(() => this.#processes().length === 0, endMs))) this.#signal("SIGKILL");
      process.off("exit", kill);
    });
  }

  /** The process that it is now. */
  get pid(): number {
    return this.#pid;
  }

  /** Resolves when the old process is gone; rejects as the sidecar does when it is not upgraded. */
  async upgrade(): Promise<SeenUpgrade> {
    const old = this.#pid;
    const memory = new MemoryPeak(old, () => this.#processes());
    const began = systemClock.now();
    const path = controlPath(this.#sidecar.state);
    try {
      // By the socket and not by the command, which is one more Node process that starts where the callers are.
      const end = (await callControl(
        path,
        "upgrade",
        { program: this.#program },
        { timeoutMs: upgradeMs },
      )) as UpgradeEnd & { readonly steps: readonly UpgradeProgress[] };
      const totalMs = systemClock.now() - began;
      this.#pid = end.pid;
      if (!(await isGone(() => !isAlive(old), goneMs)))
        throw new MeshError("bench.upgrade", `the old process ${old} still runs ${goneMs} ms after the upgrade`);
      const still = end.steps.find(({ step }) => step === "freeze")?.ms ?? 0;
      const { moved, stillMs, loopMs, stayed, cut, steps } = end;
      return {
        ...{ moved, totalMs, stillMs, loopMs, stayed, cut, steps },
        oldGoneMs: systemClock.now() - began - still,
        ...memory.end(),
      };
    } finally {
      memory.end();
    }
  }

  #processes(): readonly number[] {
    return readdirSync("/proc")
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && commandOf(pid).includes(this.#sidecar.file) && isAlive(pid));
  }

  #signal(signal: "SIGTERM" | "SIGKILL"): void {
    for (const pid of this.#processes())
      try {
        process.kill(pid, signal);
      } catch {
        // it has just ended
      }
  }
}

/** Looks every few milliseconds how much memory the processes of an upgrade take together. */
class MemoryPeak {
  readonly #find: () => readonly number[];
  readonly #rssOne: number;
  readonly #pssOne: number;
  readonly #looking: readonly { cancel(): void }[];
  #pids: readonly number[];
  #rss = 0;
  #pss = 0;

  constructor(old: number, find: () => readonly number[]) {
    this.#find = find;
    this.#pids = [old];
    const { rssMb, pssMb } = memoryOf(old);
    this.#rssOne = rssMb ?? 0;
    this.#pssOne = pssMb ?? 0;
    this.#looking = [
      systemClock.every(rssEveryMs, () => this.#lookAtRss()),
      systemClock.every(pssEveryMs, () => this.#lookAtPss()),
    ];
  }

  end(): { readonly rssMb: MemoryPair; readonly pssMb: MemoryPair } {
    for (const one of this.#looking) one.cancel();
    return {
      rssMb: { one: this.#rssOne, both: Math.max(this.#rss, this.#rssOne) },
      pssMb: { one: this.#pssOne, both: Math.max(this.#pss, this.#pssOne) },
    };
  }

  #lookAtRss(): void {
    if (this.#pids.length < 2) this.#pids = this.#find();
    this.#rss = Math.max(this.#rss, this.#sum(residentMb));
  }

  #lookAtPss(): void {
    this.#pss = Math.max(
      this.#pss,
      this.#sum((pid) => memoryOf(pid).pssMb ?? 0),
    );
  }

  #sum(of: (pid: number) => number): number {
    return this.#pids.reduce((sum, pid) => sum + of(pid), 0);
  }
}

async function isGone(look: () => boolean, limitMs: number): Promise<boolean> {
  const end = systemClock.now() + limitMs;
  while (!look()) {
    if (systemClock.now() >= end) return false;
    await sleep(systemClock, lookMs);
  }
  return true;
}

/** One that has ended and that nobody has asked for its exit code is gone. */
function isAlive(pid: number): boolean {
  const stat = textOf(pid, "stat");
  return stat !== "" && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

function commandOf(pid: number): string {
  return textOf(pid, "cmdline");
}

function residentMb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(textOf(pid, "status"))?.[1] ?? 0) / 1_024;
}

/** Empty when there is no such process. */
function textOf(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
