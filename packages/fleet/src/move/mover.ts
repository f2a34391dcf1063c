/**
 * Moves one process in and out, whoever began it. Every way ends in one of three places: in, out, or forwarded with a record that says
 * what is wanted; what fails on a way in takes it back, what fails on a way out leaves the record for who recovers it.
 */
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import type { Watching, WatchSummary } from "../watch/watching.ts";
import { attendIn, attendWord } from "./attend.ts";
import { inwardSteps, openWatch, type WayIn } from "./inward.ts";
import { isAway, isGone, type MoveEnd, type MoveOptions, OneMove } from "./one-move.ts";
import { comeBack, goAside, goOut, setAside } from "./outward.ts";
import type { EndState, MoveRecord } from "./record.ts";
import { areInMesh } from "./sessions.ts";
import { stepsIn } from "./steps.ts";

/** How long the sidecar of a move that is set aside may take to start: nobody waits for it. */
const patientMs = 20_000;

/** All of it with the move's hold in hand. */
export class Mover {
  readonly #move: OneMove;

  constructor(options: MoveOptions) {
    this.#move = new OneMove(options);
  }

  get record(): MoveRecord {
    return this.#move.record;
  }

  /** The rest of the way in. Aborting `signal` undoes it. */
  async enter(signal: AbortSignal): Promise<MoveEnd> {
    const move = this.#move;
    const stop = new AbortController();
    const abort = (): void => stop.abort(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    let opening: Promise<Watching> | undefined;
    let watching: Watching | undefined;
    const watch = (): Promise<Watching> => {
      opening ??= opened(move, stop).then((one) => {
        watching = one;
        return one;
      });
      return opening;
    };
    const attending = attendIn(move, stop);
    const listening = attendWord(move, stop);
    try {
      const way: WayIn = { move, signal: stop.signal, watch };
      for (const step of stepsIn(move.record)) {
        if (move.record.done.includes(step)) continue;
        stop.signal.throwIfAborted();
        await move.step(step, () => inwardSteps[step](way));
      }
      stop.signal.throwIfAborted();
      await move.become("in");
      return { state: "in", failed: "", ...summaryOf(watching) };
    } catch (error) {
      await Promise.all([attending.end(), listening.end()]);
      if (isGone(error)) return await this.#clean();
      // As it was until then: while it is undone nobody is watched, and in the end there is no sidecar that could be asked.
      const summary = summaryOf(watching);
      return { ...(await this.undo(messageOf(error))), ...summary };
    } finally {
      await Promise.all([attending.end(), listening.end()]);
      signal.removeEventListener("abort", abort);
      await (await ifOpen(opening))?.close();
    }
  }

  /** Takes a way in back. */
  async undo(reason: string): Promise<MoveEnd> {
    this.#move.tell({ event: "undo", reason });
    await this.#move.become("undoing", { failed: reason, wanted: "out" });
    return this.#finish();
  }

  /** The way out of a move that is in, or set aside, or on its way out. */
  async leave(): Promise<MoveEnd> {
    const move = this.#move;
    await this.#ensureGuard();
    if (this.record.state === "closing") return this.#close();
    if (this.record.state === "forwarded") {
      await move.change({ wanted: "out" });
      return this.#return();
    }
    if (this.record.state === "entering") return this.undo("its way in was not waited for");
    if (this.record.state === "in") await move.become("leaving", { failed: "", wanted: "out" });
    return this.#finish();
  }

  /** Whatever a mover left: completes it or takes it back. The sidecar of a move that is in is brought back, or set aside. */
  async recover(signal: AbortSignal): Promise<MoveEnd> {
    const { world } = this.#move;
    try {
      if (this.record.state === "closing") return await this.#close();
      if (!(await world.lives(this.record.process))) return await this.#clean();
      await this.#ensureGuard();
      switch (this.record.state) {
        case "entering":
          return await this.#recoverEntering(signal);
        case "leaving":
        case "undoing":
          return await this.#finish();
        case "in":
          return await this.#recoverIn();
        case "forwarded":
          this.#move.lead("out");
          await goAside(this.#move);
          return await this.#return();
      }
    } catch (error) {
      if (isGone(error)) return this.#clean();
      throw error;
    }
  }

  /** The one that was there may have died. Without one it goes on all the same. */
  async #ensureGuard(): Promise<void> {
    const move = this.#move;
    try {
      await move.world.ensureGuard(move.record);
    } catch (error) {
      move.note(`no guard looks after it now: ${messageOf(error)}`);
    }
  }

  async #recoverEntering(signal: AbortSignal): Promise<MoveEnd> {
    const swaps = stepsIn(this.record).filter((step) => step === "provide" || step === "consume");
    const isSwapped = swaps.every((step) => this.record.done.includes(step));
    if (isSwapped && (await this.#move.isBack(this.#move.patienceMs)) && (await this.#isAsRecorded()))
      return this.enter(signal);
    return this.undo("its mover died on the way in");
  }

  /** Whether it stands as its record says: the rule in force, and what was moved in the mesh. */
  async #isAsRecorded(): Promise<boolean> {
    try {
      return (await this.#move.hasRule()) && (await areInMesh(this.#move));
    } catch (error) {
      if (isAway(error)) return false;
      throw error;
    }
  }

  async #recoverIn(): Promise<MoveEnd> {
    const move = this.#move;
    const { sidecars } = move.world;
    const { step } = this.record;
    if (step === "" && (await sidecars.answers(this.record)) && (await move.isThere()) && (await this.#isAsRecorded()))
      return { state: "in", failed: "" };
    if (await move.isBack(move.patienceMs)) {
      if (!(await comeBack(move))) return this.#forwarded();
      await move.become("in", { failed: "" });
      return { state: "in", failed: "" };
    }
    await setAside(move, `the sidecar at ${this.record.sidecar.state} does not answer`);
    return this.#forwarded();
  }

  /** A move that is set aside goes to where it is wanted, if its sidecar can be had. */
  async #return(): Promise<MoveEnd> {
    const move = this.#move;
    const waitMs = this.record.sidecar.own === undefined ? move.patienceMs : patientMs;
    move.lead("in");
    if (!(await move.isBack(waitMs)) || !(await comeBack(move))) return this.#forwarded();
    if (this.record.wanted === "out") {
      await move.become("leaving");
      return this.#finish();
    }
    await move.become("in", { failed: "" });
    return { state: "in", failed: "" };
  }

  async #finish(): Promise<MoveEnd> {
    const move = this.#move;
    const state = this.record.state === "undoing" ? "undone" : "out";
    move.lead("out");
    try {
      if ((await goOut(move)) === "forwarded") return this.#forwarded();
    } catch (error) {
      if (isGone(error)) return this.#clean();
      throw error;
    }
    // What its own sidecar kept has gone with that.
    const isClosed = this.record.ended === undefined || !(await move.world.sidecars.keepsState(this.record));
    return this.#end(state, this.record.failed, isClosed);
  }

  /** It is over: forgotten, or kept until its crossing can be closed. */
  async #end(state: EndState, failed: string, isClosed: boolean): Promise<MoveEnd> {
    const move = this.#move;
    if (isClosed) await move.end(state, failed);
    else await move.become("closing", { ended: state, failed });
    return { state, failed };
  }

  /** A sidecar that was away when it ended may be there again. */
  async #close(): Promise<MoveEnd> {
    const move = this.#move;
    const { record, world } = move;
    const { ended = "out", failed, sidecar } = record;
    if (await world.sidecars.keepsState(record)) {
      const isBack = await move.isBack(sidecar.own === undefined ? move.patienceMs : patientMs);
      if (!isBack || !(await this.#isClosed())) return { state: "closing", failed };
      if (sidecar.own !== undefined) await world.sidecars.end(record, "in order");
    }
    await move.end(ended);
    return { state: ended, failed };
  }

  /** False when the sidecar is away, or does not do it. */
  async #isClosed(): Promise<boolean> {
    const { record, world } = this.#move;
    try {
      await world.control(record).close({ name: record.name });
      return true;
    } catch (error) {
      if (isMeshError(error, "crossing.unknown")) return true;
      world.log.warn({ move: record.name, error: messageOf(error) }, "a crossing that nobody uses is not closed");
      return false;
    }
  }

  #forwarded(): MoveEnd {
    return { state: "forwarded", failed: this.record.failed };
  }

  /** The process has ended, and with it all that it had in its registry: takes away what was made for it. */
  async #clean(): Promise<MoveEnd> {
    const { record, world } = this.#move;
    const host = await world.host(record);
    // First, so that others whom it led find their registry when the doors are closed.
    await host?.release(record.name);
    const isUsed = await this.#isUsed();
    const isClosed = (await this.#isClosed()) || !(await world.sidecars.keepsState(record));
    // Callers of others that were brought back go on for a while.
    if (record.sidecar.own !== undefined) await world.sidecars.end(record, isUsed ? "in order" : "at once");
    await host?.unforward(record.name);
    return this.#end("gone", `process ${record.process.pid} has ended`, isClosed);
  }

  /** Whether another process, which nobody asked to move, comes through its doors. */
  async #isUsed(): Promise<boolean> {
    const { record, world } = this.#move;
    try {
      const { crossings } = await world.control(record).list();
      const crossing = crossings.find(({ name }) => name === record.name);
      return crossing?.sessions.some(({ connected }) => connected) ?? false;
    } catch (error) {
      if (isAway(error)) return false;
      throw error;
    }
  }
}

async function opened(move: OneMove, stop: AbortController): Promise<Watching> {
  const watching = await openWatch(move);
  void watching.verdict.then(({ reason }) => stop.abort(new MeshError("move.worse", reason)));
  return watching;
}

/** A watch that could not be opened has ended the way in, with its reason. */
async function ifOpen(opening: Promise<Watching> | undefined): Promise<Watching | undefined> {
  try {
    return await opening;
  } catch {
    return undefined;
  }
}

function summaryOf(watching: Watching | undefined): { readonly watch?: WatchSummary } {
  return watching === undefined ? {} : { watch: watching.summary() };
}
