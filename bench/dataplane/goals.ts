/**
 * The figures that dualmesh has to reach, scaled to the machine: they were set where haproxy's TCP cost so many microseconds of CPU
 * for each request, and haproxy is measured in the same run.
 */
import type { Row } from "./row.ts";

interface Goal {
  readonly work: Row["work"];
  readonly load: string;
  readonly cpuMicros: number;
  /** What haproxy cost where the goal was set. */
  readonly haproxyMicros: number;
}

const goals: readonly Goal[] = [
  { work: "bolt", load: "4x16", cpuMicros: 4, haproxyMicros: 2.0 },
  { work: "bolt", load: "64x4", cpuMicros: 8, haproxyMicros: 3.3 },
  { work: "dubbo", load: "4x16", cpuMicros: 5, haproxyMicros: 2.0 },
  { work: "dubbo", load: "64x4", cpuMicros: 9, haproxyMicros: 3.3 },
  { work: "http", load: "64x1", cpuMicros: 22, haproxyMicros: 17 },
];
/** The latency that dualmesh adds at 1x1, over what haproxy adds: to be reached, and a failure only above `failure`. */
const addedLatencyRatios: Readonly<Record<Row["work"], { readonly goal: number; readonly failure: number }>> = {
  bolt: { goal: 1.2, failure: 1.2 },
  dubbo: { goal: 1.2, failure: 1.2 },
  http: { goal: 1.15, failure: 1.4 },
};

/** A sentence for each goal that the rows can tell of. */
export function checkGoals(rows: readonly Row[]): readonly string[] {
  const verdicts: string[] = [];
  for (const goal of goals) {
    const [own, haproxy] = [cell(rows, goal, "dualmesh", "cpuMicros"), cell(rows, goal, "haproxy", "cpuMicros")];
    if (own === null || haproxy === null) continue;
    const limit = (goal.cpuMicros * haproxy) / goal.haproxyMicros;
    verdicts.push(verdict(`${goal.work} ${goal.load}: CPU ${own} us of at most ${limit.toFixed(2)}`, own <= limit));
  }
  for (const work of ["bolt", "dubbo", "http"] as const) {
    const at = { work, load: "1x1" };
    const [direct, own, haproxy] = (["direct", "dualmesh", "haproxy"] as const).map((proxy) =>
      cell(rows, at, proxy, "p50Micros"),
    );
    if (direct == null || own == null || haproxy == null || haproxy <= direct) continue;
    const ratio = (own - direct) / (haproxy - direct);
    const { goal, failure } = addedLatencyRatios[work];
    const missed = ratio > goal && ratio <= failure ? `, and a failure only above ${failure}` : "";
    const text = `${work} 1x1: adds ${ratio.toFixed(2)} times haproxy's latency of at most ${goal}${missed}`;
    verdicts.push(verdict(text, ratio <= goal));
  }
  return verdicts;
}

function cell(
  rows: readonly Row[],
  at: Pick<Goal, "work" | "load">,
  proxy: Row["proxy"],
  field: "cpuMicros" | "p50Micros",
): number | null {
  return rows.find((row) => row.work === at.work && row.load === at.load && row.proxy === proxy)?.[field] ?? null;
}

function verdict(text: string, reached: boolean): string {
  return `${reached ? "reached" : "MISSED "}  ${text}`;
}
