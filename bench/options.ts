/** What the command line of the bench `dataplane` may say, parsed once, and what options of every bench are read with. */
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

export type Kind = "compare" | "soak" | "stuck" | "memory" | "stream";

export interface DataplaneOptions {
  readonly kind: Kind;
  /** Of one measurement. */
  readonly seconds: number;
  readonly rounds: number;
  readonly works: readonly Work[];
  /** Those asked for; undefined when it goes by the work (`loadsOf`). */
  readonly loads: readonly Load[] | undefined;
  readonly proxies: readonly ProxyName[];
  readonly soakMinutes: number;
  /** Of one body. */
  readonly streamMebibytes: number;
  readonly json: boolean;
}

export const usage = `npm run bench -- dataplane [options]

  --seconds S     length of one measurement, after its warm-up (5)
  --rounds N      measurements of each proxy, in turns (3)
  --work W,…      bolt, dubbo, http (all three; --memory: bolt,dubbo; --soak and --stuck: bolt)
  --load L,…      connections x in flight (4x16,64x4,1x1, and http 64x1,1x1; --soak and --memory: 64x4, 64x1; --stuck: 4x16, 64x1)
  --proxy P,…     direct, dualmesh, dualmesh-rules, haproxy, envoy, nginx (all; --soak and --stuck: dualmesh; --stream: direct,dualmesh,haproxy)
  --memory        instead: memory 30 s after the start, and after 60 s of load
  --soak MINUTES  instead: load for so long; fails when memory grows by 1 MB or more per 10 million requests
  --stuck         instead: p99 beside a client that never reads and one that sends a byte a second, over p99 without them
  --stream        instead: a body of 1 GiB up and down, by one proxy and by two in a row, in MB/s, with the memory that it takes
  --mebibytes N   of such a body (1024)
  --json          one JSON object a line on standard output (everything else is on standard error)
  --help

Exit codes: 0 measured, 1 the soak failed, a body was not streamed in constant memory or calls failed, 2 the command line or the machine does not allow it.
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
  if (values.stream === true) kinds.push("stream");
  if (kinds.length > 1) throw usageError("--soak, --stuck, --memory and --stream exclude each other");
  const kind = kinds[0] ?? "compare";
  const defaults = defaultsOf[kind];
  return {
    kind,
    seconds: positive("--seconds", values.seconds ?? "5"),
    rounds: Math.ceil(positive("--rounds", values.rounds ?? "3")),
    works: list("--work", values.work ?? defaults.work, works),
    loads: values.load?.split(",").map(parseLoad),
    proxies: list("--proxy", values.proxy ?? defaults.proxy, proxies),
    streamMebibytes: Math.ceil(positive("--mebibytes", values.mebibytes ?? "1024")),
    soakMinutes: positive("--soak", values.soak ?? "1"),
    json: values.json === true,
  };
}

/** The loads asked for, else those that are usual for this work. HTTP/1.1 has one request in flight on a connection. */
export function loadsOf({ kind, loads }: Pick<DataplaneOptions, "kind" | "loads">, work: Work): readonly Load[] {
  const { load, httpLoad } = defaultsOf[kind];
  return loads ?? (work === "http" ? httpLoad : load).split(",").map(parseLoad);
}

interface Defaults {
  readonly work: string;
  readonly load: string;
  readonly httpLoad: string;
  readonly proxy: string;
}

const defaultsOf: Readonly<Record<Kind, Defaults>> = {
  compare: {
    work: "bolt,dubbo,http",
    load: "4x16,64x4,1x1",
    httpLoad: "64x1,1x1",
    proxy: "direct,dualmesh,dualmesh-rules,haproxy,envoy,nginx",
  },
  memory: { work: "bolt,dubbo", load: "64x4", httpLoad: "64x1", proxy: "dualmesh,haproxy,envoy" },
  soak: { work: "bolt", load: "64x4", httpLoad: "64x1", proxy: "dualmesh" },
  stuck: { work: "bolt", load: "4x16", httpLoad: "64x1", proxy: "dualmesh" },
  stream: { work: "http", load: "1x1", httpLoad: "1x1", proxy: "direct,dualmesh,haproxy" },
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
        stream: { type: "boolean" },
        mebibytes: { type: "string" },
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

/** Throws `bench.usage`. */
export function list<Name extends string>(option: string, text: string, known: readonly Name[]): readonly Name[] {
  return text.split(",").map((part) => {
    const found = known.find((name) => name === part);
    if (found === undefined) throw usageError(`${option}: "${part}" is none of ${known.join(", ")}`);
    return found;
  });
}

/** Throws `bench.usage`. */
export function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0) || value > 100_000) throw usageError(`${option}: expected a number above 0, not "${text}"`);
  return value;
}

export function usageError(message: string): MeshError {
  return new MeshError("bench.usage", message);
}
