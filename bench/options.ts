/** What the command line of a bench may say, parsed once. */
import { parseArgs } from "node:util";
import { MeshError } from "@dualmesh/base/errors";

export const works = ["bolt", "dubbo", "http"] as const;
export type Work = (typeof works)[number];

export const proxies = ["direct", "dualmesh", "dualmesh-rules", "haproxy", "envoy", "nginx"] as const;
export type ProxyName = (typeof proxies)[number];

/** Connections, and requests in flight on each. */
export interface Load {
  readonly connections: number;
  readonly inFlight: number;
}

export type Kind = "compare" | "soak" | "stuck" | "memory";

export interface DataplaneOptions {
  readonly kind: Kind;
  /** Of one measurement. */
  readonly seconds: number;
  readonly rounds: number;
  readonly works: readonly Work[];
  readonly loads: readonly Load[];
  readonly proxies: readonly ProxyName[];
  readonly soakMinutes: number;
  readonly json: boolean;
}

export const usage = `npm run bench -- dataplane [options]

  --seconds S     length of one measurement, after its warm-up (5)
  --rounds N      measurements of each proxy, in turns (3)
  --work W,…      bolt, dubbo; later http (bolt,dubbo; one of them for --soak and --stuck: bolt)
  --load L,…      connections x in flight (4x16,64x4,1x1; --soak and --memory: 64x4; --stuck: 4x16)
  --proxy P,…     direct, dualmesh, dualmesh-rules, haproxy, envoy, nginx (all but nginx; --soak and --stuck: dualmesh)
  --memory        instead: memory 30 s after the start, and after 60 s of load
  --soak MINUTES  instead: load for so long; fails when memory grows by 1 MB or more per 10 million requests
  --stuck         instead: p99 beside a client that never reads and one that sends a byte a second, over p99 without them
  --json          one JSON object a line on standard output (everything else is on standard error)
  --help

Exit codes: 0 measured, 1 the soak failed or calls failed, 2 the command line or the machine does not allow it.
`;

export function loadText(load: Load): string {
  return `${load.connections}x${load.inFlight}`;
}

/** Throws `bench.usage`. Undefined when help was asked for. */
export function parseDataplaneOptions(args: readonly string[]): DataplaneOptions | undefined {
  const { values } = parse(args);
  if (values.help === true) return undefined;
  const kinds: Kind[] = [];
  if (values.soak !== undefined) kinds.push("soak");
  if (values.stuck === true) kinds.push("stuck");
  if (values.memory === true) kinds.push("memory");
  if (kinds.length > 1) throw usageError("--soak, --stuck and --memory exclude each other");
  const kind = kinds[0] ?? "compare";
  const defaults = defaultsOf[kind];
  return {
    kind,
    seconds: positive("--seconds", values.seconds ?? "5"),
    rounds: Math.ceil(positive("--rounds", values.rounds ?? "3")),
    works: list("--work", values.work ?? defaults.work, works),
    loads: (values.load ?? defaults.load).split(",").map(parseLoad),
    proxies: list("--proxy", values.proxy ?? defaults.proxy, proxies),
    soakMinutes: positive("--soak", values.soak ?? "1"),
    json: values.json === true,
  };
}

const defaultsOf: Readonly<Record<Kind, { readonly work: string; readonly load: string; readonly proxy: string }>> = {
  compare: { work: "bolt,dubbo", load: "4x16,64x4,1x1", proxy: "direct,dualmesh,dualmesh-rules,haproxy,envoy" },
  memory: { work: "bolt,dubbo", load: "64x4", proxy: "dualmesh,haproxy,envoy" },
  soak: { work: "bolt", load: "64x4", proxy: "dualmesh" },
  stuck: { work: "bolt", load: "4x16", proxy: "dualmesh" },
};

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        seconds: { type: "string" },
        rounds: { type: "string" },
        work: { type: "string" },
        load: { type: "string" },
        proxy: { type: "string" },
        soak: { type: "string" },
        stuck: { type: "boolean" },
        memory: { type: "boolean" },
        json: { type: "boolean" },
        help: { type: "boolean" },
      },
    });
  } catch (error) {
    throw usageError(error instanceof Error ? error.message : String(error));
  }
}

function parseLoad(text: string): Load {
  const match = /^([1-9]\d{0,3})x([1-9]\d{0,2})$/.exec(text);
  if (match === null) throw usageError(`--load: expected CONNECTIONSxIN-FLIGHT (at most 9999x999), not "${text}"`);
  return { connections: Number(match[1]), inFlight: Number(match[2]) };
}

function list<Name extends string>(option: string, text: string, known: readonly Name[]): readonly Name[] {
  return text.split(",").map((part) => {
    const found = known.find((name) => name === part);
    if (found === undefined) throw usageError(`${option}: "${part}" is none of ${known.join(", ")}`);
    return found;
  });
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0) || value > 100_000) throw usageError(`${option}: expected a number above 0, not "${text}"`);
  return value;
}

function usageError(message: string): MeshError {
  return new MeshError("bench.usage", message);
}
