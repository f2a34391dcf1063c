/**
 * What the service manager is told (sd_notify(3)) where there is one: that this process is ready, and after an upgrade that it is the main one. Its unit has
 * `Type=notify` and `NotifyAccess=all`.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { messageOf } from "@dualmesh/base/errors";
import type { Log } from "@dualmesh/base/log";
import type { Packets, SystemCalls } from "@dualmesh/sidecar/transport/native";
import { supervisedVariable } from "./signals.ts";

/** By the system calls that an upgrade has, else by the manager's own program, which comes with it. What cannot be told is logged. */
export async function tellManager(log: Log, calls?: Packets): Promise<void> {
  const path = process.env["NOTIFY_SOCKET"];
  if (path === undefined) return;
  // The parent that supervises this process is the main one, and stays it.
  const isNewMain = calls !== undefined && process.env[supervisedVariable] !== "1";
  const words = ["READY=1", ...(isNewMain ? [`MAINPID=${process.pid}`] : [])];
  try {
    if (calls !== undefined && "tell" in calls) (calls as SystemCalls).tell(path, words.join("\n"));
    else await tellByProgram(words);
  } catch (error) {
    log.error({ error: messageOf(error), words }, "the service manager could not be told");
  }
}

async function tellByProgram(words: readonly string[]): Promise<void> {
  const child = spawn("systemd-notify", words, { stdio: "ignore", timeout: 10_000 });
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  if (code !== 0) throw new Error(`systemd-notify ended with ${code ?? signal}`);
}
