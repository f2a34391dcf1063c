/** The world of one mover on a machine in memory. A mover can be killed at any of its words to the world: from then on it hears nothing. */

import { MeshError } from "@dualmesh/base/errors";
import { silentLog } from "@dualmesh/base/log";
import type { Crossing, CrossingStepArguments } from "@dualmesh/model/crossing";
import type { Host } from "../../host/host.ts";
import type { ProcessFacts } from "../../process/facts.ts";
import type { Watching, WatchVerdict } from "../../watch/watching.ts";
import { defaultWatchBounds } from "../../watch/watching.ts";
import type { MoveRecord, ProcessId } from "../record.ts";
import type { MoveEnding, MoveRecords, MoveWorld } from "../world.ts";
import { away, type Machine, machineHost, registryServer, type SimProcess } from "./machine.ts";

/** Where a mover is killed: before its n-th word is heard, when what it asks for has begun, or when it is done. */
export interface Death {
  readonly at: number;
  readonly phase: "before" | "inside" | "after";
}

/** The disk, and who lives: shared by all movers of a machine. */
export class Disk {
  readonly records = new Map<string, MoveRecord>();
  readonly endings: MoveEnding[] = [];
  readonly holders = new Map<string, SimMover>();
  /** Nothing can be written, by movers or by the sidecar that they started. */
  isFull = false;
  /** How often something was not written for that. */
  refusals = 0;
  /** The movers that were told to undo, by move. */
  readonly told = new Map<string, number>();
  readonly movers: SimMover[] = [];
}

export class SimMover {
  readonly machine: Machine;
  readonly disk: Disk;
  readonly self: ProcessId;
  readonly death: Death | undefined;
  isDead = false;
  /** The disk is full from its n-th word on. */
  fullAt: number | undefined;
  /** What it has said, word by word. */
  readonly words: string[] = [];
  readonly verdict = Promise.withResolvers<WatchVerdict>();
  guards = 0;
  /** Who holds the privileges for it. */
  hasAgent = true;

  constructor(machine: Machine, disk: Disk, pid: number, death?: Death) {
    this.machine = machine;
    this.disk = disk;
    this.self = { pid, started: pid };
    this.death = death;
    disk.movers.push(this);
  }

  /** By `kill -9`, or because it has nothing more to do. */
  end(): void {
    this.isDead = true;
  }

  get world(): MoveWorld {
    const { machine } = this;
    return {
      clock: machine.clock,
      log: silentLog,
      self: this.self,
      lives: (of) => this.#word("lives", async () => this.#lives(of)),
      process: (of) => this.#word("process", async () => this.#facts(of)),
      host: async () => {
        this.#agent();
        return this.#host;
      },
      control: (record) => ({
        list: () =>
          this.#ask("list", async () => ({
            crossings: machine.crossings(),
            directory: { kind: machine.directoryKind, addresses: [registryServer], chroot: "" },
            outbound: "127.0.0.1:20882",
            figures: [],
          })),
        open: ({ name }) =>
          this.#ask("open", async () => {
            this.#needRoom();
            return machine.open(name, this.#processOf(record));
          }),
        provide: (asked) => this.#ask(`provide ${asked.to}`, () => this.#decided(asked, () => machine.provide(asked))),
        consume: (asked) => this.#ask(`consume ${asked.to}`, () => this.#decided(asked, () => machine.consume(asked))),
        close: ({ name }) => this.#ask("close", async () => machine.close(name)),
      }),
      sidecars: {
        answers: () => this.#word("answers", async () => machine.seemsToAnswer),
        start: () => this.#word("start", () => this.#start()),
        end: (record) =>
          this.#word("end", async () => {
            const others = [...this.disk.records.values()].filter(({ name }) => name !== record.name);
            if (others.length === 0 && machine.sidecarRuns) machine.endSidecar();
            return others.length === 0 ? "it has ended" : "it goes on";
          }),
        keepsState: () => this.#word("state", async () => machine.sidecarKeepsState),
        callers: () => this.#word("callers", async () => 0),
      },
      touchLists: () => this.#word("touch", async () => undefined),
      checkPrivileges: () => this.#word("privileges", async () => this.#agent()),
      ensureGuard: () => this.#word("guard", async () => void this.guards++),
      openWatch: () => this.#watching(),
    };
  }

  get records(): MoveRecords {
    const { disk } = this;
    return {
      list: () => this.#word("records", async () => [...disk.records.values()]),
      unreadable: () => this.#word("records", async () => []),
      read: (name) => this.#word("read", async () => disk.records.get(name)),
      write: (record) =>
        this.#word("write", async () => {
          this.#needRoom();
          disk.records.set(record.name, record);
        }),
      take: (name) =>
        this.#word("take", async () => {
          const holder = disk.holders.get(name);
          if (holder !== undefined && !holder.isDead) {
            throw new MeshError("move.busy", `process ${holder.self.pid} is at it`, { pid: holder.self.pid });
          }
          disk.holders.set(name, this);
          return { release: async () => void disk.holders.delete(name) };
        }),
      forget: (record, ending) =>
        this.#word("forget", async () => {
          disk.records.delete(record.name);
          disk.endings.push(ending);
        }),
      ending: async (name) => disk.endings.findLast((one) => one.name === name),
      tellToUndo: async (name, { pid }) => void disk.told.set(name, pid),
      // No word of its own: to die before it is to die before the next one.
      isToldToUndo: (name, { pid }) =>
        this.isDead ? never() : this.#living(Promise.resolve(disk.told.get(name) === pid)),
    };
  }

  /** Everything that a mover says to the world goes through here; a dead one is not heard, and hears nothing. */
  #word<Answer>(word: string, work: () => Promise<Answer>): Promise<Answer> {
    if (this.isDead) return never();
    this.words.push(word);
    if (this.words.length === this.fullAt) this.disk.isFull = true;
    if (this.words.length !== this.death?.at) return this.#living(work());
    const { phase } = this.death;
    if (phase !== "after") this.isDead = true;
    if (phase === "before") return never();
    const done = work();
    done.catch(() => undefined);
    if (phase === "inside") return never();
    return done.then(
      () => this.#dies(),
      () => this.#dies(),
    );
  }

  #living<Answer>(work: Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      work.then(
        (answer) => !this.isDead && resolve(answer),
        (error) => !this.isDead && reject(error),
      );
    });
  }

  #dies(): Promise<never> {
    this.isDead = true;
    return never();
  }

  #ask<Answer>(word: string, work: () => Promise<Answer>): Promise<Answer> {
    return this.#word(word, async () => {
      if (!this.machine.sidecarRuns) throw away();
      if (this.machine.hangsSince !== undefined) return await this.#hanging();
      return await Promise.race([work(), this.machine.untilItEnds()]);
    });
  }

  #needRoom(): void {
    if (!this.disk.isFull) return;
    this.disk.refusals++;
    throw new MeshError("state.write-failed", "no space left on device");
  }

  /** The sidecar decides for the mesh on its disk first; what it decides for the application's own address it does in any case. */
  async #decided({ to }: CrossingStepArguments, work: () => Promise<Crossing>): Promise<Crossing> {
    if (to === "mesh") this.#needRoom();
    return await work();
  }

  #agent(): void {
    if (!this.hasAgent) throw new MeshError("host.no-agent", "the process that holds the privileges is not there");
  }

  async #hanging(): Promise<never> {
    const late = this.#after(5_000).then((): never => {
      throw new MeshError("control.timeout", "no answer within 5 s");
    });
    return await Promise.race([late, this.machine.untilItEnds()]);
  }

  #after(ms: number): Promise<void> {
    return new Promise((resolve) => void this.machine.clock.after(ms, resolve));
  }

  async #start(): Promise<void> {
    if (this.machine.seemsToAnswer) return;
    if (this.machine.sidecarRuns) {
      this.machine.killSidecar();
      if (this.machine.supervisedMs > 0) return void (await this.#after(this.machine.supervisedMs + 100));
    }
    this.#needRoom();
    await new Promise<void>((resolve) => void this.machine.clock.after(1_200, resolve));
    if (!this.machine.sidecarStarts) throw new MeshError("move.sidecar-failed", "it does not start");
    this.machine.startSidecar();
  }

  #lives(of: ProcessId): boolean {
    const process = this.machine.processes.find(({ pid }) => pid === of.pid);
    if (process !== undefined) return process.lives;
    return this.disk.movers.some(({ self, isDead }) => self.pid === of.pid && !isDead);
  }

  #processOf(record: MoveRecord): SimProcess {
    return this.machine.processes.find(({ pid }) => pid === record.process.pid) as SimProcess;
  }

  #facts(of: ProcessId): ProcessFacts | undefined {
    const process = this.machine.processes.find(({ pid }) => pid === of.pid);
    if (process === undefined || !process.lives) return undefined;
    return {
      ...of,
      uid: 1_000,
      cgroup: "/app",
      netns: 1,
      command: ["java"],
      listening: [{ host: "0.0.0.0", port: 20_880 }],
      connections: this.machine.flows(process),
      exact: true,
    };
  }

  readonly #host: Host = {
    check: async () => [],
    warnings: async () => [],
    catch: (rule) => this.#word("catch", async () => void this.machine.rules.set(rule.name, rule)),
    release: (name) => this.#word("release", async () => void this.machine.rules.delete(name)),
    caught: async () => [...this.machine.rules.keys()],
    keepTracking: () =>
      this.#word("tracking", async () => {
        this.machine.tracking = true;
      }),
    forward: (name, rules) => this.#word("forward", async () => void this.machine.forwards.set(name, rules)),
    unforward: (name) => this.#word("unforward", async () => void this.machine.forwards.delete(name)),
    forwarded: async () => [...this.machine.forwards.keys()],
    cut: (flows) => this.#word("cut", async () => flows.filter((flow) => this.machine.cut(flow)).length),
    whyNoCapture: async () => undefined,
    capture: async () => ({ close: async () => undefined }),
  };

  #watching(): Watching {
    return {
      measureBefore: (ms, signal) =>
        this.#word(
          "measure",
          () =>
            new Promise((resolve) => {
              const timer = this.machine.clock.after(ms, resolve);
              signal.addEventListener("abort", () => {
                timer.cancel();
                resolve();
              });
            }),
        ),
      start: () => undefined,
      verdict: this.verdict.promise,
      summary: () => ({ before: [], since: [], unseen: [] }),
      close: async () => undefined,
    };
  }
}

function never<Answer>(): Promise<Answer> {
  return new Promise(() => undefined);
}

/** A record at the beginning of a way in. */
export function recordOf(process: SimProcess, self: ProcessId, change: Partial<MoveRecord> = {}): MoveRecord {
  return {
    version: 1,
    name: `p${process.pid}-${process.started}`,
    process: { pid: process.pid, started: process.started, uid: 1_000, cgroup: "/app", netns: 1, command: "java" },
    named: { kind: "pid", pid: process.pid },
    selection: { kind: "cgroup", path: "/app" },
    exclusive: true,
    servers: [registryServer],
    chroots: [],
    host: machineHost,
    sidecar: { state: "/sidecar", own: { user: undefined, configuration: "" } },
    only: undefined,
    first: "provider",
    watchBeforeMs: 1_000,
    watchMs: 2_000,
    bounds: defaultWatchBounds,
    calls: [{ service: "dubbo/fx.Rates::", direct: [{ host: "10.1.1.3", port: 20_880 }] }],
    state: "entering",
    wanted: "in",
    begun: [],
    done: [],
    step: "",
    lists: [],
    sessions: 0,
    doors: [],
    published: [],
    mover: self,
    since: 0,
    failed: "",
    ...change,
  };
}
