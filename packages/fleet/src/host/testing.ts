/**
 * Network namespaces, control groups and processes for tests of what is done with privileges: real ones, which end with the test however it
 * ends. Names hold the process that made them, so that what a killed run left behind is found and removed by the next.
 */
import { type ChildProcessByStdio, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { sleep, systemClock } from "@dualmesh/base/clock";
import { cgroupMount } from "../process/cgroups.ts";
import { hasCapability } from "./capabilities.ts";
import type { FlowAddress, HostAddress } from "./host.ts";
import { findProgram, missingText, needProgram, type ProgramName } from "./programs.ts";

/** Why tests with namespaces cannot run here; false when they can. The `skip` of a test. */
export function whyNoNamespaces(...programs: readonly ProgramName[]): string | false {
  if (process.getuid?.() !== 0) return "needs root";
  if (!hasCapability("CAP_NET_ADMIN") || !hasCapability("CAP_SYS_ADMIN"))
    return "needs CAP_NET_ADMIN and CAP_SYS_ADMIN";
  const missing = (["nft", "ss", "nsenter", "setpriv", ...programs] as const).find((name) => !findProgram(name));
  return missing === undefined ? false : `needs ${missing}: ${missingText(missing)}`;
}

/** As `whyNoNamespaces`, for tests that put a process into a control group as well. */
export function whyNoCgroups(): string | false {
  const root = cgroupMount()?.path;
  if (root === undefined) return "needs control groups of version 2 below /sys/fs/cgroup";
  try {
    accessSync(root, constants.W_OK);
  } catch {
    return "needs control groups of version 2 that may be written";
  }
  return whyNoNamespaces();
}

const prefix = "dmb-";
let made = 0;

function freshName(): string {
  return `${prefix}${process.pid}-${++made}`;
}

/** True for what a run has made that is over. */
function isLeft(name: string): boolean {
  const [, pid] = /^dmb-(\d+)-\d+$/.exec(name) ?? [];
  return pid !== undefined && statSync(`/proc/${pid}`, { throwIfNoEntry: false }) === undefined;
}

export interface TestNamespace extends AsyncDisposable {
  readonly name: string;
  /** Its inode number. */
  readonly netns: number;
  /** Its file, for `nsenter --net=`. */
  readonly path: string;
  run(program: string, ...words: readonly string[]): string;
  /** Starts a process in it, which ends with it. */
  peer(options?: PeerOptions): Promise<Peer>;
}

export interface PeerOptions {
  /** Becomes that user once it runs. */
  readonly uid?: number;
  readonly cgroup?: TestCgroup;
}

/** A namespace with a loopback interface that is up and has these addresses beside its own. */
export async function openTestNamespace(...addresses: readonly string[]): Promise<TestNamespace> {
  for (const left of netnsNames().filter(isLeft)) ip("netns", "del", left);
  const name = freshName();
  ip("netns", "add", name);
  const path = `/run/netns/${name}`;
  const peers: Peer[] = [];
  const namespace: TestNamespace = {
    name,
    netns: statSync(path).ino,
    path,
    run: (program, ...words) =>
      execFileSync(needProgram("nsenter"), [`--net=${path}`, program, ...words], { encoding: "utf8" }),
    async peer(options = {}) {
      const peer = await Peer.start(path, options);
      peers.push(peer);
      return peer;
    },
    async [Symbol.asyncDispose]() {
      for (const peer of peers) await peer.end();
      ip("netns", "del", name);
    },
  };
  ip("-n", name, "link", "set", "lo", "up");
  for (const address of addresses) ip("-n", name, "address", "add", address, "dev", "lo");
  return namespace;
}

function netnsNames(): readonly string[] {
  try {
    return readdirSync("/run/netns");
  } catch {
    return []; // nobody has made one yet
  }
}

function ip(...words: readonly string[]): void {
  execFileSync("ip", words, { stdio: ["ignore", "ignore", "pipe"] });
}

/** Joins two namespaces by a cable: 10.77.0.1 and fd77::1 in the first, 10.77.0.2 and fd77::2 in the second. */
export function joinNamespaces(first: TestNamespace, second: TestNamespace): void {
  ip("link", "add", "cable0", "netns", first.name, "type", "veth", "peer", "name", "cable0", "netns", second.name);
  for (const [index, { name }] of [first, second].entries()) {
    ip("-n", name, "address", "add", `10.77.0.${index + 1}/24`, "dev", "cable0");
    ip("-n", name, "address", "add", `fd77::${index + 1}/64`, "dev", "cable0", "nodad");
    ip("-n", name, "link", "set", "cable0", "up");
  }
}

export interface TestCgroup extends Disposable {
  /** Below the mount. */
  readonly path: string;
  add(pid: number): void;
}

/** A control group of its own, at the given depth. */
export function openTestCgroup(depth: 1 | 2 = 1): TestCgroup {
  const root = cgroupMount()?.path ?? "";
  for (const left of readdirSync(root).filter(isLeft)) {
    for (const below of ["/app", ""])
      if (statSync(`${root}/${left}${below}`, { throwIfNoEntry: false })) rmdirSync(`${root}/${left}${below}`);
  }
  const paths = depth === 1 ? [`/${freshName()}`] : [`/${freshName()}`].flatMap((path) => [path, `${path}/app`]);
  for (const path of paths) mkdirSync(`${root}${path}`);
  const path = paths.at(-1) ?? "";
  return {
    path,
    add: (pid) => writeFileSync(`${root}${path}/cgroup.procs`, `${pid}`),
    [Symbol.dispose]() {
      for (const made of paths.toReversed()) rmdirSync(`${root}${made}`);
    },
  };
}

/** Resolves when `holds` does; fails after ten seconds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`it did not come to pass: ${what}`);
    await sleep(systemClock, 5);
  }
}

/** What a peer runs: commands come as lines of JSON, each with its answer; connections that end are told. */
const program = `
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
const say = (value) => process.stdout.write(JSON.stringify(value) + "\\n");
const sockets = new Map();
let last = 0;
function follow(socket, greeting) {
  const connection = ++last;
  sockets.set(connection, socket);
  let why = "closed";
  socket.on("error", ({ code }) => { why = code; });
  socket.on("close", () => say({ connection, ended: why }));
  if (greeting !== undefined) {
    socket.write(greeting + "\\n");
    socket.on("data", (bytes) => socket.write(bytes));
  }
  return connection;
}
const operations = {
  listen: (id, { host, port, greeting }) => {
    const server = createServer((socket) => follow(socket, greeting)).listen({ port, host, ipv6Only: host.includes(":") });
    server.on("error", ({ code }) => say({ id, error: code }));
    server.on("listening", () => say({ id, result: server.address().port }));
  },
  dial: (id, { host, port, family }) => {
    const socket = connect({ port, host });
    const connection = follow(socket);
    let heard = "";
    socket.on("error", ({ code }) => { if (heard === "") say({ id, error: code }); });
    socket.on("data", (bytes) => {
      const first = heard === "";
      heard += bytes;
      const { localAddress, localPort, remoteAddress, remotePort } = socket;
      if (first) say({ id, result: { connection, greeting: heard.trim(), localAddress, localPort, remoteAddress, remotePort } });
      else say({ connection, echoed: String(bytes).trim() });
    });
  },
  write: (id, { connection, text }) => { sockets.get(connection).write(text + "\\n"); say({ id, result: true }); },
  become: (id, { uid }) => {
    process.setgroups([]);
    process.setgid(uid);
    process.setuid(uid);
    say({ id, result: true });
  },
};
const lines = createInterface(process.stdin);
lines.on("line", (line) => { const { id, operation, ...given } = JSON.parse(line); operations[operation](id, given); });
lines.on("close", () => process.exit(0));
say({ id: 0, result: true });
`;

export interface Dialled {
  readonly connection: number;
  /** What the listener that took it says first. */
  readonly greeting: string;
  readonly flow: FlowAddress;
  /** Why it has ended; undefined while it stands. */
  ended(): string | undefined;
  /** Sends a text and resolves when it has come back. */
  echo(text: string): Promise<void>;
}

interface PeerLine {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: string;
  readonly connection?: number;
  readonly ended?: string;
  readonly echoed?: string;
}

/** A process in a namespace that listens and dials as it is told. */
export class Peer {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers = new Map<number, (line: PeerLine) => void>();
  readonly #echoes: PeerLine[] = [];
  #lastId = 0;
  /** Why connections have ended, of either side, in their order. */
  readonly ended: { readonly connection: number; readonly why: string }[] = [];

  private constructor(path: string) {
    this.#child = spawn(
      needProgram("nsenter"),
      [`--net=${path}`, process.execPath, "--input-type=module", "-e", program],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    createInterface(this.#child.stdout).on("line", (text) => this.#take(JSON.parse(text) as PeerLine));
  }

  static async start(path: string, { uid, cgroup }: PeerOptions): Promise<Peer> {
    const peer = new Peer(path);
    await new Promise((resolve) => peer.#answers.set(0, resolve));
    cgroup?.add(peer.pid);
    if (uid !== undefined) await peer.#ask("become", { uid });
    return peer;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Resolves to the port; whoever is accepted hears the greeting. */
  async listen(address: { readonly host: string; readonly port?: number }, greeting: string): Promise<number> {
    return (await this.#ask("listen", { port: 0, ...address, greeting })) as number;
  }

  /** Resolves when the listener has said its greeting; rejects with the code of the error. */
  async dial({ host, port }: HostAddress): Promise<Dialled> {
    const dialled = (await this.#ask("dial", { host, port })) as {
      readonly connection: number;
      readonly greeting: string;
      readonly localAddress: string;
      readonly localPort: number;
      readonly remoteAddress: string;
      readonly remotePort: number;
    };
    const { connection, greeting } = dialled;
    return {
      connection,
      greeting,
      flow: {
        local: { host: dialled.localAddress, port: dialled.localPort },
        remote: { host: dialled.remoteAddress, port: dialled.remotePort },
      },
      ended: () => this.ended.find((end) => end.connection === connection)?.why,
      echo: async (text) => {
        await this.#ask("write", { connection, text });
        await until(`${text} comes back`, () =>
          this.#echoes.some((line) => line.connection === connection && line.echoed === text),
        );
      },
    };
  }

  async write(connection: number, text: string): Promise<void> {
    await this.#ask("write", { connection, text });
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.stdin.end();
    await once(this.#child, "close");
  }

  #take(line: PeerLine): void {
    if (line.id !== undefined) {
      this.#answers.get(line.id)?.(line);
      this.#answers.delete(line.id);
    } else if (line.ended !== undefined) this.ended.push({ connection: line.connection ?? -1, why: line.ended });
    else this.#echoes.push(line);
  }

  async #ask(operation: string, given: object): Promise<unknown> {
    const id = ++this.#lastId;
    const answered = new Promise<PeerLine>((resolve) => this.#answers.set(id, resolve));
    this.#child.stdin.write(`${JSON.stringify({ id, operation, ...given })}\n`);
    const { result, error } = await answered;
    if (error !== undefined) throw new Error(error);
    return result;
  }
}
