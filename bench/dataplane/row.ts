/** What a bench prints with `--json`. What cannot be had is null. */
import type { ProxyName, Work } from "../options.ts";

/** One line of the result. `saturated`: the generator and not the proxy was the limit. */
export interface Row {
  readonly work: Work;
  readonly load: string;
  readonly proxy: ProxyName;
  readonly cpuMicros: number | null;
  readonly rps: number | null;
  readonly p50Micros: number | null;
  readonly p99Micros: number | null;
  readonly rssMb: number | null;
  readonly saturated: boolean | null;
  readonly pssMb: number | null;
  readonly errors: number | null;
}
