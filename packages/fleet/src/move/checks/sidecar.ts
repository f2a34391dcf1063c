/** Which sidecar a process is moved by: one that runs beside it and has its instances from the same ensemble, or one that is started. */
import { isMeshError } from "@dualmesh/base/errors";
import type { CrossingList } from "@dualmesh/model/crossing";
import type { Privileged, StateDirectory, User } from "../../host/host.ts";
import { addressText, readAddress } from "../addresses.ts";
import { ownSidecarConfiguration, ownSidecarState } from "../own-sidecars.ts";
import type { MoveRecord, OwnSidecar } from "../record.ts";
import { type Checks, someOf } from "./check.ts";
import type { Registry, RegistryMeans } from "./registry.ts";

export interface SidecarMeans extends Pick<RegistryMeans, "resolve"> {
  readonly privileged: Pick<Privileged, "stateDirectories">;
  readonly list: (state: string) => Promise<CrossingList>;
  /** Process id of the one that answers at a state directory. */
  readonly pidOf: (state: string) => Promise<number | undefined>;
  readonly moves: string;
  /** What the sidecar of a state directory was started with, if a mover started it. */
  readonly ownConfiguration: (state: string) => Promise<string | undefined>;
  /** The moves directory whose movers started the sidecar of a state directory, if they did. */
  readonly movesOf: (state: string) => Promise<string | undefined>;
  /** As whom a sidecar is started. */
  readonly user: User;
  /** The ids of the users whose sidecars are used unasked: anybody may listen in a directory that looks like one, and would be handed the application's session. */
  readonly trusted: readonly number[];
}

export interface SidecarWish {
  readonly netns: number;
  readonly registry: Registry;
  readonly chroot: string;
  readonly host: string;
  /** As the operator names it. */
  readonly state: string | undefined;
}

export interface SidecarChoice {
  readonly sidecar: MoveRecord["sidecar"];
  /** Of the one that runs already. */
  readonly pid: number | undefined;
}

/** Undefined when the lines say why there is none. */
export async function chooseSidecar(
  wish: SidecarWish,
  means: SidecarMeans,
  checks: Checks,
): Promise<SidecarChoice | undefined> {
  const { netns, registry, chroot, host, state } = wish;
  if (state !== undefined) return named(state, wish, means, checks);
  const servers = registry.servers;
  const started = ownSidecarState(means.moves, netns, servers, chroot);
  const own: OwnSidecar = { user: means.user, configuration: ownSidecarConfiguration(servers, chroot, host) };
  const found = await means.privileged.stateDirectories(netns);
  const isTrusted = ({ uid, isPrivate }: StateDirectory): boolean => isPrivate && means.trusted.includes(uid);
  for (const directory of found.filter(isTrusted)) {
    const list = await listOf(directory.path, means);
    if (list === undefined || (await whyNot(list, wish, means)) !== undefined) continue;
    const { path } = directory;
    if (await isOthers(path, means, checks)) return undefined;
    checks.ok("sidecar", `the one at ${path}, which ${whoRuns(directory)} runs, serves ${servedBy(list)}`);
    return chosen(path, means);
  }
  const others = found.filter((directory) => !isTrusted(directory));
  if (others.length > 0) {
    const text = someOf(others.map((directory) => `${directory.path} of ${whoRuns(directory)}`));
    checks.ok(
      "sidecar",
      `not asked, since it is neither root's, dualmesh's nor user ${means.user.uid}'s alone: ${text}; name it with --state if it is meant`,
    );
  }
  const text = `none runs beside it for this registry; one is started, as ${whoRuns(means.user)}, with its state in ${started}`;
  if (means.user.uid === 0) checks.warn("sidecar", `${text}: say another user with --user`);
  else checks.ok("sidecar", text);
  return { sidecar: { state: started, own }, pid: undefined };
}

function whoRuns({ uid }: Pick<User, "uid">): string {
  return uid === 0 ? "root" : `user ${uid}`;
}

function servedBy({ directory }: CrossingList): string {
  return directory.addresses.join(", ");
}

async function named(
  state: string,
  wish: SidecarWish,
  means: SidecarMeans,
  checks: Checks,
): Promise<SidecarChoice | undefined> {
  let list: CrossingList;
  try {
    list = await means.list(state);
  } catch (error) {
    if (!isMeshError(error)) throw error;
    checks.stop(
      "sidecar",
      `no sidecar answers at ${state} (${error.message}): start it, or leave --state out and one is started`,
    );
    return undefined;
  }
  const why = await whyNot(list, wish, means);
  if (why !== undefined) {
    checks.stop("sidecar", `the sidecar at ${state} ${why}`);
    return undefined;
  }
  if (await isOthers(state, means, checks)) return undefined;
  const directory = (await means.privileged.stateDirectories(wish.netns)).find(({ path }) => path === state);
  const whose = directory === undefined ? "" : `, which ${whoRuns(directory)} runs,`;
  checks.ok("sidecar", `the one at ${state}${whose} serves ${servedBy(list)}`);
  return chosen(state, means);
}

/** Whoever moves the last process of another moves directory out ends its sidecar without a look at this one, and starts it for nobody here. */
async function isOthers(state: string, { moves, movesOf }: SidecarMeans, checks: Checks): Promise<boolean> {
  const theirs = await movesOf(state);
  if (theirs === undefined || theirs === moves) return false;
  checks.stop(
    "sidecar",
    `the one at ${state} was started for the moves in ${theirs}, and ends with the last of them: move this process with --moves ${theirs} as well, or by another sidecar, which --state names`,
  );
  return true;
}

/** One that runs: the next mover's own as well when a mover started it, so that the last of their moves ends it. */
async function chosen(state: string, { user, ownConfiguration, pidOf }: SidecarMeans): Promise<SidecarChoice> {
  const configuration = await ownConfiguration(state);
  const own = configuration === undefined ? undefined : { user, configuration };
  return { sidecar: { state, own }, pid: await pidOf(state) };
}

/** Undefined for what is no sidecar, or another user's. */
async function listOf(state: string, means: SidecarMeans): Promise<CrossingList | undefined> {
  try {
    return await means.list(state);
  } catch (error) {
    if (isMeshError(error)) return undefined;
    throw error;
  }
}

async function whyNot(
  { directory }: CrossingList,
  { registry, chroot }: SidecarWish,
  { resolve }: SidecarMeans,
): Promise<string | undefined> {
  const { kind, addresses } = directory;
  if (kind !== "zookeeper")
    return `has its instances from "${kind}": it needs directory: zookeeper, with the servers of this registry`;
  const places = await Promise.all(
    addresses.map(async (text) => {
      const address = readAddress(text);
      const hosts = address === undefined ? [] : await resolve(address.host).catch(() => []);
      return hosts.map((host) => addressText({ host, port: address?.port ?? 0 }));
    }),
  );
  if (!places.flat().some((place) => registry.servers.includes(place))) {
    return `is at another registry (${addresses.join(", ")}): it needs one at ${registry.servers.join(", ")}`;
  }
  if (directory.chroot !== chroot) {
    return `has ${directory.chroot || "no"} root node of its own and the process ${chroot || "none"}: set zookeeper.chroot alike`;
  }
  return undefined;
}
