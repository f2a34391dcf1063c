/** What a process provides and what it calls, from what stands in its registry and from its connections. */
import type { ProcessFacts } from "../../process/facts.ts";
import { addressText } from "../addresses.ts";
import type { CalledService } from "../record.ts";
import { type Checks, someOf } from "./check.ts";
import { dialled, type Registry } from "./registry.ts";
import type { Entry, Tree } from "./tree.ts";

/** Of the process, from where it is. */
export interface Surroundings {
  /** The addresses of its network namespace. */
  readonly addresses: readonly string[];
  /** Its id as it sees itself, in each namespace of process ids; undefined where /proc hides that. */
  readonly pids: readonly number[] | undefined;
}

export interface Usage {
  readonly chroot: string;
  readonly provided: readonly Entry[];
  readonly consumed: readonly Entry[];
  readonly calls: readonly CalledService[];
  /** Where it calls somebody whom its registry does not name. */
  readonly peers: readonly string[];
}

const maxCalls = 200;
const maxAddresses = 64;
/** What the sidecar carries (docs/zookeeper-directory.md). */
const carried: ReadonlySet<string> = new Set(["dubbo", "bolt"]);
const knownClients = /^(Dubbo (2\.7|3)\.|SOFA-RPC 5\.)/;

export function usageOf(facts: ProcessFacts, tree: Tree, registry: Registry, around: Surroundings): Usage {
  const provided = tree.entries.filter((entry) => entry.kind === "provider" && isProvided(entry, facts, around));
  const providers = tree.entries.filter((entry) => entry.kind === "provider" && !provided.includes(entry));
  const remotes = new Set(dialled(facts).map(({ remote }) => addressText(remote)));
  const said = tree.entries.filter((entry) => entry.kind === "consumer" && isConsumer(entry, around));
  const wanted = new Set(said.flatMap(({ services }) => services));
  const calledNow = providers.filter(({ host, port }) => remotes.has(addressText({ host, port })));
  // A consumer of Dubbo 3 does not say that it is one; whom it is connected to says it.
  const services = new Set([...wanted, ...calledNow.flatMap((entry) => entry.services)]);
  const own = new Set(provided.map(({ host, port }) => addressText({ host, port })));
  const calls = [...services].slice(0, maxCalls).flatMap((service) => {
    const direct = tree.entries
      .filter((entry) => entry.kind === "provider" && entry.services[0] === service)
      .slice(0, maxAddresses)
      .map(({ host, port }) => ({ host, port }));
    return direct.length === 0 && !wanted.has(service) ? [] : [{ service, direct }];
  });
  const known = new Set(providers.map(({ host, port }) => addressText({ host, port })));
  const isKnown = (remote: string): boolean =>
    registry.servers.includes(remote) || known.has(remote) || own.has(remote);
  return {
    chroot: tree.chroot,
    provided,
    consumed: said.length > 0 ? said : calledNow,
    calls,
    peers: [...remotes].filter((remote) => !isKnown(remote)),
  };
}

function isProvided(entry: Entry, { listening }: ProcessFacts, { addresses, pids }: Surroundings): boolean {
  const listens = listening.some(
    ({ host, port }) => port === entry.port && (host === entry.host || host === "0.0.0.0" || host === "::"),
  );
  // Process ids alone say little: in containers they are small, and ports are alike.
  return listens && addresses.includes(entry.host) && mayBe(entry.pid, pids);
}

function isConsumer({ host, pid }: Entry, { addresses, pids }: Surroundings): boolean {
  return addresses.includes(host) && mayBe(pid, pids);
}

function mayBe(pid: number | undefined, pids: readonly number[] | undefined): boolean {
  return pid === undefined || pids === undefined || pids.includes(pid);
}

/** True when somebody's use of a registry was found at all. */
export function usesAnything({ provided, calls }: Usage): boolean {
  return provided.length > 0 || calls.length > 0;
}

export function sayUsage(usage: Usage, only: "provider" | "consumer" | undefined, checks: Checks): void {
  const { provided, consumed, calls, peers, chroot } = usage;
  const where = chroot === "" ? "" : ` below ${chroot}`;
  const names = (entries: readonly Entry[]): readonly string[] => [
    ...new Set(entries.flatMap(({ services }) => services)),
  ];
  const able = provided.filter(({ scheme }) => carried.has(scheme));
  if (able.length > 0) checks.ok("provides", `${someOf(names(able))}${where}`);
  else if (provided.length === 0) checks.ok("provides", `nothing${where}`);
  const other = provided.filter((entry) => !able.includes(entry));
  if (other.length > 0) {
    const schemes = [...new Set(other.map(({ scheme }) => scheme))].join(", ");
    checks.warn(
      "protocol",
      `${someOf(names(other))} is offered by ${schemes}, which no sidecar carries: it stays as it is`,
    );
  }
  if (calls.length > 0) checks.ok("consumes", someOf(calls.map(({ service }) => service)));
  else checks.ok("consumes", "nothing that its registry knows of");
  sayClients([...provided, ...consumed], checks);
  if (peers.length > 0) {
    checks.warn(
      "peers",
      `it is connected to ${someOf(peers)}, of which its registry says nothing: what it calls at addresses of its own stays as it is`,
    );
  }
  const wants = { provider: able.length > 0, consumer: calls.length > 0 };
  if (only !== undefined ? wants[only] : wants.provider || wants.consumer) return;
  const what = only === undefined ? "provides or consumes" : only === "provider" ? "provides" : "consumes";
  checks.stop(
    "nothing",
    `nothing that it ${what} can be carried${where}: name the root node of its registry with --chroot, or see that it has registered`,
  );
}

function sayClients(entries: readonly Entry[], checks: Checks): void {
  const clients = [...new Set(entries.map(({ client }) => client))].filter((client) => client !== "");
  const known = clients.filter((client) => knownClients.test(client));
  const others = clients.filter((client) => !known.includes(client));
  if (known.length > 0) checks.ok("client", known.join(", "));
  if (others.length > 0) {
    checks.warn("client", `${others.join(", ")} was not tried with a move: Dubbo 2.7 and 3 and SOFA-RPC 5 were`);
  }
}

/** The one address by which others reach the process. */
export function hostOf(
  usage: Usage,
  facts: ProcessFacts,
  registry: Registry,
  given: string | undefined,
  checks: Checks,
): string {
  const own = [...new Set(usage.provided.map(({ host }) => host))];
  const dialledFrom = dialled(facts).find(({ remote }) => registry.servers.includes(addressText(remote)))?.local.host;
  const host = given ?? own[0] ?? dialledFrom ?? "";
  if (given === undefined && own.length > 1) {
    checks.warn("host", `it registers itself under ${own.join(" and ")}; ${host} is used, which --host can change`);
  }
  if (own.some((one) => isLoopback(one))) {
    checks.stop(
      "host",
      `it registers itself at ${host}, which only this machine reaches: give it the address that others reach`,
    );
  }
  return host;
}

export function isLoopback(host: string): boolean {
  return host.startsWith("127.") || host === "::1";
}
