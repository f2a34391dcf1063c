/** From the words and the file to the configuration of a part, and then to the part. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseConfig } from "@dualmesh/base/config/config";
import type { Path } from "@dualmesh/base/config/document";
import { printConfig, withoutSecrets } from "@dualmesh/base/config/print";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { logLevels } from "@dualmesh/base/log";
import { z } from "zod";
import type { Flag, FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { defaultStatePath } from "../state-path.ts";
import type { Part } from "./part.ts";
import type { RunOptions } from "./run-part.ts";

/** Keys that every part's configuration has. */
const commonShape = {
  state: z.string().min(1).optional(),
  log: z.strictObject({ level: z.enum(logLevels).default("info"), pretty: z.boolean().optional() }).prefault({}),
};

/** Runs the part, or prints its configuration; resolves to the exit code. */
export async function runConfigured(part: Part, flags: readonly Flag[], values: FlagValues): Promise<number> {
  const { config, state, log, shown } = await readConfigured(part, flags, values);
  if (values.has("print-config")) {
    process.stdout.write(printConfig(wholeSchema(part), { ...config, state, log }));
    return exitCodes.ok;
  }
  const { runPart } = await import("./run-part.ts");
  return runPart(part, { config, state, log, shown });
}

/** The configuration that the words and the file say; throws `config.…`. */
export async function readConfigured(part: Part, flags: readonly Flag[], values: FlagValues): Promise<RunOptions> {
  const schema = wholeSchema(part);
  const file = values.get("config");
  const overrides = flags.flatMap(({ name, key }) =>
    key !== undefined && values.has(name) ? [{ path: key, value: values.get(name), from: `--${name}` }] : [],
  );
  const whole =
    typeof file === "string"
      ? parseConfig(schema, await readConfig(file), file, overrides)
      : parseConfig(schema, "", "the command line", overrides);
  const { log, ...config } = whole;
  const state = resolve(whole.state ?? defaultStatePath(part.name));
  delete config.state;
  return { config, state, log, shown: withoutSecrets(part.schema, config) };
}

/** The default at a key of the part; undefined where there is none, or where the whole needs keys that have none. */
export function defaultsOf(part: Part): (key: Path) => unknown {
  const { data } = wholeSchema(part).safeParse({});
  return (key) =>
    key.reduce<unknown>(
      (at, name) => (typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[name] : undefined),
      data,
    );
}

function wholeSchema(part: Part): z.ZodObject<typeof commonShape> {
  return part.schema.safeExtend(commonShape) as unknown as z.ZodObject<typeof commonShape>;
}

async function readConfig(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new MeshError(
      "config.unreadable",
      `cannot read the configuration: ${messageOf(error)}`,
      { file },
      { cause: error },
    );
  }
}
