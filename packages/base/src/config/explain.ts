/** A schema's complaint in words that a person can act on: what was expected, what was found. */
import type { z } from "zod";
import type { Path } from "./document.ts";
import { accepts, isSecret, members, schemaAt } from "./schema.ts";
import { closest } from "./suggest.ts";

export interface Explanation {
  readonly path: Path;
  readonly text: string;
}

const maxShownValue = 60;

/** The problems behind one issue; none for unknown keys, which are found by `unknownKeys`. */
export function explain(root: z.ZodType, value: unknown, issue: z.core.$ZodIssue, base: Path = []): Explanation[] {
  const path = [...base, ...(issue.path as Path)];
  if (issue.code === "unrecognized_keys") return [];
  const schema = schemaAt(root, path);
  const found = valueAt(value, path);
  if (issue.code === "custom") return [{ path, text: `${issue.message}${gotText(schema, found)}` }];
  if (issue.code === "invalid_union") {
    const inner = likeliest(issue.errors, schema, found);
    if (inner !== undefined) return inner.flatMap((one) => explain(root, value, one, path));
  }
  if (found === undefined) {
    const key = String(path[path.length - 1] ?? "");
    return [{ path, text: `this key is required; add "${key}: …" with ${expectedText(schema)}` }];
  }
  if (issue.code === "invalid_format" || issue.code === "not_multiple_of" || issue.code === "invalid_element") {
    return [{ path, text: `${issue.message}${gotText(schema, found)}` }];
  }
  if (issue.code === "invalid_key") return [{ path, text: `this key is not one that belongs here: ${issue.message}` }];
  const meant = typeof found === "string" ? closest(found, choices(schema)) : undefined;
  const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
  return [{ path, text: `expected ${expectedText(schema)}${gotText(schema, found)}${hint}` }];
}

/** Of a union's complaints those of the member that the value was meant for: a mapping for a mapping. */
function likeliest(
  errors: readonly (readonly z.core.$ZodIssue[])[],
  schema: z.core.$ZodType | undefined,
  found: unknown,
): readonly z.core.$ZodIssue[] | undefined {
  const deeper = errors.filter((issues) => issues.length > 0 && issues.every(({ path }) => path.length > 0));
  if (deeper.length > 0) return deeper.toSorted((a, b) => a.length - b.length)[0];
  if (typeof found === "object" && found !== null && accepts(schema, "object"))
    return errors.find((issues) => issues.some(({ code }) => code === "unrecognized_keys"));
  return undefined;
}

/** What belongs at a schema: `a whole number from 0 to 65535`. */
export function expectedText(schema: z.core.$ZodType | undefined): string {
  const texts = [...new Set(members(schema).map(memberText))];
  if (texts.length === 0) return "another value";
  return texts.length === 1 ? (texts[0] as string) : `${texts.slice(0, -1).join(", ")} or ${texts[texts.length - 1]}`;
}

function memberText(member: z.core.$ZodType): string {
  const { def } = (member as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "number":
      return numberText(member as z.ZodNumber);
    case "string": {
      const { minLength, maxLength } = member as z.ZodString;
      const size = maxLength === null ? "" : ` of at most ${maxLength} characters`;
      return minLength === null || minLength === 0 ? `text${size}` : `text that is not empty${size}`;
    }
    case "boolean":
      return "true or false";
    case "enum":
    case "literal":
      return choicesText(member);
    case "array":
      return "a list";
    case "object":
    case "record":
      return "a mapping";
    default:
      return def.type;
  }
}

function numberText({ minValue, maxValue, isInt }: z.ZodNumber): string {
  const bound = (value: number | null): value is number => value !== null && Math.abs(value) < Number.MAX_SAFE_INTEGER;
  const kind = isInt ? "a whole number" : "a number";
  if (bound(minValue) && bound(maxValue)) return `${kind} from ${minValue} to ${maxValue}`;
  if (bound(minValue)) return `${kind} of at least ${minValue}`;
  return bound(maxValue) ? `${kind} of at most ${maxValue}` : kind;
}

function choices(schema: z.core.$ZodType | undefined): string[] {
  return members(schema).flatMap((member) => {
    const { def } = (member as z.core.$ZodTypes)._zod;
    if (def.type === "enum") return Object.values(def.entries).map(String);
    return def.type === "literal" ? def.values.map(String) : [];
  });
}

function choicesText(member: z.core.$ZodType): string {
  const values = choices(member);
  return values.length === 1 ? (values[0] as string) : `one of ${values.join(", ")}`;
}

function gotText(schema: z.core.$ZodType | undefined, found: unknown): string {
  if (found === undefined) return "";
  if (isSecret(schema)) return ", got [redacted]";
  if (Array.isArray(found)) return ", got a list";
  if (typeof found === "object" && found !== null) return ", got a mapping";
  const text = JSON.stringify(found);
  return `, got ${text.length > maxShownValue ? `${text.slice(0, maxShownValue)}…` : text}`;
}

function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const part of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[part];
  }
  return at;
}
