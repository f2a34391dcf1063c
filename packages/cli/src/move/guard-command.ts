/**
 * `dualmesh move guard` before anything of it is loaded. Who holds the privileges is started first, and comes up meanwhile: until a guard that was killed is at work
 * again, nobody has a sidecar back.
 */
import { agentSocket, startAgent } from "@dualmesh/fleet/host/start-agent";
import type { FlagValues } from "../command.ts";
import { hostCommand } from "./own-program.ts";
import { withoutRights } from "./without-rights.ts";

export async function runGuardCommand(flags: FlagValues): Promise<number> {
  if (flags.has("supervised")) return (await import("./supervise-guard.ts")).superviseGuard();
  return withoutRights(flags, async () => {
    const agent = agentSocket() === undefined ? startAgent(hostCommand()) : undefined;
    return (await import("./guard.ts")).runMoveGuard(flags, agent);
  });
}
