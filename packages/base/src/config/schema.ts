/** What the configuration needs to know of a zod schema without running it: the schema at a key, the keys that exist, what is secret. */
import { z } from "zod";
import type { Path } from "./document.ts";

/** Text that is never printed: `printConfig` and error messages show `[redacted]`. */
export function secretText(): z.ZodString {
  return z.string().meta({ secret: true });
}

export interface UnknownKey {
  readonly path: Path;
  /** The keys that this place knows. */
  readonly known: readonly string[];
}

/** The schema without what is around it (default, optional, transform, …); where it is a union, its members. */
export function members(schema: z.core.$ZodType | undefined): readonly z.core.$ZodType[] {
  if (schema === undefined) return [];
  const core = schema as z.core.$ZodTypes;
  switch (core._zod.def.type) {
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "readonly":
    case "catch":
    case "nonoptional":
      return members(core._zod.def.innerType);
    case "pipe":
      return members(core._zod.def.in);
    case "lazy":
      return members(core._zod.def.getter());
    case "union":
      return core._zod.def.options.flatMap((option) => members(option));
    default:
      return [schema];
  }
}

/** The schema at `path`, from the first member of a union that knows the way. */
export function schemaAt(schema: z.core.$ZodType | undefined, path: Path): z.core.$ZodType | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return schema;
  for (const member of members(schema)) {
    const below = childOf(member, key);
    const found = below === undefined ? undefined : schemaAt(below, rest);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Whether a value of this JavaScript type can be right. */
export function accepts(schema: z.core.$ZodType | undefined, type: "string" | "object"): boolean {
  return members(schema).some((member) => {
    const { def } = (member as z.core.$ZodTypes)._zod;
    if (def.type === "enum") return type === "string";
    if (def.type === "literal") return def.values.some((value) => typeof value === type);
    if (type === "object") return def.type === "object" || def.type === "record";
    return def.type === "string" || def.type === "template_literal";
  });
}

export function isSecret(schema: z.core.$ZodType | undefined): boolean {
  return layers(schema).some((layer) => z.globalRegistry.get(layer)?.["secret"] === true);
}

/** What `.describe` said of a key, whatever was put around it. */
export function descriptionOf(schema: z.core.$ZodType | undefined): string | undefined {
  for (const layer of layers(schema)) {
    const description = z.globalRegistry.get(layer)?.description;
    if (description !== undefined) return description;
  }
  return undefined;
}

/** A schema and what is inside of it, down to the first that is no wrapping. */
function layers(schema: z.core.$ZodType | undefined): z.core.$ZodType[] {
  const found: z.core.$ZodType[] = [];
  for (let at = schema; at !== undefined; ) {
    found.push(at);
    const { def } = (at as z.core.$ZodTypes)._zod;
    at = "innerType" in def ? (def.innerType as z.core.$ZodType) : def.type === "pipe" ? def.in : undefined;
  }
  return found;
}

/** Every key of `value` that no schema knows, also where a schema would drop it without a word. */
export function unknownKeys(schema: z.core.$ZodType | undefined, value: unknown, path: Path = []): UnknownKey[] {
  if (typeof value !== "object" || value === null) return [];
  const candidates = members(schema);
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => {
      const below = candidates.map((member) => childOf(member, index)).find((child) => child !== undefined);
      return below === undefined ? [] : unknownKeys(below, item, [...path, index]);
    });
  }
  const mappings = candidates.filter((member) =>
    ["object", "record"].includes((member as z.core.$ZodTypes)._zod.def.type),
  );
  if (mappings.length === 0) return []; // a mapping where none belongs: the schema says so itself
  return Object.entries(value).flatMap(([key, item]) => {
    const below = mappings.map((member) => childOf(member, key)).find((child) => child !== undefined);
    if (below !== undefined) return unknownKeys(below, item, [...path, key]);
    return [{ path: [...path, key], known: [...new Set(mappings.flatMap(keysOf))] }];
  });
}

function childOf(member: z.core.$ZodType, key: string | number): z.core.$ZodType | undefined {
  const { def } = (member as z.core.$ZodTypes)._zod;
  if (def.type === "object") return Object.hasOwn(def.shape, key) ? def.shape[key] : anything(def.catchall);
  if (def.type === "record") return def.valueType;
  if (def.type === "array") return def.element;
  return undefined;
}

/** A strict object's catch-all is `never`: no key. */
function anything(catchall: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  return catchall === undefined || (catchall as z.core.$ZodTypes)._zod.def.type === "never" ? undefined : catchall;
}

function keysOf(member: z.core.$ZodType): string[] {
  const { def } = (member as z.core.$ZodTypes)._zod;
  return def.type === "object" ? Object.keys(def.shape) : [];
}
