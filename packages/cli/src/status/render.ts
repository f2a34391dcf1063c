/**
 * A part's report as text for people. It knows no part: single values become lines, lists of like objects become tables, so that what a part
 * adds to its status is seen at once. What is empty is left out, times are ages, and no cell holds JSON. Foreign text (names of services
 * and applications) cannot move the cursor of the terminal.
 */

const maxRows = 200;
const maxCellWidth = 60;
/** An object with more keys than this is no text for a cell. */
const maxInlineKeys = 2;

/** Keys whose own words say nothing to who has not read the code; the words are those of docs/glossary.md. */
const glossary: ReadonlyMap<string, string> = new Map([
  ["state", "state directory"],
  ["admin", "admin port"],
  ["feeds", "subscriptions"],
  ["face", ""],
  ["apps", "applications"],
  ["wanted", "consumed services"],
  ["provided", "provided services"],
  ["ports", "published ports"],
  ["held", "held back"],
  ["appPort", "application's port"],
  ["shown", "shown to consumers"],
  ["ownAddresses", "services with an address of their own"],
  ["dialect", "door"],
  ["pending", "not acknowledged"],
  ["settled", "restart window over"],
  ["crossings", "crossings of applications at their own registry"],
  ["provides", "is called"],
  ["consumes", "calls"],
]);
/** Of these a person asks the JSON. */
const leftOut: ReadonlySet<string> = new Set(["digest", "path"]);

/** `wall` is the present time in milliseconds. */
export function renderReport(report: unknown, wall: number): string {
  if (!isMapping(report)) return `${cellText("", report, wall)}\n`;
  const { part, version, pid, uptime, state, admin, warnings, status } = report;
  const title = `${cellText("", part, wall)} ${cellText("", version, wall)}`;
  const facts = { pid, uptime: typeof uptime === "number" ? durationText(uptime) : uptime, state, admin };
  const warned = Array.isArray(warnings) ? warnings.map((warning) => `! ${printable(String(warning))}`) : [];
  const ofPart = isMapping(status) ? blocks(status, [], wall) : factLines([["status", status]], wall);
  const lines = [...warned, ...factLines(namedFacts(facts, []), wall), ...(ofPart[0] === "" ? [] : [""]), ...ofPart];
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

/** `12 s ago`. A clock that was set back makes no age below zero. */
function ageText(wall: number, then: number): string {
  const seconds = Math.max(0, Math.floor((wall - then) / 1_000));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)} h ago` : `${Math.floor(seconds / 86_400)} days ago`;
}

type Mapping = Readonly<Record<string, unknown>>;
type Fact = readonly [name: string, value: unknown, key?: string];

/** Single values first, then what has lines of its own. `path` are the words of what is around. */
function blocks(mapping: Mapping, path: readonly string[], wall: number): string[] {
  const lines = factLines(namedFacts(mapping, path), wall);
  for (const [key, value] of Object.entries(mapping)) {
    const name = [...path, wordsOf(key, path)].filter((word) => word !== "");
    if (key === "counts" && isMapping(value)) lines.push(...countLines(value, name));
    else if (isTable(value)) lines.push(...table(value, name, wall));
    else if (isMapping(value)) lines.push(...blocks(value, name, wall));
  }
  return lines;
}

function namedFacts(mapping: Mapping, path: readonly string[]): Fact[] {
  return Object.entries(mapping)
    .filter(([, value]) => !isMapping(value) && !isTable(value))
    .map(([key, value]) => [[...path, wordsOf(key, path)].join(" "), value, key]);
}

function factLines(facts: readonly Fact[], wall: number): string[] {
  const rows = facts
    .map(([name, value, key = ""]) => [name, cellText(key, value, wall)] as const)
    .filter(([, text]) => text !== "");
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`);
}

/** Counters that have counted something, in one line. */
function countLines(counts: Mapping, name: readonly string[]): string[] {
  const counted = Object.entries(counts).filter(([, count]) => count !== 0);
  const text = counted.map(([key, count]) => `${wordsOf(key, name)} ${String(count)}`).join(", ");
  return counted.length === 0 ? [] : ["", `${name.join(" ")}: ${printable(text)}`];
}

/** A table, and below it those of the lists that its rows hold. */
function table(rows: readonly Mapping[], name: readonly string[], wall: number): string[] {
  const shown = rows.slice(0, maxRows);
  const keys = [...new Set(shown.flatMap((row) => Object.keys(row)))].filter((key) => !leftOut.has(key));
  const columns = keys
    .filter((key) => !shown.some((row) => isTable(row[key])))
    .map((key) => [wordsOf(key, name).toUpperCase(), ...shown.map((row) => cellText(key, row[key], wall))])
    .filter(([, ...cells]) => cells.some((cell) => cell !== ""));
  const widths = columns.map((column) => Math.max(...column.map((cell) => cell.length)));
  const lines = ["", `${name.join(" ")} (${rows.length})`];
  for (let line = 0; line <= shown.length; line += 1)
    lines.push(`  ${columns.map((cells, at) => (cells[line] ?? "").padEnd(widths[at] ?? 0)).join("  ")}`.trimEnd());
  if (rows.length > maxRows) lines.push(`  … and ${rows.length - maxRows} more; --json shows all`);
  for (const row of shown) {
    const label = cellText("", labelOf(row), wall);
    for (const [key, value] of Object.entries(row))
      if (isTable(value)) lines.push(...table(value, [label, wordsOf(key, name)], wall));
  }
  return lines;
}

/** What tells a row from the others in the title of a table of its own. */
function labelOf(row: Mapping): unknown {
  const { host, port } = row;
  if (typeof host === "string" && typeof port === "number") return `${host}:${port}`;
  return Object.values(row).find((value) => typeof value === "string");
}

/** Empty for what has nothing to say. */
function cellText(key: string, value: unknown, wall: number): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  // A time that has not come is 0.
  if (typeof value === "number" && /(?:^s|S)ince$/.test(key)) return value === 0 ? "" : ageText(wall, value);
  if (Array.isArray(value)) return listText(value.map((item) => cellText("", item, wall)));
  if (!isMapping(value)) return shortened(String(value));
  // What has a state has a table of its own as well.
  if (value["state"] !== undefined) return cellText("", value["state"], wall);
  const [first = "", ...rest] = Object.entries(value)
    .map(([inner, item]) => cellText(inner, item, wall))
    .filter((text) => text !== "");
  return shortened(rest.length === 0 ? first : `${first} (${rest.join(", ")})`);
}

/** As many as there is room for, and how many more there are. */
function listText(texts: readonly string[]): string {
  let text = texts[0] ?? "";
  for (let at = 1; at < texts.length; at += 1) {
    const more = ` and ${texts.length - at} more`;
    const longer = `${text}, ${texts[at]}`;
    if (longer.length + more.length > maxCellWidth) return `${text}${more}`;
    text = longer;
  }
  return text;
}

function shortened(text: string): string {
  const safe = printable(text);
  return safe.length > maxCellWidth ? `${safe.slice(0, maxCellWidth - 1)}…` : safe;
}

function printable(text: string): string {
  return text.replace(/\p{C}/gu, "?");
}

/** `streamPort` is read as `stream port`. What the glossary says of a key holds at the place that it is meant for. */
function wordsOf(key: string, path: readonly string[]): string {
  const known = (key === "state" || key === "admin") && path.length > 0 ? undefined : glossary.get(key);
  return known ?? shortened(key.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase());
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A list of objects that are too large for a cell. */
function isTable(value: unknown): value is readonly Mapping[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every(isMapping) &&
    value.some((item) => Object.keys(item).length > maxInlineKeys)
  );
}
