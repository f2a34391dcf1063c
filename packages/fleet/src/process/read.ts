/**
 * Reads what the kernel tells of processes, in /proc. Nothing is changed, no program is run, and everything has a limit. What is looked at
 * may end at any moment; then it is not there.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { MeshError } from "@dualmesh/base/errors";
import { netnsOf, processIds } from "../host/namespace.ts";
import { cgroupMount, cgroupProcesses, cgroupsOfUnit, parseCgroup } from "./cgroups.ts";
import type { ProcessFacts, ProcessName } from "./facts.ts";
import { addressOf, flowOf, type SocketRow, socketRows } from "./socket-table.ts";
import { readStat } from "./stat.ts";

const maxProcesses = 4_096;
const maxDescriptors = 200_000;
const maxCommandWords = 512;
const maxCommandLength = 64 * 1_024;

/** The processes that a name means, without those of the kernel itself and those that have ended. */
export function readFacts(name: ProcessName): readonly ProcessFacts[] {
  const pids = processesOf(name);
  if (pids.length > maxProcesses) {
    throw new MeshError("host.too-many", `there are ${pids.length} such processes: name one by its id`);
  }
  const tables = new Map<number, SocketTable>();
  return pids.flatMap((pid) => {
    const facts = factsOf(pid, tables);
    if (facts !== undefined) return [facts];
    if (name.kind === "pid" && isThere(pid)) throw hidden(pid);
    return [];
  });
}

function processesOf(name: ProcessName): readonly number[] {
  switch (name.kind) {
    case "pid":
      return [name.pid];
    case "netns":
      return inNetns(netnsNamed(name.name));
    case "cgroup":
      return cgroupProcesses(needMount(), name.name);
    case "unit": {
      const [path, ...others] = cgroupsOfUnit(needMount(), name.name);
      if (path === undefined) return [];
      if (others.length === 0) return cgroupProcesses(needMount(), path);
      throw new MeshError(
        "host.ambiguous",
        `several control groups are named ${name.name}: ${[path, ...others].slice(0, 10).join(", ")}; name one of them with --cgroup`,
      );
    }
  }
}

function needMount() {
  const mount = cgroupMount();
  if (mount !== undefined) return mount;
  throw new MeshError(
    "host.no-cgroups",
    "control groups of version 2 are not mounted below /sys/fs/cgroup: name the process by its id",
  );
}

/** The inode number of a namespace that is named as `ip netns` does, or by the number itself. */
function netnsNamed(name: string): number {
  if (/^[1-9]\d{0,15}$/.test(name)) return Number(name);
  try {
    return statSync(`/run/netns/${name}`).ino;
  } catch (error) {
    throw new MeshError(
      "host.namespace-gone",
      `there is no network namespace ${name}: /run/netns/${name} cannot be read; \`ip netns list\` shows those that have names`,
      { name },
      { cause: error },
    );
  }
}

function inNetns(netns: number): readonly number[] {
  return processIds().filter((pid) => netnsSeen(pid) === netns);
}

interface SocketTable {
  readonly rows: readonly SocketRow[];
  readonly byInode: ReadonlyMap<number, SocketRow>;
}

/** Undefined when it is gone, is a part of the kernel, or its namespace must not be known. */
function factsOf(pid: number, tables: Map<number, SocketTable>): ProcessFacts | undefined {
  try {
    const netns = netnsSeen(pid);
    const command = commandOf(pid);
    if (netns === undefined || command.length === 0) return undefined;
    const { started } = readStat(pid);
    const uid = uidOf(pid);
    const table = tables.get(netns) ?? tableOf(pid);
    tables.set(netns, table);
    const own = ownRows(pid, table);
    const rows = own ?? table.rows.filter((row) => row.uid === uid);
    return {
      pid,
      started,
      uid,
      cgroup: parseCgroup(readFileSync(`/proc/${pid}/cgroup`, "utf8")),
      netns,
      command,
      listening: rows.filter(({ state }) => state === "listening").map(({ local }) => addressOf(local)),
      connections: rows.filter(({ state }) => state === "established").map(flowOf),
      exact: own !== undefined,
    };
  } catch (error) {
    if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

function isThere(pid: number): boolean {
  try {
    return commandOf(pid).length > 0;
  } catch {
    return false;
  }
}

function hidden(pid: number): MeshError {
  return new MeshError(
    "host.not-permitted",
    `process ${pid} is another user's, and its network namespace may not be known: run as root, with --sudo, or as the user of that process`,
    { pid },
  );
}

/**
 * Another user's namespace cannot be looked at, but its table of sockets can; each namespace has a file of its own for it, and here it is
 * the same file. Undefined when it is another one, or the process is gone.
 */
function netnsSeen(pid: number): number | undefined {
  const netns = netnsOf(pid);
  if (netns !== undefined) return netns;
  try {
    const [theirs, own] = [pid, "self"].map((each) => statSync(`/proc/${each}/net/tcp`).ino);
    return theirs === own ? netnsOf("self") : undefined;
  } catch {
    return undefined;
  }
}

function tableOf(pid: number): SocketTable {
  const rows = socketRows(pid);
  return { rows, byInode: new Map(rows.map((row) => [row.inode, row])) };
}

function commandOf(pid: number): readonly string[] {
  const text = readFileSync(`/proc/${pid}/cmdline`, "utf8").slice(0, maxCommandLength);
  return text
    .split("\0")
    .slice(0, maxCommandWords)
    .slice(0, text.endsWith("\0") ? -1 : undefined);
}

/** The user that its sockets belong to, by which rules tell them: the last of the four. */
function uidOf(pid: number): number {
  const [, uid] = /^Uid:\t\d+\t\d+\t\d+\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
  return Number(uid);
}

/** Undefined when its descriptors must not be read. */
function ownRows(pid: number, { byInode }: SocketTable): readonly SocketRow[] | undefined {
  try {
    const rows = new Set<SocketRow>();
    for (const descriptor of descriptorsOf(pid)) {
      const inode = socketInode(`/proc/${pid}/fd/${descriptor}`);
      const row = inode === undefined ? undefined : byInode.get(inode);
      if (row !== undefined) rows.add(row);
    }
    return [...rows];
  } catch (error) {
    // Root without CAP_SYS_PTRACE, as in many containers, may list another user's descriptors and not look where one leads.
    if (isRefused(error)) return undefined;
    throw error;
  }
}

function descriptorsOf(pid: number): readonly string[] {
  const descriptors = readdirSync(`/proc/${pid}/fd`);
  if (descriptors.length <= maxDescriptors) return descriptors;
  throw new MeshError("host.too-many", `process ${pid} has more than ${maxDescriptors} descriptors open`);
}

function socketInode(path: string): number | undefined {
  try {
    const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(path)) ?? [];
    return inode === undefined ? undefined : Number(inode);
  } catch (error) {
    if (isRefused(error)) throw error;
    return undefined; // closed meanwhile
  }
}

function isRefused(error: unknown): boolean {
  return ["EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "");
}
