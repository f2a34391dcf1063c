/** Starts the process that keeps the privileges. Apart from who asks it (`remote.ts`), so that it comes up while all that asker is still being loaded. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { cleanEnvironment } from "./programs.ts";
import { refuseDebugger } from "./users.ts";

export type AgentProcess = ChildProcessByStdio<Writable, Readable, null>;

/** `command` is what starts it, as in `["sudo", "-n", process.execPath, MAIN, "move", "host"]`. It ends with its input, and so with this process. */
export function startAgent([file, ...words]: readonly [string, ...string[]]): AgentProcess {
  refuseDebugger(); // whoever runs code in here asks with the privileges of the agent
  const agent = spawn(file, words, { stdio: ["pipe", "pipe", "inherit"], env: { ...cleanEnvironment } });
  // That it could not be started is told by who asks it, who may not be there yet.
  agent.on("error", () => undefined);
  return agent;
}

/** For a child of an agent (`serve-child.ts`): names the descriptor of the socket by which it asks. */
export const agentSocketVariable = "DUALMESH_AGENT_SOCKET";
export const agentDescriptor = 3;

/** The descriptor by which the agent is asked that is the parent of this process; undefined when none is. */
export function agentSocket(): number | undefined {
  return process.env[agentSocketVariable] === String(agentDescriptor) ? agentDescriptor : undefined;
}
