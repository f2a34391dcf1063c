/** `dualmesh status`: what runs, as people or programs read it. It only reads: an admin port, or the control sockets of this machine. */
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { systemClock } from "@dualmesh/base/clock";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import { listeningDirectories } from "@dualmesh/base/state/listening";
import type { Command, FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { renderReport } from "./render.ts";

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
  const directories = await listeningDirectories();
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
  const [, bracketed, plain, portText = ""] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/\s@]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  const port = Number(portText);
  if (host === undefined || port < 1 || port > 65_535) {
    const expected = "an admin address as HOST:PORT, the port from 1 to 65535";
    throw new MeshError("usage.wrong", `--${part} expects ${expected}, got "${address}"`);
  }
  let answer: unknown;
  try {
    answer = JSON.parse(await page(host, port));
  } catch (error) {
    const why = error instanceof SyntaxError ? "what answers there speaks no JSON" : messageOf(error);
    throw new MeshError(
      "control.unreachable",
      `no status from http://${address}/status: ${why}; is it the admin port of a ${part} that runs?`,
      { address },
      { cause: error },
    );
  }
  const found = (answer as { part?: unknown } | null)?.part;
  if (found !== part)
    throw new MeshError("control.unreachable", `at ${address} is no ${part} but ${String(found ?? "something else")}`);
  return answer;
}

/** The status page. By `node:http`, since `fetch` refuses ports that browsers keep for others, and an admin port may be any. */
async function page(host: string, port: number): Promise<string> {
  const signal = AbortSignal.timeout(timeoutMs);
  const request = get({ host, port, path: "/status", agent: false, signal });
  const [response] = (await once(request, "response", { signal })) as [IncomingMessage];
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > maxAnswerSize) throw new Error("the answer is larger than 16 MiB");
    pieces.push(piece);
  }
  const text = Buffer.concat(pieces).toString("utf8");
  if (response.statusCode !== 200) throw new Error(`${response.statusCode} ${text.slice(0, 200).trim()}`);
  return text;
}
