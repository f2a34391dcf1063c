/** What stands in the registry of Dubbo and SOFA-RPC: who provides what, and who has said that it calls what. */
import { isMeshError } from "@dualmesh/base/errors";
import { dubboLayout } from "@dualmesh/dialects/zookeeper/dubbo-layout";
import type { Layout } from "@dualmesh/dialects/zookeeper/layout";
import { decodeName, parseProviderUrl } from "@dualmesh/dialects/zookeeper/provider-url";
import { sofaLayout } from "@dualmesh/dialects/zookeeper/sofa-layout";
import type { Reader } from "./reader.ts";

export interface Entry {
  readonly kind: "provider" | "consumer";
  readonly dialect: string;
  readonly path: string;
  /** Canonical texts; one for a provider. */
  readonly services: readonly string[];
  /** As in the URL: `dubbo`, `tri`, `bolt`, `consumer`, … */
  readonly scheme: string;
  readonly host: string;
  /** 0 for a consumer. */
  readonly port: number;
  /** As the process itself sees its id; undefined when it does not say. */
  readonly pid: number | undefined;
  /** `Dubbo 2.7.23`, `SOFA-RPC 5.13.2`; empty when it does not say. */
  readonly client: string;
}

export interface Tree {
  /** The node that is the root for applications; empty for the ensemble's own. */
  readonly chroot: string;
  readonly entries: readonly Entry[];
  /** False when there is more than was read. */
  readonly whole: boolean;
}

const layouts: readonly Layout[] = [dubboLayout(), sofaLayout()];
const rootNames: ReadonlySet<string> = new Set(layouts.map(({ root }) => root.slice(1)));
/** Nodes of registries and of ZooKeeper itself, below which no other registry is. */
const closed: ReadonlySet<string> = new Set([...rootNames, "zookeeper", "services"]);
const maxDepth = 3;
const maxLooked = 2_000;
const maxInterfaces = 20_000;
const maxEntries = 100_000;
/** Requests under way at once. */
const breadth = 64;

/** The nodes below which a registry of these frameworks stands. */
export async function findChroots(reader: Reader): Promise<readonly string[]> {
  const found: string[] = [];
  let level = [""];
  let looked = 0;
  for (let depth = 0; depth <= maxDepth && level.length > 0 && looked < maxLooked; depth++) {
    const some = level.slice(0, maxLooked - looked);
    looked += some.length;
    const below = await each(some, async (path) => {
      const names = await childrenOf(reader, path === "" ? "/" : path);
      if (names.some((name) => rootNames.has(name))) found.push(path);
      return names.filter((name) => !closed.has(name)).map((name) => `${path}/${name}`);
    });
    level = below.flat();
  }
  return found.sort();
}

export async function readTree(reader: Reader, chroot: string): Promise<Tree> {
  const entries: Entry[] = [];
  let whole = true;
  for (const layout of layouts) {
    const root = `${chroot}${layout.root}`;
    const names = await childrenOf(reader, root);
    if (names.length > maxInterfaces) whole = false;
    await each(names.slice(0, maxInterfaces), async (interfaceName) => {
      for (const kind of ["provider", "consumer"] as const) {
        const folder = `${root}/${interfaceName}/${kind}s`;
        for (const name of await childrenOf(reader, folder)) {
          const entry = entryOf(layout, kind, interfaceName, name, `${folder}/${name}`);
          if (entry === undefined) continue;
          if (entries.length >= maxEntries) whole = false;
          else entries.push(entry);
        }
      }
    });
  }
  return { chroot, entries, whole };
}

/** What two servers of one ensemble have alike: when the first node of a registry came to be. */
export async function fingerprint(reader: Reader, chroots: readonly string[]): Promise<string> {
  for (const path of chroots.flatMap((chroot) => layouts.map(({ root }) => `${chroot}${root}`))) {
    const stat = await reader.exists(path);
    if (stat !== undefined) return `${path} ${stat.czxid} ${stat.ctime}`;
  }
  return "";
}

/** `host:port` of the members of an ensemble, as its configuration names them for clients; empty when it does not. */
export async function membersOf(reader: Reader): Promise<readonly string[]> {
  try {
    const found = await reader.data("/zookeeper/config");
    return membersIn(found?.data?.toString("utf8") ?? "");
  } catch (error) {
    if (isMeshError(error)) return []; // older servers, or one who may not read it
    throw error;
  }
}

/** Lines as in `server.1=10.0.0.5:2888:3888:participant;0.0.0.0:2181`. */
export function membersIn(text: string): readonly string[] {
  return text.split("\n").flatMap((line) => {
    const [, server, client] = /^server\.\d+=([^;]+);(\S+)$/.exec(line.trim()) ?? [];
    if (server === undefined || client === undefined) return [];
    const port = /(\d{1,5})$/.exec(client)?.[1] ?? "";
    const given = client.slice(0, -port.length).replace(/:$/, "");
    const [, inBrackets, plain] = /^(?:\[([^\]]+)\]|([^:]+)):/.exec(server) ?? [];
    const isAll = ["", "0.0.0.0", "[::]", "::", "[0:0:0:0:0:0:0:0]"].includes(given);
    const host = isAll ? (inBrackets === undefined ? plain : `[${inBrackets}]`) : given;
    return host === undefined || port === "" ? [] : [`${host}:${port}`];
  });
}

function entryOf(
  layout: Layout,
  kind: Entry["kind"],
  interfaceName: string,
  name: string,
  path: string,
): Entry | undefined {
  const url = parseProviderUrl(decodeName(name) ?? "");
  if (url === undefined || url.host === "") return undefined;
  const services =
    kind === "provider"
      ? layout.readProvider(interfaceName, name, () => 0)?.service
      : layout.readConsumer(interfaceName, name)?.services;
  if (services === undefined) return undefined;
  const pid = Number(url.parameters.get("pid"));
  return {
    kind,
    dialect: layout.dialect,
    path,
    services: [services].flat(),
    scheme: url.scheme,
    host: url.host,
    port: kind === "provider" ? url.port : 0,
    pid: Number.isSafeInteger(pid) && pid > 0 ? pid : undefined,
    client: clientOf(url.parameters),
  };
}

function clientOf(parameters: ReadonlyMap<string, string>): string {
  const release = parameters.get("release");
  if (release !== undefined && release !== "") return `Dubbo ${release}`;
  const [, major, minor, patch] = /^(\d)(\d\d)(\d\d)$/.exec(parameters.get("rpcVer") ?? "") ?? [];
  if (major !== undefined) return `SOFA-RPC ${major}.${Number(minor)}.${Number(patch)}`;
  return parameters.has("dubbo") ? "Dubbo" : "";
}

async function childrenOf(reader: Reader, path: string): Promise<readonly string[]> {
  try {
    return (await reader.children(path))?.children ?? [];
  } catch (error) {
    if (isMeshError(error, "zookeeper.no-permission") || isMeshError(error, "zookeeper.not-authenticated")) return [];
    throw error;
  }
}

/** A few at a time, results in order. */
async function each<Of, Result>(all: readonly Of[], work: (one: Of) => Promise<Result>): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let from = 0; from < all.length; from += breadth) {
    results.push(...(await Promise.all(all.slice(from, from + breadth).map(work))));
  }
  return results;
}
