/**
 * A container as Docker and Kubernetes make one around a program: its own files, processes, control group and messages on one of the hosts, the kernel's
 * settings and control groups only to read, and for root the rights that Docker leaves it and CAP_NET_ADMIN, which an operator adds. The program is its
 * first process. What is missing of a real one is its filter of system calls.
 */
import { join } from "node:path";
import { processSeen } from "@dualmesh/fleet/process/testing";
import type { CommandLine } from "../fixtures.ts";
import type { Host } from "./hosts.ts";

/** Docker's own list, and what `--cap-add NET_ADMIN` adds to it. */
const dockers: readonly string[] = [
  ...["chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service"],
  ...["net_raw", "sys_chroot", "mknod", "audit_write", "setfcap"],
  "net_admin",
];

const bounded = (capabilities: readonly string[]): string =>
  `--bounding-set=-all,${capabilities.map((name) => `+${name}`).join(",")}`;

const ownFiles = [
  "mount -t proc proc /proc",
  "mount --bind /proc/sys /proc/sys",
  "mount -o remount,bind,ro /proc/sys",
  "mount -t sysfs -o ro sysfs /sys",
  "mount -t cgroup2 -o ro cgroup2 /sys/fs/cgroup",
];

/** The program as the first process of a new container; to be run in the control group that will be the container's. */
export function contained(line: CommandLine, uid: number): CommandLine {
  const namespaces = ["--mount", "--pid", "--cgroup", "--ipc", "--fork"];
  const somebody = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  const confine = ["setpriv", bounded(dockers), "--inh-caps=-all", ...somebody];
  return {
    command: "unshare",
    words: [...namespaces, "--", ...script(ownFiles), ...confine, line.command, ...line.words],
  };
}

export interface Container {
  /** What `contained` started. */
  readonly pid: number;
  readonly host: Host;
  /** The directory of its control group. */
  readonly cgroup: string;
}

/** The program as `docker exec -u 0` runs it in a container, which may have been made with other capabilities than Docker's own. */
export function execAsRoot(
  line: CommandLine,
  { pid, host, cgroup }: Container,
  capabilities: readonly string[] = dockers,
): CommandLine {
  const namespaces = ["--net", "--mount", "--pid", "--cgroup", "--ipc"];
  const words = ["--target", String(firstProcess(pid, host)), ...namespaces, "--", "setpriv", bounded(capabilities)];
  return inGroup(cgroup, { command: "nsenter", words: [...words, line.command, ...line.words] });
}

/**
 * The program in a container beside that one, which shares its network and its processes and has files and a control group of its own, as an ordinary
 * user who was given these capabilities and can get no others.
 */
export function execBeside(
  line: CommandLine,
  { pid, host }: Pick<Container, "pid" | "host">,
  { uid, given, cgroup }: { readonly uid: number; readonly given: readonly string[]; readonly cgroup: string },
): CommandLine {
  const rights = given.map((name) => `+${name}`).join(",");
  const somebody = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--no-new-privs"];
  const only = [`--inh-caps=-all,${rights}`, `--ambient-caps=-all,${rights}`, `--bounding-set=-all,${rights}`];
  const enter = ["--target", String(firstProcess(pid, host)), "--net", "--pid", "--ipc", "--"];
  const own = ["unshare", "--mount", "--cgroup", "--", ...script(ownFiles)];
  const words = [...enter, ...own, "setpriv", ...somebody, ...only, line.command, ...line.words];
  return inGroup(cgroup, { command: "nsenter", words });
}

function inGroup(cgroup: string, { command, words }: CommandLine): CommandLine {
  const enter = 'echo $$ > "$0" && exec "$@"';
  return { command: "sh", words: ["-c", enter, join(cgroup, "cgroup.procs"), command, ...words] };
}

function script(commands: readonly string[]): readonly string[] {
  return ["sh", "-c", `${commands.join(" && ")} && exec "$@"`, "container"];
}

/** The child of `unshare`, as the machine numbers it. */
function firstProcess(pid: number, host: Host): number {
  const first = host
    .processes()
    .map(processSeen)
    .find((one) => one?.parent === pid && one.innerPid === 1);
  if (first === undefined) throw new Error(`the container that ${pid} started has no process any more`);
  return first.pid;
}
