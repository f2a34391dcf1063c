/** The sidecar as the command line runs it. */
import type { z } from "zod";
import type { Part, PartContext, RunningPart } from "./part.ts";

interface SidecarModules {
  readonly sidecarConfig: z.ZodObject;
  readonly startSidecar: (context: PartContext<unknown>) => Promise<RunningPart>;
}

const modules = ["config", "sidecar"].map((name) => import(`@dualmesh/sidecar/${name}`));
const { sidecarConfig, startSidecar } = Object.assign({}, ...(await Promise.all(modules))) as SidecarModules;

export const sidecarPart: Part = {
  name: "sidecar",
  schema: sidecarConfig,
  start: async (context) => ({ running: await startSidecar(context) }),
};
