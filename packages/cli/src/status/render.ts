/**
 * A part's report as text. It knows no part: single values become lines, lists of like objects become tables, so that what a part adds to
 * its status is seen at once. Foreign text (names of services and applications) cannot move the cursor of the terminal.
 */

const maxRows = 200;
const maxCellWidth = 60;

export function renderReport(report: unknown): string {
  if (!isMapping(report)) return `${cellText(report)}\n`;
  const { part, version, pid, uptime, state, admin, warnings, status } = report;
  const title = `${cellText(part)} ${cellText(version)}`;
  const facts = { pid, uptime: typeof uptime === "number" ? durationText(uptime) : uptime, state, admin };
  const warned = Array.isArray(warnings) ? warnings.map((warning) => `! ${printable(String(warning))}`) : [];
  const lines = [
    ...warned,
    ...factLines(facts, ""),
    ...(isMapping(status) ? blocks(status, "") : factLines({ status }, "")),
  ];
  return `${title}\n${lines.map((line) => (line === "" ? "" : `  ${line}`)).join("\n")}\n`;
}

/** `3d 4h`, `5m 6s`. */
export function durationText(seconds: number): string {
  const units: [string, number][] = [
    ["d", 86_400],
    ["h", 3_600],
    ["m", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0s";
  let rest = seconds;
  const texts = units.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest %= size;
    return count === 0 ? "" : `${count}${unit}`;
  });
  return texts.filter((text) => text !== "").join(" ");
}

type Mapping = Readonly<Record<string, unknown>>;

function blocks(mapping: Mapping, prefix: string): string[] {
  const facts = Object.fromEntries(Object.entries(mapping).filter(([, value]) => isPlain(value)));
  const lines = factLines(facts, prefix);
  for (const [key, value] of Object.entries(mapping)) {
    if (isPlain(value)) continue;
    const name = `${prefix}${wordsOf(key)}`;
    if (Array.isArray(value)) lines.push("", `${name} (${value.length})`, ...table(value.filter(isMapping)));
    else if (isMapping(value)) lines.push(...blocks(value, `${name} `));
  }
  return lines;
}

function factLines(facts: Mapping, prefix: string): string[] {
  const rows = Object.entries(facts).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const width = Math.max(0, ...rows.map(([key]) => prefix.length + wordsOf(key).length));
  return rows.map(([key, value]) => `${`${prefix}${wordsOf(key)}`.padEnd(width)}  ${cellText(value)}`);
}

function table(rows: readonly Mapping[]): string[] {
  const shown = rows.slice(0, maxRows);
  const keys = [...new Set(shown.flatMap((row) => Object.keys(row)))].filter((key) =>
    shown.some((row) => row[key] !== undefined && row[key] !== null && row[key] !== ""),
  );
  const grid = [
    keys.map((key) => wordsOf(key).toUpperCase()),
    ...shown.map((row) => keys.map((key) => cellText(row[key]))),
  ];
  const widths = keys.map((_, column) => Math.max(...grid.map((row) => (row[column] as string).length)));
  const lines = grid.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] as number)).join("  ")}`.trimEnd(),
  );
  if (rows.length > maxRows) lines.push(`  … and ${rows.length - maxRows} more; --json shows all`);
  return shown.length === 0 ? [] : lines;
}

function cellText(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value) && value.length === 0) return "none";
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return shortened(value.join(", "));
  return shortened(typeof value === "object" ? JSON.stringify(value) : String(value));
}

function shortened(text: string): string {
  const safe = printable(text);
  return safe.length > maxCellWidth ? `${safe.slice(0, maxCellWidth - 1)}…` : safe;
}

function printable(text: string): string {
  return text.replace(/\p{C}/gu, "?");
}

/** `streamPort` is read as `stream port`. */
function wordsOf(key: string): string {
  return shortened(key.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase());
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isPlain(value: unknown): boolean {
  return Array.isArray(value) ? value.every((item) => typeof item !== "object") : !isMapping(value);
}
