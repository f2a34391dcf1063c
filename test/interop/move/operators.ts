/** Who calls `dualmesh` about a process, from where, and with which rights: the machine's root, or one of those who have less. */
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CommandLine } from "../fixtures.ts";
import { repository } from "../product.ts";
import { openCheckout } from "./checkout.ts";
import { type Container, execAsRoot, execBeside } from "./container.ts";

/**
 * `container-root` is root in the application's container, `bare-root` the same in one that was made with CAP_NET_ADMIN alone, `container-user` an ordinary
 * user with that in a container beside it, `same-user` there the user that the application has as well, and `sudo` an ordinary user of the host who may
 * have one program run as root.
 */
export type Operator = "root" | "container-root" | "bare-root" | "container-user" | "same-user" | "sudo";

const contained: readonly Operator[] = ["container-root", "bare-root", "container-user", "same-user"];
const ordinary = 4_010;
/** No CAP_NET_RAW: calls are not seen as they pass. */
const given = ["net_admin"];

/** Undefined where there can be such an operator. */
export function whyNoOperator(operator: Operator): string | undefined {
  if (operator !== "sudo") return undefined;
  const { error } = spawnSync("sudo", ["--version"], { stdio: "ignore" });
  return error === undefined ? undefined : "no sudo on this machine";
}

/** Whether the application is in a container. */
export function isContained(operator: Operator): boolean {
  return contained.includes(operator);
}

/** An ordinary user has a directory for moves that is nobody else's. */
export function prepareMovesOf(operator: Operator, moves: string): void {
  if (operator !== "container-user" && operator !== "sudo") return;
  mkdirSync(moves, { mode: 0o700 });
  chownSync(moves, ordinary, ordinary);
}

export interface OperatorWorld extends Container {
  /** The application's. */
  readonly uid: number;
  /** For the files that a machine with this operator has. */
  readonly directory: string;
  /** The directory of a control group for a container beside the application's. */
  readonly besideCgroup: string;
}

/** `dualmesh` with these words, as the operator calls it. */
export function calledBy(operator: Operator, words: readonly string[], world: OperatorWorld): CommandLine {
  const line = { command: process.execPath, words: [main(), ...words] };
  switch (operator) {
    case "root":
      return line;
    case "container-root":
      return execAsRoot(line, world);
    case "bare-root":
      return execAsRoot(words[1] === "in" ? { ...line, words: [...line.words, "--user", "0:0"] } : line, world, given);
    case "container-user":
      return execBeside(line, world, { uid: ordinary, given, cgroup: world.besideCgroup });
    case "same-user":
      return execBeside(line, world, { uid: world.uid, given, cgroup: world.besideCgroup });
    case "sudo":
      return bySudo({ ...line, words: [...line.words, "--sudo"] }, world);
  }
}

const main = (): string => join(repository, "packages/cli/src/main.ts");
const mounted = 'mount --bind "$0" /etc/sudoers && mount --bind "$1" /etc/passwd && shift && exec "$@"';

/** On the host, by an account that the machine has for this program alone, and with the distribution's own rules for sudo beside one. */
function bySudo({ command, words }: CommandLine, { directory, host }: OperatorWorld): CommandLine {
  const [sudoers, passwd] = [join(directory, "sudoers"), join(directory, "passwd")];
  const node = process.execPath.replaceAll(repository, openCheckout());
  const agent = [node, "--disable-sigusr1", main().replaceAll(repository, openCheckout()), "move", "host"].join(" ");
  const rule = `operator ALL=(root) NOPASSWD: ${agent}\n`;
  writeFileSync(sudoers, `${readFileSync("/etc/sudoers", "utf8")}\n${rule}`, { mode: 0o440 });
  const account = `operator:*:${ordinary}:${ordinary}::${directory}:/bin/sh\n`;
  writeFileSync(passwd, `${readFileSync("/etc/passwd", "utf8")}${account}`);
  for (const file of [sudoers, passwd]) chmodSync(file, file === sudoers ? 0o440 : 0o644);
  const become = ["setpriv", `--reuid=${ordinary}`, `--regid=${ordinary}`, "--clear-groups", "--inh-caps=-all"];
  const own = ["--mount", "--", "sh", "-c", mounted, sudoers, passwd];
  return host.on({ command: "unshare", words: [...own, ...become, command, ...words] });
}
