/** The sidecar with the schema of its configuration, for who reads one. */
import { sidecarConfig } from "@dualmesh/sidecar/config";
import type { Part } from "./part.ts";
import { sidecarRunner } from "./sidecar-runner.ts";

export const sidecarPart: Part<typeof sidecarConfig> = { ...sidecarRunner, schema: sidecarConfig };
