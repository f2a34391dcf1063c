/**
 * Control groups of version 2: where they are mounted, which one a process is in, the one of a systemd unit, and who is in one. Paths are
 * those below the mount, as `/proc/PID/cgroup` writes them; a container with a namespace of its own for them sees its own part.
 */
import { type Dirent, readdirSync, readFileSync } from "node:fs";
import { MeshError } from "@dualmesh/base/errors";

export interface CgroupMount {
  /** Where it is, as in `/sys/fs/cgroup` or `/sys/fs/cgroup/unified`. */
  readonly path: string;
  /** The same below /sys/fs/cgroup, which is where nft looks: empty, or `unified`. */
  readonly below: string;
}

const nftLooksAt = "/sys/fs/cgroup";
const maxDirectories = 50_000;
const maxDepth = 16;
const maxProcesses = 10_000;

/** Undefined where version 2 is mounted nowhere below /sys/fs/cgroup. */
export function cgroupMount(mounts: string = readFileSync("/proc/self/mountinfo", "utf8")): CgroupMount | undefined {
  for (const line of mounts.split("\n")) {
    // 41 31 0:38 ROOT PATH OPTIONS [FIELDS] - TYPE SOURCE OPTIONS
    const [, root, path = "", type] = /^\S+ \S+ \S+ (\S+) (\S+) .*? - (\S+) /.exec(line) ?? [];
    // A part of the tree that is mounted by itself shows other paths than those that the kernel tells.
    if (type !== "cgroup2" || root !== "/") continue;
    if (path === nftLooksAt) return { path, below: "" };
    if (path.startsWith(`${nftLooksAt}/`)) return { path, below: path.slice(nftLooksAt.length + 1) };
  }
  return undefined;
}

/** From the text of `/proc/PID/cgroup`; `/` for a process in none of its own, or in one that is not seen from here. */
export function parseCgroup(text: string): string {
  const path = /^0::(\/.*)$/m.exec(text)?.[1] ?? "/";
  const seen = !path.split("/").includes("..") && !path.endsWith(" (deleted)");
  return seen ? path : "/";
}

export function isInCgroup(path: string, of: string): boolean {
  return of === "/" || path === of || path.startsWith(`${of}/`);
}

/** The paths of the groups that have a unit's name, with or without its `.service`. */
export function cgroupsOfUnit({ path: root }: CgroupMount, unit: string): readonly string[] {
  const names = new Set([unit, `${unit}.service`]);
  const found: string[] = [];
  let looked = 0;
  const look = (path: string, depth: number): void => {
    for (const entry of entriesOf(`${root}${path}`)) {
      if (!entry.isDirectory()) continue;
      if (++looked > maxDirectories) throw tooMany(`more than ${maxDirectories} control groups`);
      const below = `${path}/${entry.name}`;
      if (names.has(entry.name)) found.push(below);
      else if (depth < maxDepth) look(below, depth + 1);
    }
  };
  look("", 1);
  return found.sort();
}

/** The ids of the processes in a group and in those below it. */
export function cgroupProcesses({ path: root }: CgroupMount, path: string): readonly number[] {
  const pids: number[] = [];
  const look = (below: string, depth: number): void => {
    pids.push(...processesIn(`${root}${below}/cgroup.procs`));
    if (pids.length > maxProcesses) throw tooMany(`more than ${maxProcesses} processes in control group ${path}`);
    if (depth >= maxDepth) return;
    for (const entry of entriesOf(`${root}${below}`))
      if (entry.isDirectory()) look(`${below}/${entry.name}`, depth + 1);
  };
  look(path, 1);
  return [...new Set(pids)];
}

function processesIn(path: string): readonly number[] {
  try {
    // A process of another process namespace is written as 0.
    return readFileSync(path, "utf8")
      .split("\n")
      .map(Number)
      .filter((pid) => pid > 0);
  } catch {
    return []; // gone meanwhile, or a group of threads, whose processes stand in the one above
  }
}

function entriesOf(path: string): readonly Dirent[] {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    return []; // gone meanwhile
  }
}

function tooMany(what: string): MeshError {
  return new MeshError("host.too-many", `there are ${what}: name the process by its id`);
}
