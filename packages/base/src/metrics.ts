/**
 * The Prometheus text format (exposition format 0.0.4). Figures are kept by their owners as plain numbers, so that they can cross
 * threads; this only writes them down.
 */
export type Labels = Readonly<Record<string, string>>;

export interface HistogramSample {
  readonly labels: Labels;
  /** Upper bounds in seconds, ascending, without +Inf; `counts` has one more. Counts are not cumulative. */
  readonly bounds: readonly number[];
  readonly counts: ArrayLike<number>;
  readonly sum: number;
}

export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

export class MetricsPage {
  readonly #lines: string[] = [];

  counter(name: string, help: string, samples: Iterable<readonly [Labels, number]> | number): this {
    return this.#plain("counter", name, help, samples);
  }

  gauge(name: string, help: string, samples: Iterable<readonly [Labels, number]> | number): this {
    return this.#plain("gauge", name, help, samples);
  }

  histogram(name: string, help: string, samples: Iterable<HistogramSample>): this {
    this.#head("histogram", name, help);
    for (const sample of samples) {
      let total = 0;
      for (let index = 0; index <= sample.bounds.length; index++) {
        total += sample.counts[index] ?? 0;
        const le = index < sample.bounds.length ? String(sample.bounds[index]) : "+Inf";
        this.#lines.push(`${name}_bucket${labelText({ ...sample.labels, le })} ${total}`);
      }
      this.#lines.push(`${name}_sum${labelText(sample.labels)} ${sample.sum}`);
      this.#lines.push(`${name}_count${labelText(sample.labels)} ${total}`);
    }
    return this;
  }

  toString(): string {
    return `${this.#lines.join("\n")}\n`;
  }

  #plain(type: string, name: string, help: string, samples: Iterable<readonly [Labels, number]> | number): this {
    this.#head(type, name, help);
    const list = typeof samples === "number" ? [[{}, samples] as const] : samples;
    for (const [labels, value] of list) this.#lines.push(`${name}${labelText(labels)} ${value}`);
    return this;
  }

  #head(type: string, name: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`, `# TYPE ${name} ${type}`);
  }
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}
