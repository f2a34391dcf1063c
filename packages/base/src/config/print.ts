/** A configuration as it is in force: YAML with the defaults filled in and secrets redacted. What is printed can be read back. */
import { stringify } from "yaml";
import type { z } from "zod";
import { isSecret, members, schemaAt } from "./schema.ts";

const redacted = "[redacted]";

/** The YAML of `value`, which `parseConfig` gave for the same schema. */
export function printConfig(schema: z.ZodType, value: unknown): string {
  return stringify(withoutSecrets(schema, value), { lineWidth: 0 });
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
