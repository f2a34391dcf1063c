/**
 * Looks at everything that a move needs before anything is touched, and makes its record. Each thing that was looked at is a line; what must be
 * mended first stops the move, and the line says how.
 */
import type { Clock } from "@dualmesh/base/clock";
import { isIpAddress } from "@dualmesh/base/http/host-name";
import type { Host, Privileged } from "../../host/host.ts";
import type { ProcessFacts, ProcessName } from "../../process/facts.ts";
import { chooseSelection } from "../../process/selection.ts";
import type { WatchBounds } from "../../watch/watching.ts";
import { isAlive } from "../processes.ts";
import type { MoveRecord, ProcessId } from "../record.ts";
import type { MoveRecords } from "../world.ts";
import { type Check, Checks, someOf } from "./check.ts";
import { findRegistry, type Registry, type RegistryMeans } from "./registry.ts";
import { type Room, sayRoom } from "./room.ts";
import { chooseSidecar, type SidecarChoice, type SidecarMeans } from "./sidecar.ts";
import { findChroots, readTree, type Tree } from "./tree.ts";
import { hostOf, isLoopback, type Surroundings, sayUsage, type Usage, usageOf, usesAnything } from "./usage.ts";

/** What the operator says. */
export interface Wish {
  readonly named: ProcessName;
  readonly zookeeper: readonly string[];
  readonly chroot: string | undefined;
  readonly host: string | undefined;
  readonly state: string | undefined;
  readonly only: "provider" | "consumer" | undefined;
  readonly first: "provider" | "consumer";
  readonly watchBeforeMs: number;
  readonly watchMs: number;
  readonly bounds: WatchBounds;
}

export interface Means extends RegistryMeans, SidecarMeans {
  readonly privileged: Privileged;
  readonly records: Pick<MoveRecords, "list" | "unreadable">;
  readonly clock: Clock;
  readonly self: ProcessId;
  /** The control group of this process, in which a sidecar would be started. */
  readonly cgroup: string;
  readonly surroundings: (facts: ProcessFacts) => Surroundings;
  /** What is free for the moves directory; undefined when that cannot be known. */
  readonly room: () => Promise<Room | undefined>;
}

export interface Examination {
  readonly checks: readonly Check[];
  /** Undefined when something stops the move. */
  readonly record: MoveRecord | undefined;
}

export async function examine(facts: ProcessFacts, wish: Wish, means: Means): Promise<Examination> {
  const checks = new Checks();
  const record = await examined(facts, wish, means, checks);
  return { checks: checks.lines, record: checks.stops ? undefined : record };
}

async function examined(
  facts: ProcessFacts,
  wish: Wish,
  means: Means,
  checks: Checks,
): Promise<MoveRecord | undefined> {
  checks.ok("process", `${facts.pid}, user ${facts.uid}: ${shortCommand(facts)}`);
  if (!facts.exact) {
    checks.warn(
      "process",
      "its own descriptors cannot be read: what its user has open counts as its own; root with CAP_SYS_PTRACE tells them apart, which in a container it lacks and on the host it has",
    );
  }
  if (await isMoved(facts, means, checks)) return undefined;
  const registry = await findRegistry(facts, wish.zookeeper, means, checks);
  if (registry === undefined) return undefined;
  const usage = await findUsage(facts, registry, wish, means, checks);
  if (usage === undefined) return undefined;
  const host = hostOf(usage, facts, registry, wish.host, checks);
  sayHost(host, usage, wish, facts, means, checks);
  const { netns } = facts;
  const choice = await chooseSidecar({ netns, registry, chroot: usage.chroot, host, state: wish.state }, means, checks);
  if (choice === undefined) return undefined;
  sayRoom(await means.room(), means.moves, choice.sidecar.own !== undefined && choice.pid === undefined, checks);
  const selected = await select(facts, choice, means, checks);
  if (selected === undefined) return undefined;
  return {
    version: 1,
    name: nameOf(facts),
    process: { ...idOf(facts), uid: facts.uid, cgroup: facts.cgroup, netns, command: shortCommand(facts) },
    named: wish.named,
    ...selected,
    servers: registry.servers,
    chroots: usage.chroot === "" ? [] : [usage.chroot],
    host,
    sidecar: choice.sidecar,
    only: wish.only,
    first: wish.first,
    watchBeforeMs: wish.watchBeforeMs,
    watchMs: wish.watchMs,
    bounds: wish.bounds,
    calls: usage.calls,
    state: "entering",
    wanted: "in",
    begun: [],
    done: [],
    step: "",
    lists: [],
    sessions: 0,
    doors: [],
    published: [],
    mover: means.self,
    since: means.clock.wall(),
    failed: "",
  };
}

/** The name of a process's move. */
export function nameOf({ pid, started }: ProcessId): string {
  return `p${pid}-${started}`;
}

function idOf({ pid, started }: ProcessFacts): ProcessId {
  return { pid, started };
}

const maxCommandText = 120;

function shortCommand({ command }: ProcessFacts): string {
  // A class path may have a thousand words, and what somebody is to recognise stands at the ends.
  const [program = "", ...words] = command;
  const text = [program, words.at(-1) ?? ""].join(" ").trim();
  return text.length > maxCommandText ? `${text.slice(0, maxCommandText)}…` : text;
}

async function isMoved(facts: ProcessFacts, { records }: Means, checks: Checks): Promise<boolean> {
  const damaged = (await records.unreadable()).find(({ name }) => name === nameOf(facts));
  if (damaged !== undefined) {
    checks.stop("move", `the record of a move of process ${facts.pid} cannot be read: ${damaged.why}`);
    return true;
  }
  const record = (await records.list()).find(({ name }) => name === nameOf(facts));
  if (record === undefined) return false;
  const { mover } = record;
  const goesOn = isAlive(mover)
    ? `process ${mover.pid} is at it: wait for it, dualmesh move status shows how far it is`
    : "its mover has died: dualmesh move recover completes it";
  const how = {
    entering: `is on its way in already; ${goesOn}`,
    in: "is in the mesh already: dualmesh move out takes it back",
    leaving: `is on its way out; ${goesOn}`,
    undoing: `is being taken back; ${goesOn}`,
    closing:
      "is out, and the sidecar that it was moved by has not closed its crossing yet: start that one, or see dualmesh move status",
    forwarded: "is in the mesh, but its sidecar is away: dualmesh move status",
  } as const;
  checks.stop("move", `process ${facts.pid} ${how[record.state]}`);
  return true;
}

async function findUsage(
  facts: ProcessFacts,
  registry: Registry,
  wish: Wish,
  means: Means,
  checks: Checks,
): Promise<Usage | undefined> {
  const trees = await means.reading(registry.connected, async (reader): Promise<readonly Tree[]> => {
    const chroots = wish.chroot === undefined ? await findChroots(reader) : [wish.chroot === "/" ? "" : wish.chroot];
    const read: Tree[] = [];
    for (const chroot of chroots) read.push(await readTree(reader, chroot));
    return read;
  });
  if (trees.some(({ whole }) => !whole)) {
    checks.warn(
      "registry",
      "there is more in it than was read: what it provides and consumes may be more than is said here",
    );
  }
  const around = means.surroundings(facts);
  if (around.pids === undefined) {
    checks.warn(
      "process",
      `/proc hides processes of others from user ${means.user.uid} (hidepid): what it provides is told by its ports, and others at its address may be counted to what it consumes`,
    );
  }
  const usages = trees.map((tree) => usageOf(facts, tree, registry, around));
  const used = usages.filter(usesAnything);
  if (used.length > 1) {
    const roots = used.map(({ chroot }) => chroot || "/").join(" and ");
    checks.stop("chroot", `it uses several root nodes (${roots}), and one is moved at a time: choose with --chroot`);
    return undefined;
  }
  const [usage] = used.length > 0 ? used : usages;
  if (usage === undefined) {
    checks.stop(
      "registry",
      `in ${registry.connected.join(", ")} is nothing of Dubbo or SOFA-RPC: choose another registry with --zookeeper, or a root node with --chroot`,
    );
    return undefined;
  }
  if (usage.chroot !== "" && wish.chroot === undefined) checks.ok("chroot", `its root node is ${usage.chroot}`);
  sayUsage(usage, wish.only, checks);
  return usage;
}

function sayHost(
  host: string,
  { provided }: Usage,
  { host: given }: Wish,
  facts: ProcessFacts,
  { surroundings }: Means,
  checks: Checks,
): void {
  const { addresses } = surroundings(facts);
  const registered = provided.map(({ host: at }) => at).find(isIpAddress);
  const others = addresses.filter((address) => !isLoopback(address));
  const which = `name one that others reach${others.length === 0 ? "" : ` (it has ${someOf(others)})`}`;
  if (given !== undefined) {
    if (!isIpAddress(given)) checks.stop("host", `--host expects an IP address, got "${given}": ${which}`);
    else if (!addresses.includes(given)) {
      const text = `${given}, which --host says, is no address of its network namespace, so that nobody can listen there`;
      checks.stop("host", `${text}: ${which}`);
    } else if (isLoopback(given) && registered !== undefined && !isLoopback(registered)) {
      const text = `${given}, which --host says, is reached from this host only, and it registers itself at ${registered} for others`;
      checks.stop("host", `${text}: ${which}`);
    } else if (registered !== undefined && given.includes(":") !== registered.includes(":")) {
      const text = `${given}, which --host says, is of another family than ${registered}, where it registers itself and is reached`;
      checks.stop("host", `${text}: ${which}`);
    } else checks.ok("host", `others reach it at ${given}, as --host says`);
  } else if (!isIpAddress(host)) {
    checks.stop(
      "host",
      `it registers itself as ${host || "nobody"}, which is no IP address: say it with --host ADDRESS`,
    );
  } else if (!addresses.includes(host)) {
    checks.stop(
      "host",
      `it registers itself at ${host}, which is no address of its network namespace, so that nobody can listen there in its place: ${which} with --host ADDRESS`,
    );
  } else checks.ok("host", `others reach it at ${host}`);
}

type Selected = Pick<MoveRecord, "selection" | "exclusive">;

async function select(
  facts: ProcessFacts,
  choice: SidecarChoice,
  means: Means,
  checks: Checks,
): Promise<Selected | undefined> {
  const { privileged } = means;
  const host = await privileged.host(facts.netns);
  if (host === undefined) {
    checks.stop("process", `nobody is in network namespace ${facts.netns} any more`);
    return undefined;
  }
  const others = await privileged.facts({ kind: "netns", name: String(facts.netns) });
  const beside = others.find(({ pid }) => pid === choice.pid) ?? { uid: means.user.uid, cgroup: means.cgroup };
  const reasons: string[] = [];
  for (const kinds of [["cgroup", "uid"], ["uid"]] as const) {
    const chosen = chooseSelection(facts, others, beside, kinds);
    if ("reasons" in chosen) {
      for (const reason of chosen.reasons) if (!reasons.includes(reason)) reasons.push(reason);
      continue;
    }
    const refused = await host.check(chosen.selection);
    if (refused.length > 0) {
      for (const reason of refused) if (!reasons.includes(reason)) reasons.push(reason);
      continue;
    }
    saySelected(chosen, facts, checks);
    for (const text of await host.warnings()) checks.warn("tracking", text);
    sayPorts(choice, others, checks);
    await sayWatch(host, checks);
    return chosen;
  }
  for (const reason of reasons) checks.stop("rule", reason);
  return undefined;
}

function saySelected({ selection, exclusive }: Selected, { pid }: ProcessFacts, checks: Checks): void {
  const text = selection.kind === "cgroup" ? `its control group ${selection.path}` : `its user ${selection.uid}`;
  if (exclusive) checks.ok("rule", `its connections are told by ${text}, in which nobody else is`);
  else {
    checks.warn(
      "rule",
      `its connections are told by ${text}, in which others are as well: their new connections to the registry come through the sidecar too, unchanged, and only those of ${pid} are moved`,
    );
  }
}

/** Where a sidecar listens that nobody has told otherwise. */
const usualPorts: readonly number[] = [20_881, 20_882];

function sayPorts({ sidecar, pid }: SidecarChoice, others: readonly ProcessFacts[], checks: Checks): void {
  if (sidecar.own === undefined || pid !== undefined) return;
  const taken = others.find(({ listening }) => listening.some(({ port }) => usualPorts.includes(port)));
  if (taken === undefined) checks.ok("ports", `the sidecar that is started takes ${usualPorts.join(" and ")}`);
  else
    checks.ok(
      "ports",
      `process ${taken.pid} has ${usualPorts.join(" or ")}: the sidecar that is started takes the next free pair`,
    );
}

async function sayWatch(host: Host, checks: Checks): Promise<void> {
  const why = await host.whyNoCapture();
  if (why === undefined) checks.ok("watch", "calls can be seen as they pass, before and after");
  else
    checks.warn(
      "watch",
      `calls cannot be seen as they pass (${why}): only the sidecar's own figures are watched, and nothing of before`,
    );
}
