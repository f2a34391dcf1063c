/** The figures of the data path as a mover compares them: one entry for each series, all results in one histogram. */
import type { CrossingFigures } from "@dualmesh/model/crossing";
import type { Direction, Series } from "../metrics.ts";

export function figuresOf(all: Iterable<Series>): readonly CrossingFigures[] {
  return [...all].map((series) => {
    const { source = "", service = "", protocol = "", direction } = series.labels;
    const boundsMs: number[] = [];
    const counts: number[] = [];
    let sumMs = 0;
    for (const sample of series.samples()) {
      sumMs += sample.sum * 1_000;
      for (const [at, count] of Array.from(sample.counts).entries()) counts[at] = (counts[at] ?? 0) + count;
      if (boundsMs.length === 0) boundsMs.push(...sample.bounds.map((seconds) => seconds * 1_000));
    }
    const results = series.totals();
    return { direction: direction as Direction, source, service, protocol, results, boundsMs, counts, sumMs };
  });
}
