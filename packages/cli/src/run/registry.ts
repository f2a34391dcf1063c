/** The schema of the registry's configuration, for who reads one. */
import { type RegistryConfig, registryConfigShape } from "@dualmesh/registry/config";
import { everyPartShape } from "./every-part.ts";
import type { PartSchema } from "./part.ts";

export const registryPart: PartSchema<RegistryConfig> = {
  name: "registry",
  schema: registryConfigShape.safeExtend(everyPartShape),
};
