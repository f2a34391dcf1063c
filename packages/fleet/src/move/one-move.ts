/**
 * One move in the hands of one mover: its record, which is on disk before each step, what it asks of the world in the midst of it, and
 * what it tells of its progress.
 */
import { sleep } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Crossing, CrossingList } from "@dualmesh/model/crossing";
import type { Host } from "../host/host.ts";
import type { ProcessFacts } from "../process/facts.ts";
import type { WatchSummary } from "../watch/watching.ts";
import type { EndState, MoveRecord, MoveState } from "./record.ts";
import { type StepName, stepsIn } from "./steps.ts";
import type { MoveRecords, MoveWorld, SidecarControl } from "./world.ts";

/** What a mover tells while it goes on. */
export type MoveEvent =
  | { readonly event: "step"; readonly step: StepName; readonly at: "begin" }
  /** With a text where it is not what the step says of itself that was done. */
  | { readonly event: "step"; readonly step: StepName; readonly at: "end"; readonly ms: number; readonly text?: string }
  /** The way in ends here, for this reason, and is taken back. */
  | { readonly event: "undo"; readonly reason: string }
  | { readonly event: "note"; readonly text: string };

/** Resolves to what was done, for people, where the step does not say it. */
export type StepWork = (() => Promise<void>) | (() => Promise<string>);

export interface MoveEnd {
  readonly state: "in" | "forwarded" | "closing" | EndState;
  readonly failed: string;
  readonly watch?: WatchSummary;
}

export interface MoveOptions {
  readonly world: MoveWorld;
  readonly records: MoveRecords;
  readonly record: MoveRecord;
  readonly tell: (event: MoveEvent) => void;
}

/** How long a sidecar that the mover can start may be away: its parent, or the guard, has it back within a second (docs/performance.md). */
const ownAwayMs = 3_000;
/** And one that only its operator can start. */
const othersAwayMs = 700;
/** How long a step is asked for again when its registry cannot do it now: an ensemble finds a new leader within that. */
const passingMs = 20_000;
const askAgainMs = 200;
const stepLookMs = 1_000;
/** The process has ended, or nobody is left in its network namespace: what was made for it is taken away. */
const gone = "move.gone";
/** The sidecar is there, and another process of it answers in a moment. */
const upgrading = "control.upgrading";

export class OneMove {
  readonly world: MoveWorld;
  readonly tell: (event: MoveEvent) => void;
  readonly #records: MoveRecords;
  #record: MoveRecord;
  /** One after the other, since two steps may go on side by side. */
  #writing: Promise<void> = Promise.resolve();
  #starting: Promise<void> | undefined;
  /** The last start has failed. */
  #cannotStart = false;
  /** Where the steps lead that are being done. */
  #leads: "in" | "out" = "in";
  /** That the disk does not take the record was told. */
  #hasToldRefusal = false;
  /** Since when the sidecar has not answered; one that was waited for is not waited for again. */
  #away: number | undefined;

  constructor({ world, records, record, tell }: MoveOptions) {
    this.world = world;
    this.tell = tell;
    this.#records = records;
    this.#record = record;
  }

  get record(): MoveRecord {
    return this.#record;
  }

  /**
   * On disk when it resolves. A way that leads out goes on without that when the disk does not take it: each of its steps may be done again, and
   * the record that is there names all that was begun, so that whoever finds it leads out as well, or completes the way in.
   */
  async change(change: Partial<MoveRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change, mover: this.world.self };
    const written = this.#writing.then(() => this.#records.write(this.#record));
    this.#writing = written.catch(() => undefined); // whoever asked for it has the error
    try {
      await written;
    } catch (error) {
      if (this.#leads === "in") throw error;
      if (this.#hasToldRefusal) return;
      this.#hasToldRefusal = true;
      this.note(`it goes on though it cannot be written down: ${messageOf(error)}`);
    }
  }

  /** What is done from now on leads there. A way in ends when it cannot be written down. */
  lead(where: "in" | "out"): void {
    this.#leads = where;
  }

  /** Begins another way: none of its steps is done yet. */
  async become(state: MoveState, change: Partial<MoveRecord> = {}): Promise<void> {
    this.lead(state === "entering" || state === "in" ? "in" : "out");
    const since = this.world.clock.wall();
    const { cameIn = since } = this.#record;
    await this.change({ state, step: "", done: [], since, ...(state === "in" ? { cameIn } : {}), ...change });
  }

  /** Does a step, which is in the record before. */
  async step(step: StepName, work: StepWork): Promise<void> {
    const { begun } = this.#record;
    const isNew = stepsIn(this.#record).some((one) => one === step) && !begun.includes(step);
    await this.change({ step, ...(isNew ? { begun: [...begun, step] } : {}) });
    const { clock } = this.world;
    const started = clock.now();
    this.tell({ event: "step", step, at: "begin" });
    const text = await work();
    // On disk with whatever is written next: until then the step counts as being done, and may be done again.
    this.#record = { ...this.#record, step: "", done: [...this.#record.done, step] };
    this.tell({
      event: "step",
      step,
      at: "end",
      ms: Math.round(clock.now() - started),
      ...(typeof text === "string" ? { text } : {}),
    });
  }

  note(text: string): void {
    this.world.log.warn({ move: this.#record.name }, text);
    this.tell({ event: "note", text });
  }

  /** It is out, or its process is gone: puts it into the history. */
  async end(state: EndState, failed = this.#record.failed): Promise<void> {
    const { name, process } = this.#record;
    const at = this.world.clock.wall();
    await this.#records.forget(this.#record, { name, pid: process.pid, command: process.command, state, failed, at });
  }

  /** Whether `move out` was asked for while it is on its way in. */
  isToldToUndo(): Promise<boolean> {
    return this.#records.isToldToUndo(this.#record.name, this.world.self);
  }

  /** Throws `move.gone`. */
  async facts(): Promise<ProcessFacts> {
    const facts = await this.world.process(this.#record.process);
    if (facts === undefined) throw goneError(this.#record);
    return facts;
  }

  /** Throws `move.gone`. */
  async host(): Promise<Host> {
    const host = await this.world.host(this.#record);
    if (host === undefined) throw new MeshError(gone, `nobody is left where process ${this.#record.process.pid} was`);
    return host;
  }

  /** The other moves through the same sidecar whose processes live. */
  async beside(): Promise<readonly MoveRecord[]> {
    const { name, sidecar } = this.#record;
    const all = await this.#records.list();
    const others = all.filter((one) => one.name !== name && one.sidecar.state === sidecar.state);
    const live = await Promise.all(others.map(({ process }) => this.world.lives(process)));
    return others.filter((_, index) => live[index]);
  }

  /** This move's crossing, with what the sidecar says beside it; the crossing is undefined when the sidecar knows none of this name. */
  async crossing(signal?: AbortSignal): Promise<CrossingList & { readonly crossing: Crossing | undefined }> {
    const list = await this.ask((control) => control.list(), signal);
    return { ...list, crossing: list.crossings.find(({ name }) => name === this.#record.name) };
  }

  /**
   * Asks the sidecar. One that is away is waited for, and started when it is the mover's own; what its registry cannot do now is asked for again.
   * Rejects with `control.…` after `patienceMs`.
   */
  async ask<Answer>(work: (control: SidecarControl) => Promise<Answer>, signal?: AbortSignal): Promise<Answer> {
    const { clock } = this.world;
    const begun = clock.now();
    for (;;) {
      try {
        const answer = await this.#unlessAway(work(this.world.control(this.#record)));
        this.#away = undefined;
        return answer;
      } catch (error) {
        const now = clock.now();
        // What a process wrote ends with it, and nothing can be asked of its sessions any more.
        if (!(await this.world.lives(this.#record.process))) throw goneError(this.#record);
        if (now - begun >= passingMs) throw error;
        if (isAway(error)) {
          this.#away ??= now;
          if (!(await this.isBack(this.#away + this.patienceMs - now))) throw error;
        } else if (!isPassing(error)) throw error;
        signal?.throwIfAborted();
        await sleep(clock, askAgainMs, signal);
      }
    }
  }

  /** A step takes seconds, and of a sidecar that hangs its answer would be waited for longer than a session lives without it. */
  async #unlessAway<Answer>(work: Promise<Answer>): Promise<Answer> {
    const { clock, sidecars, log } = this.world;
    const { state } = this.#record.sidecar;
    const { promise, reject } = Promise.withResolvers<never>();
    let since: number | undefined;
    const look = async (): Promise<void> => {
      if (await sidecars.answers(this.#record)) since = undefined;
      else since ??= clock.now();
      if (since === undefined || clock.now() - since < this.patienceMs) return;
      reject(new MeshError("control.timeout", `the sidecar at ${state} has begun and does not answer any more`));
    };
    const timer = clock.every(stepLookMs, () => {
      look().catch((error) => log.warn({ error: messageOf(error) }, "it cannot be seen whether the sidecar answers"));
    });
    try {
      return await Promise.race([work, promise]);
    } finally {
      timer.cancel();
    }
  }

  /** Whether the rule of this move is in force. Whoever loads all rules of a host anew has taken it away with them. */
  async hasRule(): Promise<boolean> {
    return (await (await this.host()).caught()).includes(this.#record.name);
  }

  /** Whether a question gets its answer, which that of a process that hangs does not, however it looks from outside. */
  async isThere(): Promise<boolean> {
    try {
      await this.world.control(this.#record).list();
      return true;
    } catch (error) {
      if (isAway(error)) return false;
      if (isMeshError(error, upgrading)) return true;
      throw error;
    }
  }

  /** Whether the sidecar answers within the time; the mover's own is started. */
  async isBack(withinMs: number): Promise<boolean> {
    const { clock, sidecars } = this.world;
    const end = clock.now() + withinMs;
    this.#cannotStart = false;
    for (;;) {
      if (await sidecars.answers(this.#record)) {
        this.#away = undefined;
        return true;
      }
      this.#away ??= clock.now();
      const left = end - clock.now();
      if (this.#cannotStart) return false;
      this.#start();
      if (left <= 0) return false;
      await sleep(clock, Math.min(askAgainMs, left));
    }
  }

  /** How long a sidecar that is away is waited for. */
  get patienceMs(): number {
    return this.#record.sidecar.own === undefined ? othersAwayMs : ownAwayMs;
  }

  /** For how long nobody has answered. */
  get awayMs(): number {
    return this.#away === undefined ? 0 : this.world.clock.now() - this.#away;
  }

  /** Resolves when no start of the sidecar is under way. */
  async startEnded(): Promise<void> {
    await this.#starting;
  }

  /** In the background, once at a time. */
  #start(): void {
    if (this.#record.sidecar.own === undefined) return;
    const { sidecars, log } = this.world;
    this.#starting ??= sidecars
      .start(this.#record)
      .catch((error) => {
        this.#cannotStart = true;
        log.warn({ error: messageOf(error) }, "the sidecar could not be started");
      })
      .finally(() => {
        this.#starting = undefined;
      });
  }
}

export function goneError({ process: { pid } }: MoveRecord): MeshError {
  return new MeshError(gone, `process ${pid} has ended`, { pid });
}

export function isGone(error: unknown): boolean {
  return isMeshError(error, gone);
}

/** Nobody answers at the control socket, or not in time. */
export function isAway(error: unknown): boolean {
  return isMeshError(error, "control.unreachable") || isMeshError(error, "control.timeout");
}

/** What the registry's servers, a session that is reconnecting, or a sidecar that is being upgraded may be able to do in a while. */
function isPassing(error: unknown): boolean {
  if (!isMeshError(error)) return false;
  return error.code.startsWith("zookeeper.") || error.code === "control.busy" || error.code === upgrading;
}
