/**
 * The picture of the demo as lines of text, never wider than the terminal: what is being done, who calls whom by which way, and how well
 * it goes. Pure, so that it can be tested; `screen.ts` puts it on the terminal.
 */
import type { Row, Totals, Way } from "./ledger.ts";

export interface Picture {
  readonly elapsedMs: number;
  readonly title: string;
  /** The steps of the story in order; those before `current` are done. */
  readonly steps: readonly string[];
  readonly current: number;
  readonly rows: readonly Row[];
  /** What a caller speaks, by its name. */
  readonly protocolOf: (caller: string) => string;
  /** What the called one is written in, by its name. */
  readonly languageOf: (called: string) => string;
  readonly totals: Totals;
  /** What happened last, newest at the end. */
  readonly notes: readonly string[];
  readonly help: string;
}

export interface Look {
  readonly columns: number;
  readonly color: boolean;
}

const styles = { plain: "", bold: "1", dim: "2", red: "31", green: "32", yellow: "33", cyan: "36" } as const;
type Style = keyof typeof styles;

interface Span {
  readonly text: string;
  readonly style: Style;
}

export function renderPicture(picture: Picture, look: Look): string[] {
  const clock = time(picture.elapsedMs);
  const title = `dualmesh demo: ${picture.title}`;
  const gap = " ".repeat(Math.max(1, Math.min(look.columns, 80) - title.length - clock.length));
  const failed = picture.totals.failed;
  const lines: Span[][] = [
    [span(title, "bold"), span(gap), span(clock, "dim")],
    stepLine(picture.steps, picture.current),
    [],
    [span(head, "dim")],
    ...picture.rows.map((row) => rowLine(row, picture)),
    [],
    [span(`${number(picture.totals.calls)} calls, `), span(`${number(failed)} failed`, failed === 0 ? "green" : "red")],
    [],
    ...picture.notes.map((note) => [span(`  ${note}`)]),
    ...(picture.notes.length === 0 ? [] : [[]]),
    [span("SDK: the app's own library talks to the other side. mesh: its sidecar does.", "dim")],
    [span(picture.help, "dim")],
  ];
  return lines.map((line) => paint(line, look));
}

/** 79 in all: in the last column of a terminal of 80 some forget a character when the line's end is cleared. */
const columns = {
  caller: 7,
  protocol: 7,
  way: 19,
  called: 9,
  language: 8,
  rate: 8,
  failed: 7,
  p50: 7,
  p99: 7,
} as const;

const head =
  "CALLER".padEnd(columns.caller) +
  "SPEAKS".padEnd(columns.protocol) +
  "WAY".padEnd(columns.way) +
  "CALLED".padEnd(columns.called) +
  "LANGUAGE".padEnd(columns.language) +
  "CALLS/S".padStart(columns.rate) +
  "FAILED".padStart(columns.failed) +
  "P50 MS".padStart(columns.p50) +
  "P99 MS".padStart(columns.p99);

function rowLine(row: Row, { protocolOf, languageOf }: Pick<Picture, "protocolOf" | "languageOf">): Span[] {
  return [
    span(row.caller.padEnd(columns.caller)),
    span(protocolOf(row.caller).padEnd(columns.protocol)),
    ...way(row.callerWay, row.calledWay),
    span(row.called.padEnd(columns.called)),
    span(languageOf(row.called).padEnd(columns.language)),
    span(row.callsPerSecond.toFixed(0).padStart(columns.rate), row.callsPerSecond === 0 ? "dim" : "plain"),
    span(number(row.failed).padStart(columns.failed), row.failed === 0 ? "green" : "red"),
    span(milliseconds(row.p50Ms).padStart(columns.p50)),
    span(milliseconds(row.p99Ms).padStart(columns.p99)),
  ];
}

/** `SDK ------> mesh`: how the caller sends, and how the called one receives. */
function way(from: Way, to: Way): Span[] {
  const arrow = from === "mesh" ? "======>" : "------>";
  return [
    span(from.padEnd(5), styleOf(from)),
    span(`${arrow} `, "dim"),
    span(to.padEnd(columns.way - 6 - arrow.length), styleOf(to)),
  ];
}

function styleOf(one: Way): Style {
  return one === "mesh" ? "cyan" : "yellow";
}

function stepLine(steps: readonly string[], current: number): Span[] {
  return steps.flatMap((name, index) => {
    const mark = index < current ? "[x]" : index === current ? "[>]" : "[ ]";
    const style = index < current ? "green" : index === current ? "bold" : "dim";
    return [span(`${mark} ${name}  `, style)];
  });
}

function paint(line: readonly Span[], look: Look): string {
  let left = look.columns;
  let text = "";
  for (const one of line) {
    const cut = one.text.slice(0, left);
    left -= cut.length;
    const style = styles[one.style];
    text += look.color && style !== "" && cut !== "" ? `\x1b[${style}m${cut}\x1b[0m` : cut;
  }
  return look.color ? text : text.trimEnd();
}

function span(text: string, style: Style = "plain"): Span {
  return { text, style };
}

function milliseconds(value: number | undefined): string {
  return value === undefined ? "-" : value.toFixed(1);
}

function number(value: number): string {
  return value.toLocaleString("en-US");
}

function time(elapsedMs: number): string {
  const seconds = Math.floor(elapsedMs / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
