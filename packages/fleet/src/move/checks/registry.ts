/** Which registry a process uses, by its connections, and all of its servers. */
import type { Clock } from "@dualmesh/base/clock";
import { isMeshError } from "@dualmesh/base/errors";
import type { HostAddress } from "../../host/host.ts";
import type { ProcessFacts } from "../../process/facts.ts";
import { addressText, readAddress } from "../addresses.ts";
import { type Checks, someOf } from "./check.ts";
import type { Reader } from "./reader.ts";
import { isOld, type ServerAnswer } from "./server.ts";
import { findChroots, fingerprint, membersOf } from "./tree.ts";

export interface RegistryMeans {
  readonly clock: Clock;
  readonly askServer: (address: HostAddress) => Promise<ServerAnswer | undefined>;
  /** The IP addresses of a name; rejects when it has none. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
  readonly reading: <Result>(
    addresses: readonly string[],
    read: (reader: Reader) => Promise<Result>,
  ) => Promise<Result>;
}

export interface Registry {
  /** `host:port` of each server that the process may dial, an IP address each. */
  readonly servers: readonly string[];
  /** Those that it is connected to. */
  readonly connected: readonly string[];
}

/** Where a ZooKeeper listens that nobody has told otherwise. */
export const usualPort = 2_181;
const maxServers = 32;

/** Undefined when the lines say why not. `given` is what the operator says, `HOST:PORT,…`. */
export async function findRegistry(
  facts: ProcessFacts,
  given: readonly string[],
  means: RegistryMeans,
  checks: Checks,
): Promise<Registry | undefined> {
  const remotes = [...new Set(dialled(facts).map(({ remote }) => addressText(remote)))];
  const connected =
    given.length > 0 ? await givenServers(given, remotes, means, checks) : await asked(remotes, means, checks);
  if (connected === undefined) return undefined;
  const others = await hinted(facts, given, connected.servers, means);
  const registry = await oneEnsemble(connected, others, means, checks);
  return registry;
}

/** Connections that the process dialled itself. */
export function dialled({ connections, listening }: ProcessFacts): ProcessFacts["connections"] {
  const ports = new Set(listening.map(({ port }) => port));
  return connections.filter(({ local }) => !ports.has(local.port));
}

interface Found {
  readonly servers: readonly string[];
  readonly connected: readonly string[];
}

async function givenServers(
  given: readonly string[],
  remotes: readonly string[],
  means: RegistryMeans,
  checks: Checks,
): Promise<Found | undefined> {
  const servers: string[] = [];
  for (const text of given) {
    const places = await placesOf(text, means);
    if (places.length === 0) {
      checks.stop("registry", `the server ${text} has no address: correct --zookeeper`);
      return undefined;
    }
    servers.push(...places);
  }
  const connected = servers.filter((server) => remotes.includes(server));
  if (connected.length === 0) {
    checks.stop(
      "registry",
      `the process has no connection to ${given.join(", ")}; it is connected to ${someOf(remotes) || "nobody"}: correct --zookeeper`,
    );
    return undefined;
  }
  return { servers, connected };
}

async function asked(remotes: readonly string[], means: RegistryMeans, checks: Checks): Promise<Found | undefined> {
  const usual = remotes.filter((remote) => readAddress(remote)?.port === usualPort);
  const connected = await answering(usual.slice(0, maxServers), means);
  if (connected.length > 0) return { servers: connected, connected };
  // Others are databases and services, which would log a stranger's word as an attack or an error.
  const text =
    usual.length > 0
      ? `${someOf(usual)} does not answer as ZooKeeper does`
      : `none of its connections leads to a ZooKeeper at port ${usualPort}, and who is at other ports is asked only when it is named`;
  checks.stop("registry", `${text}: name the servers of its registry with --zookeeper HOST:PORT,…`);
  return undefined;
}

async function answering(addresses: readonly string[], { askServer }: RegistryMeans): Promise<readonly string[]> {
  const answers = await Promise.all(
    addresses.map(async (text) => {
      const address = readAddress(text);
      return address === undefined ? undefined : await askServer(address);
    }),
  );
  return addresses.filter((_, index) => answers[index] !== undefined);
}

/** Servers that the words of its command name, and the members that the ensemble itself knows. */
async function hinted(
  { command }: ProcessFacts,
  given: readonly string[],
  servers: readonly string[],
  means: RegistryMeans,
): Promise<readonly string[]> {
  const ports = new Set(servers.map((server) => readAddress(server)?.port));
  const named = given.length > 0 ? [] : (command.join(" ").match(/[A-Za-z0-9_.-]+:\d{1,5}(?!\d)/g) ?? []);
  const members = await means.reading(servers, membersOf).catch((error) => {
    if (isMeshError(error)) return []; // said by who reads the tree
    throw error;
  });
  const texts = [...named.filter((text) => ports.has(Number(text.slice(text.lastIndexOf(":") + 1)))), ...members];
  const places = await Promise.all([...new Set(texts)].slice(0, maxServers).map((text) => placesOf(text, means)));
  return [...new Set(places.flat())].filter((place) => !servers.includes(place));
}

/** The servers that stand for one tree. Two trees at once stop a move, unless the operator has said which is meant. */
async function oneEnsemble(
  { servers, connected }: Found,
  others: readonly string[],
  means: RegistryMeans,
  checks: Checks,
): Promise<Registry | undefined> {
  const prints = new Map<string, string>();
  for (const server of [...servers, ...others].slice(0, maxServers)) {
    const answer = await means.askServer(readAddress(server) as HostAddress);
    if (answer === undefined) {
      if (connected.includes(server)) {
        checks.stop(
          "registry",
          `${server} does not answer from here: open it for this machine, or correct --zookeeper`,
        );
        return undefined;
      }
      if (servers.includes(server)) {
        checks.warn("registry", `${server} does not answer now; new connections to it are led to a door all the same`);
        prints.set(server, "");
      }
      continue;
    }
    say(server, answer, connected.includes(server), checks);
    prints.set(server, await printOf(server, means));
  }
  const kinds = new Set([...prints].filter(([server]) => connected.includes(server)).map(([, print]) => print));
  if (kinds.size > 1) {
    checks.stop(
      "registry",
      `the process uses several registries (${connected.join(", ")}), and one is moved at a time: name the servers of it with --zookeeper`,
    );
    return undefined;
  }
  const [print = ""] = kinds;
  const same = [...prints]
    .filter(([server, own]) => servers.includes(server) || own === print)
    .map(([server]) => server);
  return { servers: same, connected };
}

async function printOf(server: string, { reading: read }: RegistryMeans): Promise<string> {
  try {
    return await read([server], async (reader) => fingerprint(reader, await findChroots(reader)));
  } catch (error) {
    if (isMeshError(error)) return "";
    throw error;
  }
}

function say(server: string, answer: ServerAnswer, isConnected: boolean, checks: Checks): void {
  const version = answer.version === "" ? "of a version that it does not say" : answer.version;
  const text = `${server} is ZooKeeper ${version}${answer.mode === "" ? "" : `, ${answer.mode}`}${isConnected ? "" : ", not connected to now"}`;
  if (isOld(answer)) {
    checks.warn("registry", `${text}: its watches tell once, so that changes that follow each other closely come late`);
  } else checks.ok("registry", text);
}

/** The places of `host:port`, with the addresses that the name has. */
async function placesOf(text: string, { resolve }: RegistryMeans): Promise<readonly string[]> {
  const address = readAddress(text);
  if (address === undefined) return [];
  try {
    return (await resolve(address.host)).map((host) => addressText({ host, port: address.port }));
  } catch {
    return [];
  }
}
