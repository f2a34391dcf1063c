/**
 * The bookkeeping of the demo: every call that a consumer started, in the step in which it was started, by the way that it really took.
 * The caller's way is the address that its library dialled; the called one's is that address too or, when a sidecar was dialled, what
 * the sidecar before the called instance counted.
 */
import type { Call } from "./reports.ts";

export type Way = "SDK" | "mesh";

/** Whose port an address is: an app's own, or one of the two of its sidecar. */
export interface Place {
  readonly kind: "app" | "inbound" | "outbound";
  readonly owner: string;
}

export interface Row {
  readonly caller: string;
  /** The instance that answered, or `nobody` for calls that reached none. */
  readonly called: string;
  readonly callerWay: Way;
  readonly calledWay: Way;
  readonly callsPerSecond: number;
  /** Since the demo began. */
  readonly failed: number;
  /** Of the last seconds; undefined when no call was answered in them. */
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
}

export interface StepCount {
  readonly name: string;
  readonly calls: number;
  readonly failed: number;
}

export interface Totals {
  readonly calls: number;
  readonly failed: number;
  readonly steps: readonly StepCount[];
}

interface Seen {
  readonly at: number;
  readonly ms: number;
  readonly callerWay: Way;
  readonly viaSidecar: boolean;
  readonly calledWay: Way;
  readonly failed: boolean;
}

interface Couple {
  readonly caller: string;
  readonly called: string;
  recent: Seen[];
  failed: number;
}

interface Inbound {
  total: number;
  grewAt: number;
}

const windowMs = 3000;
/** More recent calls of one couple than this are forgotten early: the figures of the window are then those of the newest. */
const maxRecent = 4096;
/** A sidecar that had counted nothing for so long when a call was started had no part in it. */
const inboundFreshMs = 1500;
const maxReasons = 5;

export class Ledger {
  /** The first reasons for which calls failed, for the summary. */
  readonly reasons: string[] = [];
  readonly #placeOf: (address: string) => Place | undefined;
  readonly #couples = new Map<string, Couple>();
  readonly #inbound = new Map<string, Inbound>();
  /** How many calls of the running process of each consumer were reported. */
  readonly #reported = new Map<string, number>();
  readonly #steps: { readonly name: string; readonly at: number; calls: number; failed: number }[] = [];
  #calls = 0;
  #failed = 0;

  constructor(placeOf: (address: string) => Place | undefined) {
    this.#placeOf = placeOf;
  }

  /** From `at` on, calls count to this step. */
  beginStep(name: string, at: number): void {
    this.#steps.push({ name, at, calls: 0, failed: 0 });
  }

  record(caller: string, call: Call): void {
    const failed = call.error !== "";
    this.#reported.set(caller, (this.#reported.get(caller) ?? 0) + 1);
    this.#count(call.at, failed, `${caller}: ${call.error}`);
    const place = this.#placeOf(call.dialled);
    const viaSidecar = place?.kind === "outbound";
    const called = call.by || (viaSidecar ? "nobody" : (place?.owner ?? "nobody"));
    const couple = this.#couple(caller, called);
    if (failed) couple.failed += 1;
    if (couple.recent.length >= maxRecent) couple.recent.shift();
    couple.recent.push({
      at: call.at,
      ms: call.ms,
      failed,
      viaSidecar,
      callerWay: viaSidecar ? "mesh" : "SDK",
      calledWay: place?.kind === "inbound" ? "mesh" : "SDK",
    });
  }

  /** A consumer ended in order and says how many calls it started: those that it never reported have failed. */
  settle(caller: string, started: number, at: number): void {
    const missing = started - (this.#reported.get(caller) ?? 0);
    this.#reported.delete(caller);
    for (let index = 0; index < missing; index += 1) {
      this.#count(at, true, `${caller}: a call was started and never ended`);
    }
  }

  /** A consumer ended without its account: at least one call is lost with it. */
  settleWithout(caller: string, at: number): void {
    this.#reported.delete(caller);
    this.#count(at, true, `${caller}: ended without an account of its calls`);
  }

  /** How many calls the sidecar before `called` has taken in so far. */
  inbound(called: string, total: number, at: number): void {
    const last = this.#inbound.get(called);
    if (last === undefined || total < last.total)
      this.#inbound.set(called, { total, grewAt: total > 0 ? at : -Infinity });
    else if (total > last.total) this.#inbound.set(called, { total, grewAt: at });
  }

  /** How many calls took exactly this way and were answered since `since`. */
  answered(row: Pick<Row, "caller" | "called" | "callerWay" | "calledWay">, since: number): number {
    const couple = this.#couples.get(keyOf(row.caller, row.called));
    if (couple === undefined) return 0;
    return couple.recent.filter(
      (seen) =>
        !seen.failed &&
        seen.at >= since &&
        seen.callerWay === row.callerWay &&
        this.#calledWay(couple, seen) === row.calledWay,
    ).length;
  }

  /** What the table shows at `now`, couples in a steady order. */
  rows(now: number): Row[] {
    const rows: Row[] = [];
    for (const couple of this.#couples.values()) {
      couple.recent = couple.recent.filter((seen) => seen.at > now - windowMs);
      const newest = couple.recent.at(-1);
      if (newest === undefined && couple.failed === 0 && couple.called === "nobody") continue;
      const answered = couple.recent.filter((seen) => !seen.failed).map((seen) => seen.ms);
      answered.sort((left, right) => left - right);
      rows.push({
        caller: couple.caller,
        called: couple.called,
        callerWay: newest?.callerWay ?? "SDK",
        calledWay: newest === undefined ? "SDK" : this.#calledWay(couple, newest),
        callsPerSecond: couple.recent.length / (windowMs / 1000),
        failed: couple.failed,
        p50Ms: quantile(answered, 0.5),
        p99Ms: quantile(answered, 0.99),
      });
    }
    return rows.sort((left, right) => order(keyOf(left.caller, left.called), keyOf(right.caller, right.called)));
  }

  totals(): Totals {
    return {
      calls: this.#calls,
      failed: this.#failed,
      steps: this.#steps.map(({ name, calls, failed }) => ({ name, calls, failed })),
    };
  }

  #calledWay(couple: Couple, seen: Seen): Way {
    if (!seen.viaSidecar) return seen.calledWay;
    const inbound = this.#inbound.get(couple.called);
    return inbound !== undefined && seen.at - inbound.grewAt < inboundFreshMs ? "mesh" : "SDK";
  }

  #count(at: number, failed: boolean, reason: string): void {
    const step = this.#steps.findLast((one) => one.at <= at);
    this.#calls += 1;
    if (step !== undefined) step.calls += 1;
    if (!failed) return;
    this.#failed += 1;
    if (step !== undefined) step.failed += 1;
    if (this.reasons.length < maxReasons) this.reasons.push(reason);
  }

  #couple(caller: string, called: string): Couple {
    const key = keyOf(caller, called);
    const found = this.#couples.get(key);
    if (found !== undefined) return found;
    const couple: Couple = { caller, called, recent: [], failed: 0 };
    this.#couples.set(key, couple);
    return couple;
  }
}

/** The value below which the fraction `at` of the sorted values lies. */
export function quantile(sorted: readonly number[], at: number): number | undefined {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))];
}

function keyOf(caller: string, called: string): string {
  return `${caller} ${called}`;
}

function order(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
