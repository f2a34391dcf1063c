/**
 * What the data path counts: plain numbers, at the end of an exchange, once. The labels are bounded: past the limit a new
 * combination is counted as `other`.
 */
import type { HistogramSample, Labels } from "@dualmesh/base/metrics";
import { MetricsPage } from "@dualmesh/base/metrics";

/** How an exchange ended, as seen from here. */
export const results = [
  "ok" /* answered, or a oneway sent */,
  "error" /* answered by the application with an error status of the protocol */,
  "timeout",
  "no-provider",
  "unavailable",
  "overload",
  "denied",
  "unreadable",
  "cancelled" /* the caller was gone before the answer */,
] as const;
export type Result = (typeof results)[number];

export type Direction = "outbound" | "inbound";

/** Upper bounds of the duration histogram, in seconds. */
const bounds: readonly number[] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const boundsMs = Float64Array.from(bounds, (seconds) => seconds * 1_000);

interface Histogram {
  readonly counts: Float64Array;
  sumMs: number;
}

/** The same as plain data. */
export interface SeriesFigures {
  readonly labels: Labels;
  readonly histograms: Partial<
    Readonly<Record<string, { readonly counts: readonly number[]; readonly sumMs: number }>>
  >;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface CountedFigures {
  readonly series: readonly SeriesFigures[];
  readonly events: Partial<Readonly<Record<string, number>>>;
}

/** The figures of one (source, service, protocol, direction). */
export class Series {
  readonly labels: Labels;
  readonly #histograms: (Histogram | undefined)[] = new Array(results.length).fill(undefined);
  /** Of connections of bytes, as they pass: what callers sent, and what they were sent. */
  receivedBytes = 0;
  sentBytes = 0;

  constructor(labels: Labels) {
    this.labels = labels;
  }

  count(result: Result, durationMs: number): void {
    const at = results.indexOf(result);
    let histogram = this.#histograms[at];
    if (histogram === undefined) {
      histogram = { counts: new Float64Array(bounds.length + 1), sumMs: 0 };
      this.#histograms[at] = histogram;
    }
    let bucket = 0;
    while (bucket < boundsMs.length && durationMs > (boundsMs[bucket] as number)) bucket++;
    histogram.counts[bucket] = (histogram.counts[bucket] as number) + 1;
    histogram.sumMs += durationMs;
  }

  *samples(): IterableIterator<HistogramSample> {
    for (const [at, histogram] of this.#histograms.entries()) {
      if (histogram === undefined) continue;
      yield {
        labels: { ...this.labels, result: results[at] as Result },
        bounds,
        counts: histogram.counts,
        sum: histogram.sumMs / 1_000,
      };
    }
  }

  /** All that was counted, which is forgotten here. */
  take(): SeriesFigures {
    const histograms = Object.fromEntries(
      this.#histograms.flatMap((histogram, at) =>
        histogram === undefined
          ? []
          : [[results[at] as Result, { counts: [...histogram.counts], sumMs: histogram.sumMs }]],
      ),
    );
    const { labels, receivedBytes, sentBytes } = this;
    this.#histograms.fill(undefined);
    this.receivedBytes = this.sentBytes = 0;
    return { labels, histograms, receivedBytes, sentBytes };
  }

  add({ histograms, receivedBytes, sentBytes }: SeriesFigures): void {
    this.receivedBytes += receivedBytes;
    this.sentBytes += sentBytes;
    for (const [at, result] of results.entries()) {
      const more = histograms[result];
      if (more === undefined || more.counts.length !== bounds.length + 1) continue;
      const histogram = this.#histograms[at] ?? { counts: new Float64Array(bounds.length + 1), sumMs: 0 };
      this.#histograms[at] = histogram;
      for (const [bucket, count] of more.counts.entries())
        histogram.counts[bucket] = (histogram.counts[bucket] as number) + count;
      histogram.sumMs += more.sumMs;
    }
  }

  /** Requests counted so far, by result. */
  totals(): Readonly<Record<string, number>> {
    const totals: Record<string, number> = {};
    for (const [at, histogram] of this.#histograms.entries())
      if (histogram !== undefined)
        totals[results[at] as Result] = histogram.counts.reduce((sum, count) => sum + count, 0);
    return totals;
  }
}

/** What happens beside exchanges; each is a counter of its own. */
export const eventNames = [
  "late_reply" /* answered after its deadline, or an id that nobody waits for */,
  "reply_dropped" /* the caller was gone */,
  "downstream_cut" /* a caller that does not take its replies */,
  "downstream_dropped" /* turned away at the connection limit */,
  "downstream_refused" /* not from loopback */,
  "malformed" /* a connection closed because its bytes are no frame */,
  "frame_budget" /* a connection closed because partial frames use all the memory they may */,
  "unknown_protocol",
  "slow_frame" /* a connection closed because a frame took too long to arrive */,
  "idle_closed",
  "connect_failed",
  "upstream_lost" /* an upstream connection broke with requests in flight */,
  "upstream_dead" /* an upstream connection gave no sign of life */,
  "read_only" /* a server said that it is going to stop */,
  "loop" /* a request that came back: an endpoint is this sidecar's own outbound port */,
  "ignored_frame" /* a frame that makes no sense in this direction */,
  "retry" /* a request that tried another endpoint after a connect failure */,
] as const;
export type EventName = (typeof eventNames)[number];

export class DataMetrics {
  readonly #maxSeries: number;
  readonly #series = new Map<string, Series>();
  readonly #events = new Map<EventName, number>(eventNames.map((name) => [name, 0]));
  /** Gauges, asked when the page is written. */
  readonly gauges = new Map<string, { readonly help: string; readonly read: () => number }>();

  /** Past `maxSeries` combinations of labels, a new one is counted as `other`. */
  constructor(maxSeries = 5_000) {
    this.#maxSeries = maxSeries;
  }

  series(source: string, service: string, protocol: string, direction: Direction): Series {
    const key = `${direction}|${protocol}|${source}|${service}`;
    const found = this.#series.get(key);
    if (found !== undefined) return found;
    if (this.#series.size >= this.#maxSeries && source !== "other")
      return this.series("other", "other", protocol, direction);
    const series = new Series({ source, service, protocol, direction });
    this.#series.set(key, series);
    return series;
  }

  event(name: EventName): void {
    this.#events.set(name, (this.#events.get(name) as number) + 1);
  }

  eventCount(name: EventName): number {
    return this.#events.get(name) as number;
  }

  /** All that was counted, for a process that goes on counting; what it is not told twice. */
  take(): CountedFigures {
    const series = [...this.#series.values()].map((one) => one.take());
    const events = Object.fromEntries([...this.#events].filter(([, count]) => count > 0));
    for (const name of eventNames) this.#events.set(name, 0);
    return { series, events };
  }

  /** Adds what another process has counted. What cannot be read is left out. */
  add({ series = [], events = {} }: Partial<CountedFigures>): void {
    for (const figures of series) {
      const { source, service, protocol, direction } = figures.labels;
      if (direction !== "outbound" && direction !== "inbound") continue;
      this.series(source ?? "other", service ?? "other", protocol ?? "other", direction).add(figures);
    }
    for (const name of eventNames) this.#events.set(name, (this.#events.get(name) ?? 0) + (events[name] ?? 0));
  }

  all(): Iterable<Series> {
    return this.#series.values();
  }

  page(): MetricsPage {
    const page = new MetricsPage();
    const series = [...this.#series.values()];
    page.histogram(
      "dualmesh_request_duration_seconds",
      "Exchanges by how they ended and how long they took.",
      series.flatMap((one) => [...one.samples()]),
    );
    const ofBytes = series.filter(({ receivedBytes, sentBytes }) => receivedBytes + sentBytes > 0);
    page.counter(
      "dualmesh_tcp_received_bytes_total",
      "Bytes that callers of tcp services sent.",
      ofBytes.map(({ labels, receivedBytes }) => [labels, receivedBytes] as const),
    );
    page.counter(
      "dualmesh_tcp_sent_bytes_total",
      "Bytes that callers of tcp services were sent.",
      ofBytes.map(({ labels, sentBytes }) => [labels, sentBytes] as const),
    );
    page.counter(
      "dualmesh_sidecar_events_total",
      "What happened beside exchanges.",
      [...this.#events].map(([event, count]) => [{ event }, count] as const),
    );
    for (const [name, gauge] of this.gauges) page.gauge(name, gauge.help, gauge.read());
    return page;
  }
}

/** The memory of the process, under the names that dashboards for Node know. */
export function gaugesOfProcess({ gauges }: DataMetrics): void {
  gauges.set("process_resident_memory_bytes", {
    help: "Resident memory, with the pages that all processes of this program share.",
    read: () => process.memoryUsage.rss(),
  });
  gauges.set("nodejs_heap_used_bytes", {
    help: "JavaScript objects, with those that the next collection will free.",
    read: () => process.memoryUsage().heapUsed,
  });
  gauges.set("nodejs_external_memory_bytes", {
    help: "Buffers and other memory beside the heap.",
    read: () => process.memoryUsage().external,
  });
}
