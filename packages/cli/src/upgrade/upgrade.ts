/** Asks a running sidecar to be replaced by the program that runs here, waits for the end of it, and says what became of its connections. */
import { resolve } from "node:path";
import { isMeshError, MeshError, messageOf } from "@dualmesh/base/errors";
import { callControl, controlPath } from "@dualmesh/base/state/control-socket";
import { listeningDirectories } from "@dualmesh/base/state/listening";
import { withoutDebugger } from "@dualmesh/fleet/host/programs";
import type { UpgradeEnd } from "@dualmesh/sidecar/upgrade/old-side";
import type { FlagValues } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import type { PartReport } from "../run/run-part.ts";

/** Longer than all that an upgrade may wait for, the deadline of connections that cannot go among it. */
const limitMs = 300_000;
const askMs = 5_000;

interface Step {
  readonly step: string;
  readonly ms: number;
}

export async function runUpgrade(flags: FlagValues): Promise<number> {
  const given = flags.get("state");
  const state = typeof given === "string" ? resolve(given) : await theOnlySidecar();
  const path = controlPath(state);
  const program = withoutDebugger([process.execPath, ...process.execArgv, resolve(process.argv[1] ?? "")]);
  const before = (await callControl(path, "status", {}, { timeoutMs: askMs })) as PartReport;
  const words = { program, drain: flags.has("drain") };
  const end = (await callControl(path, "upgrade", words, { timeoutMs: limitMs }).catch((error: unknown) =>
    failed(error, before, path),
  )) as UpgradeEnd & { readonly steps: readonly Step[] };
  const after = await serving(path);
  if (after === undefined)
    throw new MeshError("upgrade.late", `process ${end.pid} has taken over, and does not answer`);
  if (flags.has("json")) process.stdout.write(`${JSON.stringify({ from: before.pid, ...end })}\n`);
  else process.stdout.write(textOf(before, after, end));
  return exitCodes.ok;
}

/** Rejects with what went wrong, and with who serves now. */
async function failed(error: unknown, before: PartReport, path: string): Promise<never> {
  const now = await serving(path);
  const who =
    now === undefined
      ? "nobody answers at its control socket"
      : now.pid === before.pid
        ? `the former process, ${now.pid}, serves`
        : `the new process, ${now.pid}, serves`;
  const code = isMeshError(error) ? error.code : "upgrade.failed";
  throw new MeshError(code, `${messageOf(error)}; ${who}`, {}, { cause: error });
}

async function serving(path: string): Promise<PartReport | undefined> {
  try {
    return (await callControl(path, "status", {}, { timeoutMs: askMs })) as PartReport;
  } catch (error) {
    if (isMeshError(error)) return undefined;
    throw error;
  }
}

async function theOnlySidecar(): Promise<string> {
  const found = await Promise.all(
    (await listeningDirectories()).map(async (state) => ((await isSidecar(state)) ? [state] : [])),
  );
  const [state, ...others] = found.flat();
  if (state === undefined)
    throw new MeshError("upgrade.none", "no sidecar of this user runs here: name its state directory with --state");
  if (others.length > 0)
    throw new MeshError(
      "upgrade.several",
      `several sidecars run here: name one with --state, of ${found.flat().join(", ")}`,
    );
  return state;
}

async function isSidecar(state: string): Promise<boolean> {
  try {
    const { part } = (await callControl(controlPath(state), "status", {}, { timeoutMs: askMs })) as PartReport;
    return part === "sidecar";
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return false; // it has just ended, or says nothing
  }
}

function textOf(
  before: PartReport,
  after: PartReport,
  { moved, stayed, cut, ms, stillMs, steps }: UpgradeEnd & { readonly steps: readonly Step[] },
): string {
  const lines = [
    `the sidecar at ${before.state} is process ${after.pid} (${after.version}) now, and was ${before.pid} (${before.version})`,
    `${moved} connections moved, which stood still for ${stillMs} ms; ${(ms / 1_000).toFixed(1)} s in all`,
    ...countsOf("waited for, and moved or ended in order", stayed),
    ...countsOf("cut at the deadline", cut),
    ...steps.map(({ step, ms: at }) => `  ${(at / 1_000).toFixed(2).padStart(7)} s  ${step}`),
  ];
  return `${lines.join("\n")}\n`;
}

function countsOf(what: string, counts: Partial<Readonly<Record<string, number>>>): readonly string[] {
  const all = Object.entries(counts).map(([reason, count]) => `${count} (${reason})`);
  return all.length === 0 ? [] : [`${what}: ${all.join(", ")}`];
}
