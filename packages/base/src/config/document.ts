/**
 * YAML text to plain values, within limits, and the way back from a key to its line. A hostile file costs no more than its size: the
 * library builds a regular expression as long as an indentation and recurses with nesting, so both are bounded before it sees them.
 */
import { isMap, isSeq, LineCounter, type Node, parseDocument, visit } from "yaml";

export type Path = readonly (string | number)[];

export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface ConfigDocument {
  /** A mapping, empty for an empty file. */
  readonly value: unknown;
  /** Where the key at `path` stands, or the nearest one above it. */
  placeOf(path: Path): Place | undefined;
}

export const maxConfigSize = 1024 * 1024;
const maxLineLength = 16 * 1024;
const maxIndentation = 200;
const maxNesting = 100;
const maxAliases = 100;

const reading = {
  version: "1.2",
  schema: "core",
  merge: false,
  prettyErrors: false,
  stringKeys: true,
  uniqueKeys: false, // the library compares each key with each; `duplicateKey` below does not
  logLevel: "error",
} as const;

/** Reads `text`; `fail` is called with the first problem and must throw. */
export function readYaml(text: string, fail: (place: Place | undefined, problem: string) => never): ConfigDocument {
  const excess = beyondLimits(text);
  if (excess !== undefined) fail(excess.place, excess.problem);
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const document = parseDocument(text, { ...reading, lineCounter: lines });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem?.code === "MULTIPLE_DOCS") {
    const advice = "a configuration is one document; remove this one, or give it a file of its own";
    fail(placeAt(problem.pos[0]), `a second YAML document begins here (---): ${advice}`);
  }
  if (problem !== undefined) fail(placeAt(problem.pos[0]), `this is not valid YAML: ${problem.message}`);
  const root = document.contents;
  if (root !== null && !isMap(root)) {
    if (isSeq(root) || (root as { value?: unknown }).value !== null)
      fail(placeAt(root.range?.[0] ?? 0), "expected a mapping (KEY: VALUE) at the top");
    return { value: {}, placeOf: () => undefined };
  }
  const duplicate = root === null ? undefined : duplicateKey(root);
  if (duplicate !== undefined) {
    const { key, offset, first } = duplicate;
    fail(
      placeAt(offset),
      `the key ${key} stands here for the second time, after line ${placeAt(first).line}; remove one`,
    );
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: maxAliases }) ?? {};
  } catch {
    fail(undefined, `expected at most ${maxAliases} uses of aliases; write the values out`); // the only way in which it fails
  }
  return { value, placeOf: (path) => placeOf(root, path, placeAt) };
}

/** One value as YAML reads it: `80` is a number, `true` a boolean. What is none of these stays text. */
export function readYamlScalar(text: string): unknown {
  if (beyondLimits(text) !== undefined) return text;
  const document = parseDocument(text, reading);
  const value = document.errors.length > 0 ? undefined : document.toJS();
  return typeof value === "number" || typeof value === "boolean" || value === null ? value : text;
}

/** `doors.zookeeper.port`, `apps[0].name`; a key that has a dot or a bracket in it is quoted. */
export function pathText(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    const key = /^[\w-]+$/.test(part) ? part : JSON.stringify(part);
    return text === "" ? key : `${text}.${key}`;
  }, "");
}

function beyondLimits(text: string): { place: Place | undefined; problem: string } | undefined {
  if (text.length > maxConfigSize || Buffer.byteLength(text) > maxConfigSize)
    return { place: undefined, problem: "the file is larger than 1 MiB; a configuration is small" };
  let nesting = 0;
  let line = 1;
  for (const content of text.split("\n")) {
    const place = { line, column: 1 };
    if (content.length > maxLineLength)
      return { place, problem: `the line is longer than ${maxLineLength} characters` };
    const lead = /^[\s\-?:]*/.exec(content)?.[0].length ?? 0;
    if (lead > maxIndentation && lead < content.length)
      return { place, problem: `indented by more than ${maxIndentation} columns` };
    if (lead > maxIndentation && /[-?:]/.test(content))
      return { place, problem: `indented by more than ${maxIndentation} columns` };
    for (const character of content) {
      if (character === "[" || character === "{") nesting++;
      else if ((character === "]" || character === "}") && nesting > 0) nesting--;
      if (nesting > maxNesting) return { place, problem: `more than ${maxNesting} brackets are open` };
    }
    line++;
  }
  return undefined;
}

function duplicateKey(root: Node): { key: string; offset: number; first: number } | undefined {
  let found: { key: string; offset: number; first: number } | undefined;
  visit(root, {
    Map(_, map) {
      const seen = new Map<string, number>();
      for (const { key } of map.items) {
        const { value, range } = key as { value?: unknown; range?: [number, number, number] };
        const name = String(value);
        const offset = range?.[0] ?? 0;
        const first = seen.get(name);
        if (first !== undefined) {
          found = { key: name, offset, first };
          return visit.BREAK;
        }
        seen.set(name, offset);
      }
      return undefined;
    },
  });
  return found;
}

function placeOf(root: Node | null, path: Path, placeAt: (offset: number) => Place): Place | undefined {
  let node: unknown = root;
  let place: Place | undefined;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String((key as { value?: unknown }).value) === String(part));
      if (pair === undefined) return place;
      const { range } = pair.key as { range?: [number, number, number] };
      if (range !== undefined) place = placeAt(range[0]);
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      const range = (node as Node | undefined)?.range;
      if (range) place = placeAt(range[0]);
    } else return place;
  }
  return place;
}
