/** Commands that read what others have written are run by a process without rights, also for a user who is not root and was given some. */
import { keepsRights } from "@dualmesh/fleet/host/users";
import { ownProgram } from "./own-program.ts";

/** Runs it here, or this same command in a child, which this process then does with its rights what it is asked for. */
export async function apart(run: () => Promise<number>): Promise<number> {
  if (!keepsRights()) return run();
  const { serveApart } = await import("@dualmesh/fleet/host/apart");
  return serveApart(ownProgram(), process.argv.slice(2));
}
