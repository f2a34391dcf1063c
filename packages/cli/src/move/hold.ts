/** Takes a move for oneself: from the guard that is mending it, or from a mover on whose way it is, who is told to take a way in back. */
import { type Clock, sleep, systemClock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import { stoppedGroup } from "@dualmesh/fleet/move/processes";
import { isUnfinished, type MoveRecord, type MoveState } from "@dualmesh/fleet/move/record";
import type { Hold, MoveRecords } from "@dualmesh/fleet/move/world";

/** Between two steps a guard, or who recovers, is for less. */
const patienceMs = 30_000;
/** No step of any way takes longer, the slowest of which is that callers are still served; and nothing between two of a way out. */
const stepPatienceMs = 180_000;
const againMs = 200;

export interface HoldOptions {
  readonly records: Pick<MoveRecords, "take" | "read" | "tellToUndo">;
  readonly name: string;
  /** What is waited for, for people. */
  readonly note: (text: string) => void;
  /** Aborted when nobody wants to wait any longer. */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

export interface TakenHold {
  readonly hold: Hold;
  /** The way on which the move was last seen while somebody else had it; undefined when nobody had. */
  readonly waitedFor: MoveState | undefined;
}

/** Rejects with `move.busy` when who has it comes to no end, or is stopped, and with `move.interrupted`. */
export async function takeToLeave(options: HoldOptions): Promise<TakenHold> {
  const { records, name, note, signal, clock = systemClock } = options;
  const wait = new Wait(records, note, clock);
  for (;;) {
    try {
      const hold = await records.take(name);
      if (!signal.aborted) return { hold, waitedFor: wait.seen };
      await hold.release();
    } catch (error) {
      if (!isMeshError(error, "move.busy")) throw error;
      await wait.look(await records.read(name), error);
      await sleep(clock, againMs, signal).catch(() => undefined); // that is seen at once
    }
    if (signal.aborted) throw wait.givenUp(signal);
  }
}

/** Of a mover that stands still, and what its operator can do. */
export function stoppedText(group: number): string {
  return `is stopped: let it go on (fg at its terminal, or kill -CONT -- -${group})`;
}

export function killText(pid: number): string {
  return `or end it (kill -KILL ${pid}), and the guard does`;
}

/** The wait for one who has the move. */
class Wait {
  readonly #records: HoldOptions["records"];
  readonly #note: HoldOptions["note"];
  readonly #clock: Clock;
  #place = "";
  /** When the record was last another one: each step is in it. */
  #changedAt: number;
  readonly #noted = new Set<string>();
  readonly #told = new Set<number>();
  seen: MoveState | undefined;

  constructor(records: HoldOptions["records"], note: HoldOptions["note"], clock: Clock) {
    this.#records = records;
    this.#note = note;
    this.#clock = clock;
    this.#changedAt = clock.now();
  }

  /** The record is not there yet, or not any more, for a moment. */
  async look(record: MoveRecord | undefined, busy: MeshError): Promise<void> {
    const now = this.#clock.now();
    const place = record === undefined ? "" : `${record.state} ${record.step} ${record.done.length}`;
    if (place !== this.#place) this.#changedAt = now;
    this.#place = place;
    this.seen = record?.state ?? this.seen;
    const { pid } = busy.details as { readonly pid?: number };
    // One that is stopped does not say who it is.
    const isMover = record !== undefined && isUnfinished(record) && (pid === undefined || pid === record.mover.pid);
    if (isMover) await this.#meet(record);
    const isInStep = record !== undefined && record.step !== "";
    if (now - this.#changedAt < (isMover || isInStep ? stepPatienceMs : patienceMs)) return;
    if (!isMover) throw busy;
    throw new MeshError(
      "move.busy",
      `process ${record.mover.pid} has been at the same step of the move ${record.name} for ${stepPatienceMs / 1_000} s: see dualmesh move status; when that one is ended (kill -KILL ${record.mover.pid}), the guard goes on`,
      busy.details,
    );
  }

  /** What is so when it ends before its time. */
  givenUp({ reason }: AbortSignal): MeshError {
    const [pid] = this.#told;
    const left =
      pid === undefined ? "nothing was changed" : `process ${pid} goes on with taking it back, as it was told`;
    return new MeshError("move.interrupted", `${messageOf(reason)}: ${left}`);
  }

  /** A mover that is on its way. */
  async #meet({ name, state, mover }: MoveRecord): Promise<void> {
    if (state === "entering" && !this.#told.has(mover.pid)) {
      this.#told.add(mover.pid);
      await this.#records.tellToUndo(name, mover);
      this.#say(`process ${mover.pid}, which moves it in, is told to take that back: this may take two minutes`);
    } else if (state !== "entering" && this.#told.size === 0) {
      this.#say(`process ${mover.pid} takes it out already, and is waited for`);
    }
    const group = stoppedGroup(mover);
    if (group === undefined) return;
    throw new MeshError(
      "move.busy",
      `process ${mover.pid}, which is at the move ${name}, ${stoppedText(group)}, and it takes the process out; ${killText(mover.pid)}`,
      { name, pid: mover.pid },
    );
  }

  #say(text: string): void {
    if (this.#noted.has(text)) return;
    this.#noted.add(text);
    this.#note(text);
  }
}
