/** Which process is meant by a name that several have: the one that has a connection to a registry. */
import { MeshError } from "@dualmesh/base/errors";
import type { ProcessFacts, ProcessName } from "../../process/facts.ts";
import { addressText } from "../addresses.ts";
import { someOf } from "./check.ts";
import { dialled, usualPort } from "./registry.ts";

/** Throws `move.no-process` and `move.several-processes`. `servers` are those that the operator names, if any. */
export function pickProcess(
  all: readonly ProcessFacts[],
  named: ProcessName,
  servers: readonly string[],
): ProcessFacts {
  const text = named.kind === "pid" ? `process ${named.pid}` : `${named.kind} ${named.name}`;
  const [first] = all;
  if (first === undefined) {
    throw new MeshError("move.no-process", nobodyText(named));
  }
  if (all.length === 1) return first;
  const isRegistry = ({ host, port }: { readonly host: string; readonly port: number }): boolean =>
    servers.length > 0 ? servers.includes(addressText({ host, port })) : port === usualPort;
  const [one, ...others] = all.filter((facts) => dialled(facts).some(({ remote }) => isRegistry(remote)));
  if (one !== undefined && others.length === 0) return one;
  const [what, which] =
    one === undefined
      ? ["none of them has a connection to a registry", all]
      : ["several of them have connections to a registry", [one, ...others]];
  const names = which.map(({ pid, command }) => `${pid} (${(command[0] ?? "").split("/").at(-1)})`);
  throw new MeshError(
    "move.several-processes",
    `${text} has ${all.length} processes, and ${what}: name one with --pid, of ${someOf(names)}`,
  );
}

function nobodyText(named: ProcessName): string {
  switch (named.kind) {
    case "pid":
      return `there is no process ${named.pid} on this machine: is it running, and seen from here?`;
    case "netns":
      return `no process is in the network namespace ${named.name}: has the application been started there, and is it seen from here?`;
    case "cgroup":
      return `no process is in the control group ${named.name}: is the path right, and the application running?`;
    case "unit":
      return `the unit ${named.name} has no process, or there is none of that name: systemctl status ${named.name} says which`;
  }
}
