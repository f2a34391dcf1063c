/**
 * What may be asked of who holds privileges, and nothing else: every value that becomes a word of a command, a line of a rule or a path is read
 * here, from `unknown`, and comes out in one canonical form. The process with the privileges reads at its edge what it is sent, and each operation
 * reads again what it is given, so that neither relies on the other. All throw `host.malformed`.
 */
import { isIPv4, isIPv6, SocketAddress } from "node:net";
import { inspect } from "node:util";
import { MeshError } from "@dualmesh/base/errors";
import type { ProcessName } from "../process/facts.ts";
import type {
  CaptureOptions,
  CatchRule,
  FlowAddress,
  ForwardRule,
  HostAddress,
  Selection,
  StartOptions,
  User,
} from "./host.ts";
import type { Hello, Request } from "./messages.ts";

const maxWays = 64;
const maxForwards = 256;
const maxFlows = 1_024;
const maxPorts = 64;
const maxWords = 64;
const maxUsers = 64;
const maxWordLength = 4_096;
/** What tcpdump takes as "all of it". */
export const wholePacketBytes = 262_144;
/** The kernel's own limit of a path, less its end. */
const maxPathLength = 4_095;
/** The largest user id that is one: the next means "nobody changes". */
const maxUid = 0xffff_fffe;

type Fields = Readonly<Record<string, unknown>>;

function malformed(what: string, given: unknown, wanted: string): MeshError {
  const shown = inspect(given, { depth: 1, breakLength: Number.POSITIVE_INFINITY, maxStringLength: 100 }).slice(0, 100);
  return new MeshError("host.malformed", `${what} is ${shown}, and should be ${wanted}`);
}

/** An object with these fields and no other. */
function fieldsOf(given: unknown, what: string, names: readonly string[], optional: readonly string[] = []): Fields {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw malformed(what, given, `an object with ${names.join(", ")}`);
  }
  for (const name of names) {
    if (!Object.hasOwn(given, name)) throw malformed(what, given, `an object with ${names.join(", ")}`);
  }
  for (const name of Object.keys(given)) {
    if (!names.includes(name) && !optional.includes(name)) throw malformed(what, name, "without that field");
  }
  return given as Fields;
}

function kindOf(given: unknown): unknown {
  return typeof given === "object" && given !== null && "kind" in given ? given.kind : undefined;
}

function listOf<T>(given: unknown, what: string, max: number, read: (each: unknown) => T): readonly T[] {
  if (!Array.isArray(given) || given.length > max) throw malformed(what, given, `a list of at most ${max}`);
  return given.map(read);
}

function integerOf(given: unknown, what: string, min: number, max: number): number {
  if (typeof given !== "number" || !Number.isInteger(given) || given < min || given > max) {
    throw malformed(what, given, `a whole number from ${min} to ${max}`);
  }
  return given;
}

/** Text without control characters. */
function textOf(given: unknown, what: string, max: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused
  if (typeof given !== "string" || given.length > max || /[\u0000-\u001f\u007f]/.test(given)) {
    throw malformed(what, given, `text of at most ${max} characters, without control characters`);
  }
  return given;
}

export function readName(given: unknown): string {
  if (typeof given !== "string" || !/^[A-Za-z0-9-]{1,64}$/.test(given)) {
    throw malformed("a name", given, "1 to 64 letters, digits and hyphens");
  }
  return given;
}

export function readPort(given: unknown): number {
  return integerOf(given, "a port", 1, 65_535);
}

export function readPid(given: unknown): number {
  return integerOf(given, "a process id", 1, 0x7fff_ffff);
}

/** The inode number of a network namespace. */
export function readNetns(given: unknown): number {
  return integerOf(given, "a network namespace", 1, Number.MAX_SAFE_INTEGER);
}

/** An IP address in its shortest form; a v4 address that is mapped into v6 is v4. */
function readIp(given: unknown): string {
  if (typeof given === "string" && given.length <= 45 && /^[0-9A-Fa-f.:]+$/.test(given)) {
    if (isIPv4(given)) return given;
    if (isIPv6(given)) {
      const { address } = new SocketAddress({ address: given, family: "ipv6" });
      return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1] ?? address;
    }
  }
  throw malformed("a host", given, "an IP address, without brackets, zone or mask");
}

function readAddress(given: unknown): HostAddress {
  const { host, port } = fieldsOf(given, "an address", ["host", "port"]);
  return { host: readIp(host), port: readPort(port) };
}

/** An address of one place, not of all. */
function readPlace(given: unknown): HostAddress {
  const address = readAddress(given);
  if (address.host === "0.0.0.0" || address.host === "::") {
    throw malformed("a host", address.host, "the address of one place, not of all");
  }
  return address;
}

/** The path of a cgroup below the mount, without `/` alone: that is everybody. */
export function readCgroupPath(given: unknown): string {
  const path = textOf(given, "a cgroup", maxPathLength);
  const parts = path.split("/").slice(1);
  // A quote would end the text in the rule, and there is no way to write one there.
  const plain = path.startsWith("/") && !path.includes('"') && parts.every((part) => !["", ".", ".."].includes(part));
  if (!plain) throw malformed("a cgroup", path, 'a path like /system.slice/pay.service, without quotes, "." and ".."');
  return path;
}

export function readSelection(given: unknown): Selection {
  const kind = kindOf(given);
  if (kind === "cgroup")
    return { kind, path: readCgroupPath(fieldsOf(given, "a selection", ["kind", "path"])["path"]) };
  if (kind === "uid") return { kind, uid: readUid(fieldsOf(given, "a selection", ["kind", "uid"])["uid"]) };
  throw malformed("a selection", given, 'of the kind "cgroup" or "uid"');
}

function readUid(given: unknown): number {
  return integerOf(given, "a user id", 0, maxUid);
}

export function readUser(given: unknown): User {
  const { uid, gid } = fieldsOf(given, "a user", ["uid", "gid"]);
  return { uid: readUid(uid), gid: integerOf(gid, "a group id", 0, maxUid) };
}

export function readCatchRule(given: unknown): CatchRule {
  const fields = fieldsOf(given, "a rule", ["name", "of", "ways"]);
  const ways = listOf(fields["ways"], "the ways of a rule", maxWays, (each) => {
    const way = fieldsOf(each, "a way", ["server", "port"]);
    return { server: readPlace(way["server"]), port: readPort(way["port"]) };
  });
  if (ways.length === 0) throw malformed("the ways of a rule", ways, "one at least");
  const rule = { name: readName(fields["name"]), of: readSelection(fields["of"]), ways };
  onlyOnce(ways.map(({ server }) => server));
  return rule;
}

export function readForwardRules(given: unknown): readonly ForwardRule[] {
  const rules = listOf(given, "the rules", maxForwards, (each) => {
    const { published, appPort } = fieldsOf(each, "a rule", ["published", "appPort"]);
    return { published: readPlace(published), appPort: readPort(appPort) };
  });
  if (rules.length === 0) throw malformed("the rules", rules, "one at least");
  onlyOnce(rules.map(({ published }) => published));
  return rules;
}

/** The first of two rules for an address would win in silence. */
function onlyOnce(addresses: readonly HostAddress[]): void {
  const seen = new Set<string>();
  for (const { host, port } of addresses) {
    const text = `${host} port ${port}`;
    if (seen.has(text)) throw malformed("an address", text, "named by one rule only");
    seen.add(text);
  }
}

export function readFlows(given: unknown): readonly FlowAddress[] {
  return listOf(given, "the connections", maxFlows, (each) => {
    const { local, remote } = fieldsOf(each, "a connection", ["local", "remote"]);
    const flow = { local: readPlace(local), remote: readPlace(remote) };
    if (isIPv4(flow.local.host) !== isIPv4(flow.remote.host)) {
      throw malformed("a connection", flow, "between two addresses of one family");
    }
    return flow;
  });
}

export type CaptureRequest = Omit<CaptureOptions, "onBytes" | "onEnd">;

export function readCaptureRequest(given: unknown): CaptureRequest {
  const fields = fieldsOf(given, "a capture", ["ports"], ["snapBytes"]);
  const ports = listOf(fields["ports"], "the ports", maxPorts, readPort);
  if (ports.length === 0) throw malformed("the ports", ports, "one at least");
  if (fields["snapBytes"] === undefined) return { ports };
  return { ports, snapBytes: integerOf(fields["snapBytes"], "the bytes of a packet", 96, wholePacketBytes) };
}

export function readProcessName(given: unknown): ProcessName {
  const kind = kindOf(given);
  if (kind === "pid") return { kind, pid: readPid(fieldsOf(given, "a process", ["kind", "pid"])["pid"]) };
  if (kind !== "unit" && kind !== "cgroup" && kind !== "netns") {
    throw malformed("a process", given, 'named by "pid", "unit", "cgroup" or "netns"');
  }
  const { name } = fieldsOf(given, "a process", ["kind", "name"]);
  if (kind === "cgroup") return { kind, name: readCgroupPath(name) };
  const text = textOf(name, `the name of a ${kind}`, 255);
  if (text === "" || text.includes("/") || text.startsWith(".")) {
    throw malformed(`the name of a ${kind}`, text, "a name, not a path");
  }
  return { kind, name: text };
}

/** An absolute path without `.` and `..`. */
export function readPath(given: unknown): string {
  const path = textOf(given, "a path", maxPathLength);
  const plain = path.startsWith("/") && !path.split("/").some((part) => part === "." || part === "..");
  if (!plain || path === "/") throw malformed("a path", path, 'an absolute one without "." and ".."');
  return path;
}

export function readStart(given: unknown): StartOptions {
  const fields = fieldsOf(given, "a start", ["netns", "words", "log"], ["user"]);
  const user = fields["user"] ?? undefined;
  const words = listOf(fields["words"], "the words", maxWords, (word) => textOf(word, "a word", maxWordLength));
  return {
    netns: readNetns(fields["netns"]),
    user: user === undefined ? undefined : readUser(user),
    words: isSidecar(words) ? words : readGuardWords(words, user),
    log: readPath(fields["log"]),
  };
}

function isSidecar([first, second]: readonly string[]): boolean {
  return first === "sidecar" && second === "run";
}

/** A guard begins with privileges, so that nothing is left open of what it is told. */
function readGuardWords(words: readonly string[], user: unknown): readonly string[] {
  const [first, second, flag, moves, ...others] = words;
  if (first !== "move" || second !== "guard" || flag !== "--moves" || others.length > 0 || user !== undefined) {
    throw malformed(
      "a command",
      words.slice(0, 3).join(" "),
      '"sidecar run …", or "move guard --moves DIR" and no user',
    );
  }
  return [first, second, flag, readPath(moves)];
}

/** The first line to the agent. */
export function readHello(given: unknown): Hello {
  const { version, asker, users } = fieldsOf(given, "the first line", ["version", "asker", "users"]);
  return {
    version: integerOf(version, "the version", 0, 1_000_000),
    asker: readUser(asker),
    users: listOf(users, "the users", maxUsers, readUser),
  };
}

/** Each line after it; what the operation makes of its arguments is read by itself. */
export function readRequest(given: unknown): Request {
  const fields = fieldsOf(given, "a request", ["id", "operation", "arguments"], ["netns"]);
  return {
    id: integerOf(fields["id"], "the number of a request", 1, Number.MAX_SAFE_INTEGER),
    operation: textOf(fields["operation"], "an operation", 64),
    ...(fields["netns"] === undefined ? {} : { netns: readNetns(fields["netns"]) }),
    arguments: listOf(fields["arguments"], "the arguments", 2, (each) => each),
  };
}
