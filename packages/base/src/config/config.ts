/**
 * Configuration: YAML in, a value of the schema out, or one error that lists every problem with file, line, key, what was expected and
 * how to mend it. Values from the command line are laid over the file and are checked in the same way, named by their flag.
 */
import type { z } from "zod";
import { MeshError } from "../errors.ts";
import { type Path, type Place, pathText, readYaml, readYamlScalar } from "./document.ts";
import { explain } from "./explain.ts";
import { accepts, schemaAt, unknownKeys } from "./schema.ts";
import { closest } from "./suggest.ts";

export interface ConfigProblem {
  /** `file:line:column`, or the flag. */
  readonly where: string;
  /** The key, as in `doors.zookeeper.port`; empty for the whole. */
  readonly key: string;
  /** What was expected, what was found, and how to mend it. */
  readonly text: string;
}

/** A value from the command line. */
export interface Override {
  readonly path: Path;
  /** Text is read as YAML reads it where the schema wants something else than text. */
  readonly value: unknown;
  /** The flag, as in `--zookeeper-port`. */
  readonly from: string;
}

const maxShownProblems = 20;

/** The configuration in `text`, with defaults filled in; throws `config.invalid` with all that is wrong. */
export function parseConfig<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  fileName: string,
  overrides: readonly Override[] = [],
): z.output<Schema> {
  return parsePlacedConfig(schema, text, fileName, overrides).config;
}

export interface PlacedConfig<Config> {
  readonly config: Config;
  /** `file:line:column` of the key at `path`, or the flag: for what turns out to be wrong with it later. */
  readonly whereOf: (path: Path) => string;
}

/** The same, with where each key stands. */
export function parsePlacedConfig<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  fileName: string,
  overrides: readonly Override[] = [],
): PlacedConfig<z.output<Schema>> {
  const document = readYaml(text, (place, problem) => {
    throw invalid(fileName, [{ where: placeText(fileName, place), key: "", text: problem }]);
  });
  const whereOf = (path: Path): string =>
    overrides.find((override) => startsWith(path, override.path))?.from ?? placeText(fileName, document.placeOf(path));
  let value = document.value;
  for (const override of overrides) value = laidOver(value, override.path, overrideValue(schema, override));

  const problems: ConfigProblem[] = unknownKeys(schema, value).map(({ path, known }) => ({
    where: whereOf(path),
    key: pathText(path),
    text: unknownKeyText(String(path[path.length - 1]), known),
  }));
  const result = schema.safeParse(value);
  if (result.success && problems.length === 0) return { config: result.data, whereOf };
  for (const issue of result.error?.issues ?? []) {
    for (const { path, text } of explain(schema, value, issue)) {
      problems.push({ where: whereOf(path), key: pathText(path), text });
    }
  }
  throw invalid(fileName, problems);
}

function invalid(fileName: string, problems: readonly ConfigProblem[]): MeshError {
  const lines = problems
    .slice(0, maxShownProblems)
    .map(({ where, key, text }) => `  ${where}: ${key === "" ? "" : `${key}: `}${text}`);
  if (problems.length > maxShownProblems) lines.push(`  … and ${problems.length - maxShownProblems} more`);
  const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  return new MeshError("config.invalid", `the configuration has ${count}:\n${lines.join("\n")}`, {
    file: fileName,
    problems,
  });
}

function placeText(fileName: string, place: Place | undefined): string {
  return place === undefined ? fileName : `${fileName}:${place.line}:${place.column}`;
}

function unknownKeyText(key: string, known: readonly string[]): string {
  const meant = closest(key, known);
  if (meant !== undefined) return `unknown key; did you mean "${meant}"?`;
  return known.length === 0 ? "unknown key; remove it" : `unknown key; the keys here are ${known.join(", ")}`;
}

function overrideValue(schema: z.ZodType, { path, value }: Override): unknown {
  if (typeof value !== "string" || accepts(schemaAt(schema, path), "string")) return value;
  return readYamlScalar(value);
}

function startsWith(path: Path, start: Path): boolean {
  return path.length >= start.length && start.every((key, index) => path[index] === key);
}

/** A copy of `under` with `value` at `path`; what is in the way and no mapping gives way. */
function laidOver(under: unknown, path: Path, value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const mapping: Record<PropertyKey, unknown> =
    typeof under === "object" && under !== null && !Array.isArray(under) ? { ...under } : {};
  mapping[key] = laidOver(mapping[key], rest, value);
  return mapping;
}
