/**
 * A configuration as it is in force: YAML with the defaults filled in, what each key means, and secrets redacted. What is printed can be
 * read back.
 */
import { Document, isMap, isScalar } from "yaml";
import type { z } from "zod";
import { descriptionOf, isSecret, members, schemaAt } from "./schema.ts";

const redacted = "[redacted]";

/** The YAML of `value`, which `parseConfig` gave for the same schema. */
export function printConfig(schema: z.ZodType, value: unknown): string {
  const document = new Document(withoutSecrets(schema, value));
  describe(document.contents, schema);
  return document.toString({ lineWidth: 0 });
}

/** Puts the description of each key above it. */
function describe(node: unknown, schema: z.core.$ZodType | undefined): void {
  if (!isMap(node)) return;
  for (const { key, value } of node.items) {
    if (!isScalar(key)) continue;
    const below = schemaAt(schema, [String(key.value)]);
    const description = descriptionOf(below);
    if (description !== undefined) key.commentBefore = ` ${description}`;
    describe(value, below);
  }
}

/** A copy of `value` that can be shown to anybody: in `/config`, in `status`. */
export function withoutSecrets(schema: z.core.$ZodType | undefined, value: unknown): unknown {
  if (value === undefined || value === null) return value;
  if (isSecret(schema) || members(schema).some(isSecret)) return redacted;
  if (Array.isArray(value)) return value.map((item, index) => withoutSecrets(schemaAt(schema, [index]), item));
  if (typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, withoutSecrets(schemaAt(schema, [key]), item)]),
  );
}
