/** What is known of a running process from the outside, as the kernel tells it without privileges (or with them, of another user's process). */
import type { FlowAddress, HostAddress, Selection } from "../host/host.ts";

export interface ProcessFacts {
  readonly pid: number;
  /** Clock ticks since the machine began, as in /proc/PID/stat: with the pid it names one process for good. */
  readonly started: number;
  readonly uid: number;
  /** The path below the mount of cgroup v2; `/` when it is in none of its own. */
  readonly cgroup: string;
  /** The inode number of its network namespace. */
  readonly netns: number;
  readonly command: readonly string[];
  /** Where it listens; `0.0.0.0` and `::` as they are. */
  readonly listening: readonly HostAddress[];
  /** Established, dialled by it or accepted; v4 addresses that are mapped into v6 are v4. */
  readonly connections: readonly FlowAddress[];
  /** False when another user's descriptors could not be read: sockets are then those of its uid in its namespace. */
  readonly exact: boolean;
}

/** How the operator names a process. */
export type ProcessName =
  | { readonly kind: "pid"; readonly pid: number }
  | { readonly kind: "unit" | "cgroup" | "netns"; readonly name: string };

/** How its connections can be told from others', or why they cannot. */
export type SelectionChoice =
  | {
      readonly selection: Selection;
      /** Whether nothing but this process and its children is selected. */
      readonly exclusive: boolean;
    }
  | { readonly reasons: readonly string[] };
