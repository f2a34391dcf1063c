/**
 * The guard of a moves directory: looks five times a second whether the sidecar of each move answers and whether the mover of each unfinished
 * one lives. A sidecar that died is started again, or set aside when that takes too long, and comes back when it can; what a dead mover
 * left is completed or taken back. It ends when there has been no move for a minute, and when it has lost who holds its privileges: it could do
 * nothing any more, and would only keep another one from its post.
 */
import { type Clock, sleep } from "@dualmesh/base/clock";
import { isMeshError, messageOf } from "@dualmesh/base/errors";
import { ThrottledLog } from "@dualmesh/base/throttled-log";
import { Mover } from "./mover.ts";
import { OneMove } from "./one-move.ts";
import { isAside } from "./outward.ts";
import { isUnfinished, type MoveRecord } from "./record.ts";
import { areInMesh } from "./sessions.ts";
import type { MoveRecords, MoveWorld } from "./world.ts";

export interface GuardOptions {
  readonly world: MoveWorld;
  readonly records: MoveRecords;
  readonly signal: AbortSignal;
  /** Goes on when there has been no move for long. */
  readonly stays?: boolean;
}

const lookMs = 200;
const idleMs = 60_000;
const privilegesMs = 2_000;
/** What failed is tried again after a second, then after twice as long each time; at once when the sidecar is back that was away then. */
const firstAgainMs = 1_000;
const longestAgainMs = 60_000;

/** Resolves when there is nothing left to guard, or the signal is aborted and what was being mended is. Rejects with `host.no-agent`. */
export async function runGuard({ world, records, signal, stays = false }: GuardOptions): Promise<void> {
  const { clock, log } = world;
  const told = new ThrottledLog({ log, clock });
  const wards = new Map<string, Ward>();
  const privileges = new Privileges(world);
  let lastSeen = clock.now();
  while (!signal.aborted) {
    privileges.look();
    const list = await listed(records, told);
    for (const record of list) {
      const ward = wards.get(record.name) ?? new Ward(world, records, signal);
      wards.set(record.name, ward);
      ward.look(record);
    }
    const names = new Set(list.map(({ name }) => name));
    for (const [name, ward] of wards) if (!names.has(name) && !ward.isBusy) wards.delete(name);
    // What cannot be read may be mended, by the version of the program that wrote it.
    const isNeeded = list.length > 0 || wards.size > 0 || (await unreadable(records)) > 0;
    if (isNeeded || stays) lastSeen = clock.now();
    else if (clock.now() - lastSeen >= idleMs) break;
    await aborted(clock, lookMs, signal);
  }
  await Promise.all([...wards.values()].map((ward) => ward.idle()));
}

async function listed(records: MoveRecords, told: ThrottledLog): Promise<readonly MoveRecord[]> {
  try {
    return await records.list();
  } catch (error) {
    told.error("", { error: messageOf(error) }, "the moves cannot be read");
    return [];
  }
}

async function unreadable(records: MoveRecords): Promise<number> {
  try {
    return (await records.unreadable()).length;
  } catch {
    return 0; // the list has said why
  }
}

async function aborted(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  await sleep(clock, ms, signal).catch(() => undefined); // the loop sees it
}

/** Whether who holds the privileges is there. */
class Privileges {
  readonly #world: MoveWorld;
  #askedAt = Number.NEGATIVE_INFINITY;
  #isAsking = false;
  #lost: unknown;

  constructor(world: MoveWorld) {
    this.#world = world;
  }

  /** Throws what the last question has found. */
  look(): void {
    if (this.#lost !== undefined) throw this.#lost;
    const now = this.#world.clock.now();
    if (this.#isAsking || now - this.#askedAt < privilegesMs) return;
    this.#askedAt = now;
    this.#isAsking = true;
    void this.#ask().finally(() => {
      this.#isAsking = false;
    });
  }

  async #ask(): Promise<void> {
    try {
      await this.#world.checkPrivileges();
    } catch (error) {
      // Whoever says anything else is there.
      if (isMeshError(error, "host.no-agent")) this.#lost = error;
    }
  }
}

const ruleLookMs = 5_000;
const meshLookMs = 10_000;
/** Once may be while something is being registered. */
const outLooksToMend = 2;

/** One move as the guard sees it; one thing at a time is done for it. */
class Ward {
  readonly #world: MoveWorld;
  readonly #records: MoveRecords;
  readonly #signal: AbortSignal;
  #work: Promise<void> | undefined;
  #failures = 0;
  #notBefore = 0;
  /** Whether the sidecar answered when it was last seen after a failure; undefined until it was. */
  #answered: boolean | undefined;
  #ruleDueAt = 0;
  #meshDueAt = 0;
  /** How often in a row what was moved was seen not to be in the mesh. */
  #outLooks = 0;

  constructor(world: MoveWorld, records: MoveRecords, signal: AbortSignal) {
    this.#world = world;
    this.#records = records;
    this.#signal = signal;
  }

  get isBusy(): boolean {
    return this.#work !== undefined;
  }

  look(record: MoveRecord): void {
    if (this.#work !== undefined) return;
    this.#work = this.#mend(record).finally(() => {
      this.#work = undefined;
    });
  }

  async idle(): Promise<void> {
    await this.#work;
  }

  async #mend(seen: MoveRecord): Promise<void> {
    const { clock, log } = this.#world;
    try {
      if (await this.#waits(seen)) return;
      if (!(await this.#needs(seen))) {
        if (seen.state === "in") this.#failures = 0;
        return;
      }
      // One that is started in vain, or is there and cannot take the move, is tried less and less often.
      const end = await this.#recover(seen.name);
      if (end === "forwarded" || end === "closing") this.#again();
      else this.#failures = 0;
      if (end === undefined) this.#outLooks = 0;
    } catch (error) {
      this.#again();
      this.#outLooks = 0;
      const fields = { move: seen.name, error: messageOf(error), againMs: Math.round(this.#notBefore - clock.now()) };
      log.error(fields, "the guard could not mend a move, and tries again");
    }
  }

  async #needs(record: MoveRecord): Promise<boolean> {
    const { lives, self, sidecars } = this.#world;
    if (record.state === "closing") {
      const mayBeClosed = record.sidecar.own !== undefined || (await sidecars.answers(record));
      return mayBeClosed || !(await sidecars.keepsState(record));
    }
    if (!(await lives(record.process))) return true;
    // What this guard itself could not mend, it tries again.
    if (isUnfinished(record)) return record.mover.pid === self.pid || !(await lives(record.mover));
    const answers = await sidecars.answers(record);
    if (record.state === "forwarded") return answers || record.sidecar.own !== undefined || !isAside(record);
    return record.step !== "" || !answers || !(await this.#isLed(record)) || !(await this.#isInMesh(record));
  }

  /** Whether the rule stands, which is looked at now and then: reading rules takes a process of its own. */
  async #isLed(record: MoveRecord): Promise<boolean> {
    const { clock } = this.#world;
    if (clock.now() < this.#ruleDueAt) return true;
    this.#ruleDueAt = clock.now() + ruleLookMs;
    const caught = await (await this.#world.host(record))?.caught();
    return caught === undefined || caught.includes(record.name);
  }

  /**
   * Whether what was moved is in the mesh, which is asked now and then: a mover that was killed while the disk was full may have led it out, and its record says nothing
   * of that. What is so still after a mend is not mended for that again.
   */
  async #isInMesh(record: MoveRecord): Promise<boolean> {
    const { clock } = this.#world;
    if (clock.now() < this.#meshDueAt) return true;
    this.#meshDueAt = clock.now() + meshLookMs;
    const move = new OneMove({ world: this.#world, records: this.#records, record, tell: () => undefined });
    try {
      this.#outLooks = (await areInMesh(move)) ? 0 : this.#outLooks + 1;
    } catch (error) {
      if (!isMeshError(error)) throw error;
      return true; // whatever is away now, or gone, is seen by the next look
    }
    return this.#outLooks !== outLooksToMend;
  }

  /** Undefined when somebody else is at it, or it is gone. */
  async #recover(name: string): Promise<string | undefined> {
    const { clock, log } = this.#world;
    let hold: Awaited<ReturnType<MoveRecords["take"]>>;
    try {
      hold = await this.#records.take(name);
    } catch (error) {
      if (!isMeshError(error, "move.busy")) throw error;
      return undefined;
    }
    try {
      const record = await this.#records.read(name);
      if (record === undefined) return undefined;
      const { state: from, step } = record;
      const begun = clock.now();
      log.warn({ move: name, from, step }, "the guard mends a move");
      const mover = new Mover({
        world: this.#world,
        records: this.#records,
        record,
        tell: (event) => log.info({ move: name, ...event }, "on the way"),
      });
      const { state: to } = await mover.recover(this.#signal);
      log.info({ move: name, from, to, ms: Math.round(clock.now() - begun) }, "the guard has mended a move");
      return to;
    } finally {
      await hold.release();
    }
  }

  /** Whether it is too soon after a failure, and nothing has changed since. */
  async #waits(record: MoveRecord): Promise<boolean> {
    if (this.#world.clock.now() >= this.#notBefore) return false;
    const answered = this.#answered;
    this.#answered = await this.#world.sidecars.answers(record);
    return answered !== false || !this.#answered;
  }

  #again(): void {
    const waitMs = Math.min(longestAgainMs, firstAgainMs * 2 ** this.#failures++);
    this.#notBefore = this.#world.clock.now() + waitMs;
    this.#answered = undefined;
  }
}
