/**
 * Whether a network namespace has more connections than the kernel can track. The first move turns tracking on for all of them, not only for those
 * that a rule leads, and packets of connections that find no place in the table are dropped: the calls of a busy host would fail.
 */
import { readFileSync } from "node:fs";
import { socketCount } from "../process/socket-table.ts";
import type { Namespace } from "./namespace.ts";

export interface TrackingLoad {
  /** TCP and UDP, with those that TCP only remembers (TIME_WAIT): about what will be tracked. */
  readonly sockets: number;
  /** What is tracked already; 0 where nothing is. */
  readonly tracked: number;
  readonly limit: number;
}

export interface Crowd {
  readonly level: "warning" | "stops";
  readonly text: string;
}

/** A table that is in use shows what it holds; one that is not has yet to take what comes, and what comes in bursts. */
const fullAt = 0.9;
const stopsAt = 0.5;
const warnsAt = 0.25;

/** Undefined when there is room. */
export function crowdOf({ sockets, tracked, limit }: TrackingLoad): Crowd | undefined {
  const mend = "raise net.netfilter.nf_conntrack_max first";
  if (tracked > 0) {
    if (tracked < limit * fullAt) return undefined;
    const text = `the kernel tracks ${tracked} connections of at most ${limit}, and drops packets beyond: ${mend}`;
    return { level: "stops", text };
  }
  if (sockets <= limit * warnsAt) return undefined;
  const text = `the first move has the kernel track every connection here, which are about ${sockets}, of at most ${limit}; packets beyond are dropped`;
  return { level: sockets > limit * stopsAt ? "stops" : "warning", text: `${text}: ${mend}` };
}

/** Undefined where the kernel tells no limit. */
export function trackingLoad(namespace: Namespace): TrackingLoad | undefined {
  const limit = numberIn("nf_conntrack_max");
  const member = namespace.member();
  if (limit === undefined || member === undefined) return undefined;
  // The other number is that of the namespace of who reads it.
  const tracked = namespace.isOwn ? (numberIn("nf_conntrack_count") ?? 0) : 0;
  return { sockets: socketCount(member), tracked, limit };
}

function numberIn(name: string): number | undefined {
  try {
    return Number(readFileSync(`/proc/sys/net/netfilter/${name}`, "utf8"));
  } catch {
    return undefined; // the kernel's module for it is not loaded, or is not there
  }
}
