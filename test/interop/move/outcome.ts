/** What came of a cell, whichever it was. */
import type { MoveEnd } from "./mover.ts";
import type { Cell } from "./plan.ts";

export interface Outcome {
  /** A sentence for each thing that should not be; empty when all is as it should be. */
  readonly wrong: readonly string[];
  /** For people. */
  readonly measured: string;
  readonly seconds: number;
  /** The ends of all logs. */
  readonly logs: string;
}

export function cellOf(name: string, { wrong, measured, seconds }: Omit<Outcome, "logs">): Cell {
  const figures = { seconds: Math.round(seconds * 10) / 10, measured };
  return wrong.length > 0
    ? { name, result: "failed", reason: wrong.join("; "), ...figures }
    : { name, result: "ok", ...figures };
}

/** What is wrong with how a move ended. */
export function ended({ state, failed }: MoveEnd, ...wanted: readonly string[]): readonly string[] {
  return wanted.includes(state) ? [] : [`the move ended as ${state}: ${failed}`];
}
