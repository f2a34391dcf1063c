/** The schema of the sidecar's configuration, for who reads one. */
import { placeModules, type SidecarConfig, sidecarConfig } from "@dualmesh/sidecar/config";
import { everyPartShape } from "./every-part.ts";
import type { PartSchema } from "./part.ts";

export const sidecarPart: PartSchema<SidecarConfig> = {
  name: "sidecar",
  schema: sidecarConfig.safeExtend(everyPartShape),
  placed: placeModules,
};
