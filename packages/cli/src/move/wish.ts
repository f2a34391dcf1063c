/** What the operator says, read from the words; throws `usage.wrong`. */
import { MeshError } from "@dualmesh/base/errors";
import { readAddress } from "@dualmesh/fleet/move/addresses";
import type { Wish } from "@dualmesh/fleet/move/checks/examine";
import type { ProcessName } from "@dualmesh/fleet/process/facts";
import { defaultWatchBounds } from "@dualmesh/fleet/watch/watching";
import type { FlagValues } from "../command.ts";

type Side = "provider" | "consumer";
const maxDurationMs = 24 * 3_600_000;
const defaultWatchMs = 60_000;
const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

export function readWish(flags: FlagValues): Wish {
  const bounds = {
    ...defaultWatchBounds,
    addedErrorRatio: read(flags, "max-errors", ratio) ?? defaultWatchBounds.addedErrorRatio,
    addedMs: read(flags, "max-added-latency", milliseconds) ?? defaultWatchBounds.addedMs,
  };
  const [only, first] = [read(flags, "only", side), read(flags, "first", side)];
  if (only !== undefined && first !== undefined && only !== first)
    throw wrong(`--only ${only} moves nothing of the ${first} that --first names: leave one of the two out`);
  return {
    named: readName(flags),
    zookeeper: read(flags, "zookeeper", addresses) ?? [],
    chroot: read(flags, "chroot", nodePath),
    host: textOf(flags, "host"),
    state: textOf(flags, "state"),
    only,
    first: first ?? "provider",
    watchBeforeMs: read(flags, "before", duration) ?? defaultWatchMs,
    watchMs: read(flags, "watch", duration) ?? defaultWatchMs,
    bounds,
  };
}

/** The one of `--pid`, `--unit`, `--cgroup` and `--netns` that was given. */
export function readName(flags: FlagValues): ProcessName {
  const given = (["pid", "unit", "cgroup", "netns"] as const).flatMap((kind) => {
    const text = textOf(flags, kind);
    return text === undefined ? [] : [{ kind, text }];
  });
  const [one] = given;
  if (one === undefined || given.length > 1) {
    throw wrong("name the process by one of --pid, --unit, --cgroup and --netns");
  }
  if (one.text.trim() === "") throw wrong(`--${one.kind} says which process, and nothing stands behind it`);
  if (one.kind !== "pid") return { kind: one.kind, name: one.text };
  return { kind: "pid", pid: readPid(one.text) };
}

/** The same where every process is meant when none is named. */
export function readNameIfAny(flags: FlagValues): ProcessName | undefined {
  return ["pid", "unit", "cgroup", "netns"].some((kind) => flags.has(kind)) ? readName(flags) : undefined;
}

function readPid(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw wrong(`--pid expects the number of a process, got "${text}"`);
  return Number(text);
}

export function textOf(flags: FlagValues, name: string): string | undefined {
  const value = flags.get(name);
  return typeof value === "string" ? value : undefined;
}

/** `90s`, `2m`, `500ms`, or 0. */
export function duration(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,8}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text) ?? [];
  const ms = Number(digits) * (units[unit] ?? Number.NaN);
  if (Number(digits) === 0) return 0;
  return Number.isFinite(ms) && ms <= maxDurationMs ? Math.round(ms) : undefined;
}

const expected: Readonly<Record<string, string>> = {
  "max-errors": "a ratio as 1% or 0.01",
  "max-added-latency": "milliseconds, 1 to 60000",
  zookeeper: "HOST:PORT,…",
  chroot: "the path of a node, as in /production",
  only: "provider or consumer",
  first: "provider or consumer",
  before: "a duration as 90s, 2m or 500ms, at most 24h",
  watch: "a duration as 90s, 2m or 500ms, at most 24h",
};

function read<Value>(flags: FlagValues, name: string, parse: (text: string) => Value | undefined): Value | undefined {
  const text = textOf(flags, name);
  if (text === undefined) return undefined;
  const value = parse(text);
  if (value === undefined) throw wrong(`--${name} expects ${expected[name]}, got "${text}"`);
  return value;
}

function ratio(text: string): number | undefined {
  const [, digits = "", percent] = /^(\d{1,3}(?:\.\d{1,6})?)(%)?$/.exec(text) ?? [];
  const value = percent === undefined ? Number(digits) : Number(digits) / 100;
  return digits !== "" && value <= 1 ? value : undefined;
}

function milliseconds(text: string): number | undefined {
  const value = Number(text);
  return /^\d{1,5}$/.test(text) && value >= 1 && value <= 60_000 ? value : undefined;
}

function addresses(text: string): readonly string[] | undefined {
  const all = text.split(",");
  return all.every((one) => readAddress(one) !== undefined) ? all : undefined;
}

function nodePath(text: string): string | undefined {
  return text === "/" || /^(?:\/[^/\s]+)+$/.test(text) ? text : undefined;
}

function side(text: string): Side | undefined {
  return text === "provider" || text === "consumer" ? text : undefined;
}

function wrong(text: string): MeshError {
  return new MeshError("usage.wrong", text);
}
