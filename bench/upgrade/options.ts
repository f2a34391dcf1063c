/** What the command line of the bench `upgrade` may say, parsed once. */
import { parseArgs } from "node:util";
import { list, positive, usageError, type Work, works } from "../options.ts";

export interface UpgradeOptions {
  readonly connections: number;
  readonly upgrades: number;
  /** Requests a second, of all connections together. */
  readonly rate: number;
  readonly works: readonly Work[];
  /** Of the load without an upgrade, before the first. */
  readonly seconds: number;
  /** Between two upgrades. */
  readonly pauseSeconds: number;
  readonly json: boolean;
}

export const upgradeUsage = `npm run bench -- upgrade [options]

  --connections N  kept by the callers through the sidecar, spread evenly over the works (1000)
  --upgrades M     of the sidecar, one after the other (10)
  --rate R         requests a second of all connections together, whatever becomes of the answers (4000)
  --work W,…       bolt, dubbo, http (all three)
  --seconds S      the same load without an upgrade, before the first (10)
  --pause S        between two upgrades (2)
  --json           one JSON object on standard output (everything else is on standard error)
  --help

Exit codes: 0 measured, 1 a call failed or a connection was closed, 2 the command line or the machine does not allow it, or a sidecar was not upgraded.
`;

const connectionsMax = 100_000;
const upgradesMax = 10_000;

/** Throws `bench.usage`. Undefined when help was asked for. */
export function parseUpgradeOptions(args: readonly string[]): UpgradeOptions | undefined {
  const { values } = parse(args);
  if (values.help === true) return undefined;
  const chosen = list("--work", values.work ?? works.join(","), works);
  if (new Set(chosen).size < chosen.length) throw usageError(`--work: a work stands twice in "${values.work}"`);
  const connections = count("--connections", values.connections ?? "1000", connectionsMax);
  if (connections < chosen.length)
    throw usageError(`--connections: ${chosen.length} works need at least one each, and ${connections} is too few`);
  return {
    connections,
    upgrades: count("--upgrades", values.upgrades ?? "10", upgradesMax),
    rate: positive("--rate", values.rate ?? "4000"),
    works: chosen,
    seconds: positive("--seconds", values.seconds ?? "10"),
    pauseSeconds: positive("--pause", values.pause ?? "2"),
    json: values.json === true,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        connections: { type: "string" },
        upgrades: { type: "string" },
        rate: { type: "string" },
        work: { type: "string" },
        seconds: { type: "string" },
        pause: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean" },
      },
    });
  } catch (error) {
    throw usageError(error instanceof Error ? error.message : String(error));
  }
}

function count(option: string, text: string, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw usageError(`${option}: expected a whole number from 1 to ${most}, not "${text}"`);
  return value;
}
