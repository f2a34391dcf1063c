/** `dualmesh status`: what runs, as people or programs read it. It only reads: an admin port, or the control sockets of this machine. */
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import type { Command, FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { renderReport } from "./render.ts";
import { runningDirectories } from "./running.ts";

const timeoutMs = 5_000;
const maxAnswerSize = 16 * 1024 * 1024;

export const statusCommand: Command = {
  name: "status",
  summary: "Shows what runs: this machine's parts, or the one at an address.",
  flags: [
    { name: "sidecar", value: "ADDRESS", summary: "the admin address of a sidecar, HOST:PORT" },
    { name: "registry", value: "ADDRESS", summary: "the admin address of a registry, HOST:PORT" },
    { name: "state", value: "DIR", summary: "the state directory of a part on this machine" },
    { name: "json", summary: "JSON: a list of reports" },
  ],
  example: "dualmesh status --registry 10.0.0.5:7711",
  run,
};

async function run(flags: FlagValues): Promise<number> {
  const reports = await gather(flags);
  if (flags.has("json")) process.stdout.write(`${JSON.stringify(reports, null, 2)}\n`);
  else {
    const wall = systemClock.wall();
    process.stdout.write(reports.map((report) => renderReport(report, wall)).join("\n"));
  }
  return exitCodes.ok;
}

async function gather(flags: FlagValues): Promise<unknown[]> {
  const asked: Promise<unknown>[] = [];
  for (const part of ["sidecar", "registry"]) {
    const address = flags.get(part);
    if (typeof address === "string") asked.push(askAdmin(address, part));
  }
  const state = flags.get("state");
  if (typeof state === "string") asked.push(callControl(controlPath(state), "status", {}, { timeoutMs }));
  return asked.length > 0 ? Promise.all(asked) : whatRunsHere();
}

/** Every part that runs here and may be asked; one that has just ended is left out, not an error. */
async function whatRunsHere(): Promise<unknown[]> {
  const directories = await runningDirectories();
  const answers = await Promise.all(
    directories.map(async (directory) => {
      try {
        return [await callControl(controlPath(directory), "status", {}, { timeoutMs })];
      } catch (error) {
        if (!isMeshError(error)) throw error;
        // One that stands still must not hide the others.
        if (error.code !== "control.unreachable") process.stderr.write(`dualmesh status: ${error.message}\n`);
        return [];
      }
    }),
  );
  const reports = answers.flat();
  if (reports.length > 0) return reports;
  throw new MeshError(
    "control.unreachable",
    "nothing runs here, or it runs as another user; name an admin address with --sidecar or --registry, or a state directory with --state",
  );
}

async function askAdmin(address: string, part: string): Promise<unknown> {
  if (!/^(\[[0-9a-fA-F:.]+\]|[^:/\s@]+):\d{1,5}$/.test(address)) {
    throw new MeshError("usage.wrong", `--${part} expects an admin address as HOST:PORT, got "${address}"`);
  }
  let answer: unknown;
  try {
    const response = await fetch(`http://${address}/status`, {
      signal: AbortSignal.timeout(timeoutMs),
      redirect: "error",
    });
    const text = await boundedText(response);
    if (!response.ok) throw new Error(`${response.status} ${text.slice(0, 200).trim()}`);
    answer = JSON.parse(text);
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw new MeshError("control.unreachable", `no status from http://${address}/status: ${messageOf(cause)}`, {
      address,
    });
  }
  const found = (answer as { part?: unknown } | null)?.part;
  if (found !== part)
    throw new MeshError("control.unreachable", `at ${address} is no ${part} but ${String(found ?? "something else")}`);
  return answer;
}

async function boundedText(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body ?? []) {
    size += piece.length;
    if (size > maxAnswerSize) throw new Error("the answer is larger than 16 MiB");
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}
