/** What the example services say on standard output, one JSON object a line (`examples/services/README.md`). Parsed here, trusted inside. */

export interface Call {
  /** When it was started, in milliseconds since the epoch. */
  readonly at: number;
  readonly ms: number;
  /** The address that the client library dialled, as `host:port`; empty if it found none. */
  readonly dialled: string;
  /** The instance that answered; empty if none did. */
  readonly by: string;
  /** Why it failed; empty if it did not. */
  readonly error: string;
}

export type Report =
  | { readonly event: "ready" }
  | { readonly event: "calls"; readonly calls: readonly Call[] }
  | { readonly event: "ended"; readonly started: number };

/** The report in a line; undefined when the line is none, as when a library prints something of its own. */
export function readReport(line: string): Report | undefined {
  const value = parse(line);
  if (!isRecord(value)) return undefined;
  switch (value["event"]) {
    case "ready":
      return { event: "ready" };
    case "ended":
      return typeof value["started"] === "number" ? { event: "ended", started: value["started"] } : undefined;
    case "calls": {
      const calls = value["calls"];
      return Array.isArray(calls) && calls.every(isCall)
        ? { event: "calls", calls: calls.map((call) => ({ ...call, dialled: dotted(call.dialled) })) }
        : undefined;
    }
    default:
      return undefined;
  }
}

/** `2130706433:20882` as `127.0.0.1:20882`: Dubbo is given loopback in its decimal form, since it refuses the usual one. */
export function dotted(address: string): string {
  const [host = "", port = ""] = address.split(":");
  if (!/^\d{1,10}$/.test(host)) return address;
  const number = Number(host);
  if (number > 0xffff_ffff) return address;
  return `${[24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff).join(".")}:${port}`;
}

function parse(line: string): unknown {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // not a report: a library may print what it likes
  }
}

function isCall(value: unknown): value is Call {
  return (
    isRecord(value) &&
    typeof value["at"] === "number" &&
    typeof value["ms"] === "number" &&
    typeof value["dialled"] === "string" &&
    typeof value["by"] === "string" &&
    typeof value["error"] === "string"
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
