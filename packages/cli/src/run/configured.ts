/** From the words and the file to the configuration of a part, and then to the part. */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type PlacedConfig, parsePlacedConfig } from "@dualmesh/base/config/config";
import type { Path } from "@dualmesh/base/config/document";
import { printConfig, withoutSecrets } from "@dualmesh/base/config/print";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import type { Flag, FlagValues } from "../command.ts";
import { defaultStatePath } from "../state-path.ts";
import type { EveryPartConfig } from "./every-part.ts";
import type { PartSchema } from "./part.ts";
import type { RunOptions } from "./run-part.ts";

/** The configuration that the words and the file say, as YAML. */
export async function printedConfig<Config>(
  part: PartSchema<Config>,
  flags: readonly Flag[],
  values: FlagValues,
): Promise<string> {
  const { config } = await parsed(part, flags, values);
  return printConfig(part.schema, { ...config, state: stateOf(part, config) });
}

/** The configuration that the words and the file say; throws `config.…`. */
export async function readConfigured<Config>(
  part: PartSchema<Config>,
  flags: readonly Flag[],
  values: FlagValues,
): Promise<RunOptions<Config>> {
  const { config, file, whereOf } = await parsed(part, flags, values);
  const state = stateOf(part, config);
  const folder = typeof file === "string" ? dirname(resolve(file)) : process.cwd();
  const placed = part.placed?.(config, { folder, whereOf }) ?? config;
  return { config: placed, state, log: config.log, shown: withoutSecrets(part.schema, { ...config, state }) };
}

async function parsed<Config>(
  part: PartSchema<Config>,
  flags: readonly Flag[],
  values: FlagValues,
): Promise<PlacedConfig<Config & EveryPartConfig> & { readonly file: string | undefined }> {
  const file = values.get("config");
  const overrides = flags.flatMap(({ name, key }) =>
    key !== undefined && values.has(name) ? [{ path: key, value: values.get(name), from: `--${name}` }] : [],
  );
  return typeof file === "string"
    ? { ...parsePlacedConfig(part.schema, await readConfig(file), file, overrides), file }
    : { ...parsePlacedConfig(part.schema, "", "the command line", overrides), file: undefined };
}

function stateOf<Config>({ name }: PartSchema<Config>, { state }: EveryPartConfig): string {
  return resolve(state ?? defaultStatePath(name));
}

/** The default at a key of the part; undefined where there is none, or where the whole needs keys that have none. */
export function defaultsOf<Config>(part: PartSchema<Config>): (key: Path) => unknown {
  const { data } = part.schema.safeParse({});
  return (key) =>
    key.reduce<unknown>(
      (at, name) => (typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[name] : undefined),
      data,
    );
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
