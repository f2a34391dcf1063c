/** Keys that every part's configuration has: where its state is, and how much it logs. */
import { logLevels } from "@dualmesh/base/log";
import { z } from "zod";

export const everyPartShape = {
  log: z.strictObject({ level: z.enum(logLevels).default("info"), pretty: z.boolean().optional() }).prefault({}),
  state: z.string().min(1).optional(),
};

const everyPart = z.strictObject(everyPartShape);

export type EveryPartConfig = z.output<typeof everyPart>;
