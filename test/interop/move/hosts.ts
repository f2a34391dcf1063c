/**
 * Hosts of a company on one machine: network namespaces with an address each, joined by a bridge in a namespace of its own, so that nothing of
 * the machine's network is touched. All of them go with the network, however the harness ends; those of a harness that was killed go
 * when the next network is made.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { CommandLine } from "../fixtures.ts";
import { guard, lastly } from "../program.ts";

/** As who, and where, a program of a host runs. */
export interface Somebody {
  readonly uid: number;
  /** The directory of a cgroup of its own; undefined for none. */
  readonly cgroup: string | undefined;
  /** A file that stands in the place of /etc/resolv.conf; undefined for the machine's. */
  readonly resolver: string | undefined;
}

export const root: Somebody = { uid: 0, cgroup: undefined, resolver: undefined };

export interface Host {
  readonly name: string;
  readonly address: string;
  /** A command line that runs another one on this host, in the same process. */
  on(line: CommandLine, as?: Somebody): CommandLine;
  /** Runs a program to its end; throws what it said when it fails. */
  run(command: string, ...words: readonly string[]): string;
  /** What is answered to a text at an address that this host reaches; empty when nobody answers. */
  ask(address: string, port: number, text: string): string;
  /** The processes on this host, whoever started them. */
  processes(): readonly number[];
}

const programs = ["ip", "nft", "ss", "nsenter", "setpriv", "unshare", "mount"];
const names = "/run/netns";
let networks = 0;

/** Why there can be no such hosts here, or undefined. */
export function whyNoHosts(): string | undefined {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  const missing = programs.filter(
    (program) => spawnSync(program, ["--version"], { stdio: "ignore" }).error !== undefined,
  );
  if (missing.length > 0)
    return `no ${missing.join(", ")} on this machine (nftables, iproute2 and util-linux have them)`;
  const probe = spawnSync("unshare", ["--net", "true"], { encoding: "utf8", timeout: 10_000 });
  return probe.status === 0 ? undefined : `this machine makes no network namespaces: ${probe.stderr.trim()}`;
}

export class Network implements AsyncDisposable {
  readonly #prefix = `dualmesh-${process.pid}-${++networks}-`;
  readonly #bridge = `${this.#prefix}bridge`;
  readonly #namespaces: string[] = [];
  readonly #cgroups: string[] = [];
  readonly #undo = (): void => this.#remove();

  static open(): Network {
    guard();
    removeLeft();
    const network = new Network();
    lastly.add(network.#undo);
    network.#add(network.#bridge);
    must("ip", "-n", network.#bridge, "link", "add", "bridge", "type", "bridge");
    must("ip", "-n", network.#bridge, "link", "set", "bridge", "up");
    return network;
  }

  host(name: string): Host {
    const number = this.#namespaces.length; // the bridge was the first
    const namespace = `${this.#prefix}${name}`;
    const address = `10.203.0.${number + 1}`;
    const [port, bridge] = [`port${number}`, this.#bridge];
    this.#add(namespace);
    must("ip", "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", port, "netns", bridge);
    must("ip", "-n", namespace, "addr", "add", `${address}/24`, "dev", "eth0");
    must("ip", "-n", namespace, "link", "set", "lo", "up");
    must("ip", "-n", namespace, "link", "set", "eth0", "up");
    must("ip", "-n", bridge, "link", "set", port, "master", "bridge", "up");
    const on = (line: CommandLine, as: Somebody = root): CommandLine => inNamespace(namespace, line, as);
    const run = (command: string, ...words: readonly string[]): string => {
      const line = on({ command, words });
      return must(line.command, ...line.words);
    };
    return {
      name,
      address,
      on,
      run,
      ask: (to, at, text) =>
        run(
          "timeout",
          "2",
          "bash",
          "-c",
          'exec 3<>"/dev/tcp/$0/$1" && printf "%s" "$2" >&3 && cat <&3 || true',
          to,
          String(at),
          text,
        ),
      processes: () => processesIn(namespace),
    };
  }

  /** A cgroup (version 2) of its own; undefined where the machine lets nobody make one. */
  cgroup(name: string): string | undefined {
    const mount = cgroupMount();
    if (mount === undefined) return undefined;
    const path = join(mount, `${this.#prefix}${name}`);
    try {
      mkdirSync(path);
    } catch {
      return undefined; // a container that shows them read-only
    }
    this.#cgroups.push(path);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    lastly.delete(this.#undo);
    this.#remove();
  }

  #add(namespace: string): void {
    must("ip", "netns", "add", namespace);
    this.#namespaces.push(namespace);
  }

  /** What still runs there was started by what the harness started, as a guard is by a mover. */
  #remove(): void {
    for (const namespace of this.#namespaces) {
      for (const pid of processesIn(namespace)) end(pid);
    }
    for (const namespace of this.#namespaces) spawnSync("ip", ["netns", "delete", namespace]);
    for (const cgroup of this.#cgroups) removeCgroup(cgroup);
    this.#namespaces.length = 0;
    this.#cgroups.length = 0;
  }
}

/** `nsenter` and the others replace themselves, so that the program has the process id that was started. */
function inNamespace(namespace: string, line: CommandLine, as: Somebody): CommandLine {
  const { uid, cgroup, resolver } = as;
  const shell = (script: string, file: string): string[] => ["sh", "-c", `${script} && exec "$@"`, file];
  const words = [
    `--net=${join(names, namespace)}`,
    "--",
    ...(cgroup === undefined ? [] : shell('echo $$ > "$0"', join(cgroup, "cgroup.procs"))),
    ...(resolver === undefined ? [] : ["unshare", "--mount", ...shell('mount --bind "$0" /etc/resolv.conf', resolver)]),
    ...(uid === 0 ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--inh-caps=-all"]),
    line.command,
    ...line.words,
  ];
  return { command: "nsenter", words };
}

function processesIn(namespace: string): readonly number[] {
  const { ino } = statSync(join(names, namespace), { throwIfNoEntry: false }) ?? {};
  return numbers("/proc").filter((pid) => ino !== undefined && linkOf(`/proc/${pid}/ns/net`) === `net:[${ino}]`);
}

/** A process of a namespace of ours. */
function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it ended meanwhile
  }
}

/** It is busy until the kernel has taken its last process down. */
function removeCgroup(path: string): void {
  for (let attempt = 0; attempt < 50; attempt++) {
    try {
      rmdirSync(path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EBUSY") return;
      for (const pid of readFileSync(join(path, "cgroup.procs"), "utf8").split("\n").filter(Boolean)) end(Number(pid));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20); // also at the exit of the process, where nothing can be awaited
    }
  }
}

/** Namespaces whose names hold the id of a harness that is gone. */
function removeLeft(): void {
  if (!existsSync(names)) return;
  for (const name of readdirSync(names)) {
    const [, pid] = /^dualmesh-(\d+)-\d+-/.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    for (const left of processesIn(name)) end(left);
    spawnSync("ip", ["netns", "delete", name]);
  }
}

function cgroupMount(): string | undefined {
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const words = line.split(" ");
    if (words[words.indexOf("-") + 1] === "cgroup2") return words[4];
  }
  return undefined;
}

function must(command: string, ...words: readonly string[]): string {
  const done = spawnSync(command, words, { encoding: "utf8", timeout: 20_000 });
  if (done.status !== 0)
    throw new Error(`${command} ${words.join(" ")}: ${done.error?.message ?? ""} ${done.stderr} ${done.stdout}`);
  return done.stdout;
}

function numbers(directory: string): readonly number[] {
  return readdirSync(directory).map(Number).filter(Number.isInteger);
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // it ended meanwhile
  }
}

/** What a host's Java programs know of names, so that none of them asks a name server that is not there. */
export function writeNames(path: string, host: Host, all: readonly Host[]): void {
  const lines = all.map(({ address, name }) => `${address} ${name}`);
  // The namespaces share the machine's own name.
  writeFileSync(path, ["127.0.0.1 localhost", `${host.address} ${hostname()}`, ...lines, ""].join("\n"));
}
