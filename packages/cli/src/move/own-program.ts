/** What starts this program again, as it runs now, and so that no signal opens a debugger in it. */
import { withoutDebugger } from "@dualmesh/fleet/host/programs";

export function ownProgram(): readonly [string, ...string[]] {
  return withoutDebugger([process.execPath, ...process.execArgv, process.argv[1] ?? ""]);
}

/** Who holds the privileges. */
export function hostCommand(): readonly [string, ...string[]] {
  const [node, ...words] = ownProgram();
  return [node, ...words, "move", "host"];
}
