/**
 * The kernel's tables of TCP sockets, `/proc/PID/net/tcp` and `tcp6`: who listens and what is established in a network namespace, with the
 * inode by which a process's descriptors name a socket. Addresses stay as they are written until somebody asks for them, since a busy
 * host has more rows than anybody reads.
 */
import { readFileSync } from "node:fs";
import { SocketAddress } from "node:net";
import { endianness } from "node:os";
import { MeshError } from "@dualmesh/base/errors";
import type { FlowAddress, HostAddress } from "../host/host.ts";

export interface SocketRow {
  readonly state: "established" | "listening";
  readonly uid: number;
  readonly inode: number;
  /** As the kernel writes them: `0100007F:0CEA`. */
  readonly local: string;
  readonly remote: string;
}

const maxRows = 500_000;
const states: Readonly<Record<string, SocketRow["state"]>> = { "01": "established", "0A": "listening" };
const rowShape =
  /^ *\d+: ([0-9A-F]{8}(?:[0-9A-F]{24})?:[0-9A-F]{4}) ([0-9A-F]{8}(?:[0-9A-F]{24})?:[0-9A-F]{4}) ([0-9A-F]{2}) \S+ \S+ \S+ +(\d+) +\d+ (\d+)/;

/** The rows of a network namespace, seen through a process in it. Rejects with `host.too-many` beyond 500,000. */
export function socketRows(member: number | "self"): readonly SocketRow[] {
  return ["tcp", "tcp6"].flatMap((name) => parseSocketTable(readTable(`/proc/${member}/net/${name}`)));
}

function readTable(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    // A kernel without v6 has no table of it, and a process that has ended has none at all.
    if (["ENOENT", "ESRCH", "EINVAL"].includes((error as NodeJS.ErrnoException).code ?? "")) return "";
    throw error;
  }
}

/** How many sockets of TCP and UDP there are in a network namespace, those that TCP only remembers (TIME_WAIT) among them. */
export function socketCount(member: number | "self"): number {
  const text = ["sockstat", "sockstat6"].map((name) => readTable(`/proc/${member}/net/${name}`)).join("\n");
  let count = 0;
  for (const [, sockets = ""] of text.matchAll(/^(?:TCP|UDP)6?: (.*)$/gm)) {
    for (const [, number] of sockets.matchAll(/\b(?:inuse|tw) (\d+)/g)) count += Number(number);
  }
  return count;
}

/** What listens and what is established; all else, and what is no row, is passed over. */
export function parseSocketTable(text: string): readonly SocketRow[] {
  const rows: SocketRow[] = [];
  for (const line of text.split("\n")) {
    const [, local = "", remote = "", state = "", uid, inode] = rowShape.exec(line) ?? [];
    const known = Object.hasOwn(states, state) ? states[state] : undefined;
    if (known === undefined) continue;
    if (rows.length === maxRows) {
      throw new MeshError("host.too-many", `there are more than ${maxRows} TCP sockets in that network namespace`);
    }
    rows.push({ state: known, uid: Number(uid), inode: Number(inode), local, remote });
  }
  return rows;
}

/** Reads `0100007F:0CEA`: words of 32 bits in the order of this machine, then the port. */
export function addressOf(text: string, littleEndian: boolean = endianness() === "LE"): HostAddress {
  const [host = "", port = ""] = text.split(":");
  const bytes = Buffer.from(host, "hex");
  if (littleEndian) bytes.swap32();
  if (bytes.length === 4) return { host: bytes.join("."), port: Number.parseInt(port, 16) };
  const words = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  const { address } = new SocketAddress({ address: words.join(":"), family: "ipv6" });
  return { host: /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1] ?? address, port: Number.parseInt(port, 16) };
}

export function flowOf({ local, remote }: SocketRow): FlowAddress {
  return { local: addressOf(local), remote: addressOf(remote) };
}

/** One text for a connection, to compare by. */
export function flowText({ local, remote }: FlowAddress): string {
  return `${local.host} ${local.port} ${remote.host} ${remote.port}`;
}
