/**
 * Ends established connections. The kernel does it at once when ss asks, and tells both ends; that they are gone is read in its table
 * and not believed. A kernel that cannot (it was built without CONFIG_INET_DIAG_DESTROY) is helped by a rule that answers the next packet of each
 * with a reset: up to a ping of the client later, and the other end hears of it when it sends something itself.
 */
import { type Clock, sleep } from "@dualmesh/base/clock";
import { MeshError } from "@dualmesh/base/errors";
import { bracketed } from "@dualmesh/base/http/host-name";
import { flowOf, flowText, socketRows } from "../process/socket-table.ts";
import type { FlowAddress } from "./host.ts";
import type { Namespace } from "./namespace.ts";
import { applyRules } from "./packet-filter.ts";
import { runProgram } from "./programs.ts";
import { cutText, tableName, withoutText } from "./rules.ts";

/** The words of one command; its length has a limit. */
const flowsAtOnce = 64;
/** More than a ping of ZooKeeper's clients takes, which is a third of a session of 40 s. */
const patienceMs = 20_000;
const lookEveryMs = 100;

export interface CutOptions {
  readonly namespace: Namespace;
  readonly clock: Clock;
  /** True for the second way only, as on a kernel that does not have the first. */
  readonly byReset: boolean;
}

/** Resolves to how many of the flows are there no more. */
export async function cutFlows(flows: readonly FlowAddress[], options: CutOptions): Promise<number> {
  const { namespace, byReset } = options;
  let left = standing(flows, namespace);
  if (left.length > 0 && !byReset) {
    for (let first = 0; first < left.length; first += flowsAtOnce) {
      await kill(left.slice(first, first + flowsAtOnce), namespace);
    }
    left = standing(left, namespace);
  }
  if (left.length > 0) left = await reset(left, options);
  return flows.length - left.length;
}

/** Those of the flows that are established now. */
function standing(flows: readonly FlowAddress[], namespace: Namespace): readonly FlowAddress[] {
  const member = namespace.member();
  if (member === undefined) return [];
  const now = new Set<string>();
  for (const row of socketRows(member)) if (row.state === "established") now.add(flowText(flowOf(row)));
  return flows.filter((flow) => now.has(flowText(flow)));
}

/** What ss says of it is not asked: it says the same when it may not, when the kernel cannot, and when there is nothing to do. */
async function kill(flows: readonly FlowAddress[], namespace: Namespace): Promise<void> {
  const words = ["-H", "-n", "-t", "-K", "state", "established", "(", ...flows.flatMap(expression), ")"];
  await namespace.at((entrance) => runProgram({ program: "ss", words }, entrance));
}

function expression({ local, remote }: FlowAddress, index: number): readonly string[] {
  const ends = ["src", bracketed(local.host), "and", "sport", "=", `:${local.port}`, "and"];
  const words = [...ends, "dst", bracketed(remote.host), "and", "dport", "=", `:${remote.port}`];
  return [...(index === 0 ? [] : ["or"]), "(", ...words, ")"];
}

/** No two of this process have one name, and those of a process that died hold nothing any more. */
let resets = 0;

async function reset(flows: readonly FlowAddress[], { namespace, clock }: CutOptions): Promise<readonly FlowAddress[]> {
  const name = `${process.pid}-${++resets}`;
  const what = "the rule that resets connections";
  await applyRules(namespace, cutText(name, flows, patienceMs / 1_000), what);
  try {
    const until = clock.now() + patienceMs;
    let left = standing(flows, namespace);
    while (left.length > 0 && clock.now() < until) {
      await sleep(clock, lookEveryMs);
      left = standing(left, namespace);
    }
    return left;
  } finally {
    await applyRules(namespace, withoutText(tableName("cut", name)), what).catch(passOver("host.namespace-gone"));
  }
}

function passOver(code: string): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof MeshError && error.code === code)) throw error;
  };
}
