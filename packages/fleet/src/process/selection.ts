/**
 * How the connections of one process are told from those of others in its network namespace: by its control group, else by its user. A rule that
 * also caught the sidecar would lead the sidecar's own way to the registry back to itself, for ever; one that also catches others
 * is possible, and said.
 */
import type { Selection } from "../host/host.ts";
import { isInCgroup } from "./cgroups.ts";
import type { ProcessFacts, SelectionChoice } from "./facts.ts";

/** Those that a kernel cannot match may be left out. */
const everyKind: readonly Selection["kind"][] = ["cgroup", "uid"];

/**
 * `others` are the processes of its namespace; the process itself may be among them. `sidecar` is where the one that will serve it
 * runs, undefined while that is not known and will be apart.
 */
export function chooseSelection(
  process: ProcessFacts,
  others: readonly ProcessFacts[],
  sidecar?: Pick<ProcessFacts, "uid" | "cgroup">,
  kinds: readonly Selection["kind"][] = everyKind,
): SelectionChoice {
  const reasons: string[] = [];
  const possible: Selection[] = [];
  for (const kind of kinds) {
    const selection: Selection = kind === "cgroup" ? { kind, path: process.cgroup } : { kind: "uid", uid: process.uid };
    const reason = whyNot(selection, process, sidecar);
    if (reason === undefined) possible.push(selection);
    else reasons.push(reason);
  }
  const choices = possible.map((selection) => ({ selection, exclusive: isExclusive(selection, process, others) }));
  const choice = choices.find(({ exclusive }) => exclusive) ?? choices[0];
  return choice ?? { reasons };
}

function whyNot(
  selection: Selection,
  process: ProcessFacts,
  sidecar: Pick<ProcessFacts, "uid" | "cgroup"> | undefined,
): string | undefined {
  if (selection.kind === "cgroup" && selection.path === "/") {
    return `process ${process.pid} is in no control group of its own that is seen from here: start it as a service of systemd, or move it into one (mkdir, then write ${process.pid} to its cgroup.procs); that of a container is seen from its host alone`;
  }
  if (sidecar === undefined || !selects(selection, sidecar)) return undefined;
  return selection.kind === "cgroup"
    ? `the sidecar is in the control group of the process, ${selection.path}: run the sidecar as a service of its own`
    : `the sidecar runs as the user of the process, ${selection.uid}: run the sidecar as another user (root says --user; anybody else calls this command as another user, in a container too)`;
}

function isExclusive(selection: Selection, process: ProcessFacts, others: readonly ProcessFacts[]): boolean {
  return !others.some(
    (other) =>
      other.pid !== process.pid &&
      other.netns === process.netns &&
      selects(selection, other) &&
      (other.connections.length > 0 || other.listening.length > 0),
  );
}

function selects(selection: Selection, { uid, cgroup }: Pick<ProcessFacts, "uid" | "cgroup">): boolean {
  return selection.kind === "cgroup" ? isInCgroup(cgroup, selection.path) : uid === selection.uid;
}
