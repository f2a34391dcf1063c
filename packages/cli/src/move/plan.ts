/** What a move would do, for people: nothing of it has been done. */
import type { MoveRecord } from "@dualmesh/fleet/move/record";
import { stepsIn, stepText } from "@dualmesh/fleet/move/steps";

export function planText(record: MoveRecord): readonly string[] {
  const { selection, servers, sidecar, host, watchBeforeMs, watchMs, process } = record;
  const whose = selection.kind === "cgroup" ? `of the control group ${selection.path}` : `of user ${selection.uid}`;
  return [
    `sidecar: ${sidecar.own === undefined ? `the one at ${sidecar.state}` : `one is started, with its state in ${sidecar.state}`}`,
    `rule: new connections ${whose} to ${servers.join(", ")} arrive at a loopback port of the sidecar, one for each`,
    `cut: the connections of process ${process.pid} to them are ended once; its sessions go on`,
    `published: at ${host}, on a port of the sidecar (20881, or the next free one)`,
    `watched: ${watchBeforeMs / 1_000} s before, ${watchMs / 1_000} s after`,
    ...stepsIn(record).map((step, index) => `step ${index + 1}, ${step}: ${stepText(step)}`),
  ];
}
