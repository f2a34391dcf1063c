/** What a crossing's commands are told, read once. Each fault names the field. */
import { MeshError } from "@dualmesh/base/errors";
import { isIpAddress } from "@dualmesh/base/http/host-name";
import type { CrossingNameArguments, CrossingOpenArguments, CrossingStepArguments } from "@dualmesh/model/crossing";

type Given = Readonly<Record<string, unknown>>;

export interface Server {
  readonly host: string;
  readonly port: number;
}

/** Of an ensemble; real ones have 3 to 7. */
const maxServers = 32;
const maxChroots = 16;
const maxSessions = 1_000;
const maxOverlapMs = 60_000;

export function readOpen(given: Given): CrossingOpenArguments {
  const { name } = readName(given);
  const servers = texts(given, "servers", maxServers);
  if (servers.length === 0) throw malformed("servers", "names no server");
  for (const server of servers) readServer(server);
  if (new Set(servers).size < servers.length) throw malformed("servers", "names a server twice");
  const chroots = texts(given, "chroots", maxChroots);
  for (const chroot of chroots)
    if (!/^(?:\/[^/\s]{1,255}){1,16}$/.test(chroot)) throw malformed("chroots", `has no path of a node in "${chroot}"`);
  const { host } = given;
  if (typeof host !== "string" || !isIpAddress(host) || host === "0.0.0.0" || host === "::")
    throw malformed("host", "is not the IP address by which others reach the application");
  return { name, servers, chroots, host };
}

export function readStep(given: Given): CrossingStepArguments {
  const { to, overlapMs } = given;
  if (to !== "direct" && to !== "mesh") throw malformed("to", "is neither direct nor mesh");
  if (overlapMs !== undefined && !isWithin(overlapMs, maxOverlapMs))
    throw malformed("overlapMs", `is not a number from 0 to ${maxOverlapMs}`);
  const sessions = given["sessions"] === undefined ? undefined : texts(given, "sessions", maxSessions);
  for (const id of sessions ?? [])
    if (!/^[0-9a-f]{1,16}$/.test(id)) throw malformed("sessions", `has no id of a session in "${id}"`);
  return {
    ...readName(given),
    to,
    ...(sessions === undefined ? {} : { sessions }),
    ...(overlapMs === undefined ? {} : { overlapMs }),
  };
}

export function readName({ name }: Given): CrossingNameArguments {
  if (typeof name !== "string" || !/^[A-Za-z0-9-]{1,64}$/.test(name))
    throw malformed("name", "is not of letters, digits and -, at most 64 of them");
  return { name };
}

/** `host:port` or `[v6]:port`, the host an IP address. */
export function readServer(text: string): Server {
  const [, six, four, port = ""] = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = six ?? four ?? "";
  if (!isIpAddress(host) || Number(port) < 1 || Number(port) > 65_535)
    throw malformed("servers", `has no ADDRESS:PORT, the address an IP address, in "${text}"`);
  return { host, port: Number(port) };
}

function texts(given: Given, field: string, most: number): readonly string[] {
  const value = given[field];
  const isList = Array.isArray(value) && value.length <= most && value.every((one) => typeof one === "string");
  if (!isList) throw malformed(field, `is not a list of at most ${most} texts`);
  return value;
}

function isWithin(value: unknown, most: number): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 && value <= most;
}

function malformed(field: string, what: string): MeshError {
  return new MeshError("crossing.malformed", `${field} ${what}`, { field });
}
