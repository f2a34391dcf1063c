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
    throw new MeshError("move.no-process", `there is no ${text} on this machine: is it running, and seen from here?`);
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
