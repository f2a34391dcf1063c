/**
 * Network namespaces, by the inode number that the kernel gives each. Where the caller is in it already nothing is entered, so that the
 * capability to administer its network is enough; another one is entered through an open file, whose number was compared: a
 * process id may have been given to somebody else meanwhile, an open file is what it is.
 */
import { closeSync, fstatSync, openSync, readdirSync, statSync } from "node:fs";
import { MeshError } from "@dualmesh/base/errors";

export interface Entrance {
  /** An open namespace; undefined for the caller's own. */
  readonly fd: number | undefined;
}

export const ownEntrance: Entrance = { fd: undefined };

/** The inode number of a process's network namespace; undefined when it is gone or must not be looked at. */
export function netnsOf(pid: number | "self"): number | undefined {
  try {
    return statSync(`/proc/${pid}/ns/net`).ino;
  } catch {
    return undefined;
  }
}

/** More processes than this are not looked at. */
const maxProcesses = 65_536;

/** The ids of the processes that are seen from here. */
export function processIds(): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^[1-9]\d*$/.test(name))
    .slice(0, maxProcesses)
    .map(Number);
}

/** A network namespace, and a process in it by which it is found. */
export class Namespace {
  readonly netns: number;
  readonly isOwn: boolean;
  #member: number | "self" | undefined;

  constructor(netns: number) {
    this.netns = netns;
    this.isOwn = netnsOf("self") === netns;
    if (this.isOwn) this.#member = "self";
  }

  /** A process in it; undefined when there is none any more. */
  member(): number | "self" | undefined {
    if (this.#member === "self") return "self";
    if (this.#member !== undefined && netnsOf(this.#member) === this.netns) return this.#member;
    this.#member = processIds().find((pid) => netnsOf(pid) === this.netns);
    return this.#member;
  }

  /** Does something at its entrance, which is open until that has ended. Rejects with `host.namespace-gone`. */
  async at<T>(task: (entrance: Entrance) => Promise<T>): Promise<T> {
    if (this.isOwn) return task(ownEntrance);
    const fd = this.#open();
    try {
      return await task({ fd });
    } finally {
      closeSync(fd);
    }
  }

  #open(): number {
    // A member may end between the look and the opening; the next look finds another, or nobody.
    for (let round = 0; round < 3; round++) {
      const member = this.member();
      if (member === undefined) break;
      const fd = tryOpen(`/proc/${member}/ns/net`);
      if (fd === undefined) continue;
      if (fstatSync(fd).ino === this.netns) return fd;
      closeSync(fd);
    }
    throw new MeshError("host.namespace-gone", `nobody is in network namespace ${this.netns} any more`, {
      netns: this.netns,
    });
  }
}

function tryOpen(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch {
    return undefined;
  }
}
