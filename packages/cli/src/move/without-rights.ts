/** Commands that read what others have written are run by a process without rights, also for a user who is not root and was given some. */
import { MeshError } from "@dualmesh/base/errors";
import { agentSocket } from "@dualmesh/fleet/host/start-agent";
import { keepsRights } from "@dualmesh/fleet/host/users";
import type { FlagValues } from "../command.ts";
import { ownProgram } from "./own-program.ts";

/** Runs it here, or this same command in a child, which this process then does with its rights what it is asked for. Throws `host.not-dropped`. */
export async function withoutRights(flags: FlagValues, run: () => Promise<number>): Promise<number> {
  if (!keepsRights()) return run();
  // A child of such a child would have them as well, and so on without end.
  if (agentSocket() !== undefined) throw givenByFile();
  const { serveChild } = await import("@dualmesh/fleet/host/serve-child");
  return serveChild(ownProgram(), process.argv.slice(2), { sudo: flags.has("sudo") });
}

function givenByFile(): MeshError {
  const node = process.execPath;
  return new MeshError(
    "host.not-dropped",
    `whoever runs ${node} is given capabilities by that file (getcap ${node} shows them), which a mover by sudo must not have: take them away (setcap -r ${node}), or use another Node for dualmesh`,
  );
}
