/** What a pumping consumer told of its calls, and which of them were lost. */
import type { Program } from "./program.ts";

export interface Call {
  /** Wall time of its start, in milliseconds. */
  readonly at: number;
  readonly ms: number;
  /** `provider:port:bean` that answered, or undefined for a call that was lost. */
  readonly who: string | undefined;
  readonly error: string;
}

export function callsOf(consumer: Program): readonly Call[] {
  return consumer.said
    .filter((line) => "call" in line)
    .map((line) => ({
      at: Number(line["call"]),
      ms: Number(line["ms"]),
      who: typeof line["who"] === "string" ? line["who"] : undefined,
      error: String(line["error"] ?? ""),
    }));
}

export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Lost calls that overlap a span of wall time. */
export function lostDuring(calls: readonly Call[], span: Span): readonly Call[] {
  return calls.filter((call) => call.who === undefined && call.at < span.to && call.at + call.ms >= span.from);
}

/**
 * Lost calls that were not under way while a process died: from the signal until the system had taken it down, sockets and all. The margin is
 * what two clocks and a signal need.
 */
export function lostNotInFlight(lost: readonly Call[], dying: Span, marginMs = 30): readonly Call[] {
  return lost.filter((call) => call.at > dying.to + marginMs || call.at + call.ms < dying.from - marginMs);
}

export function describeCalls(calls: readonly Call[]): string {
  return calls
    .slice(0, 10)
    .map((call) => `at ${new Date(call.at).toISOString()}, after ${call.ms} ms: ${call.error}`)
    .join("\n");
}
