/** The nodes of a tree as plain data: what is stored, how it is kept in a journal, and which paths are accepted. */
import type { Stat } from "@dualmesh/wire/jute/reply";
import { maxNodeNameLength } from "./provider-url.ts";

export interface Node {
  readonly path: string;
  data: Buffer;
  readonly czxid: bigint;
  mzxid: bigint;
  pzxid: bigint;
  readonly ctime: number;
  mtime: number;
  version: number;
  cversion: number;
  /** The session of an ephemeral node; 0 for the others. */
  owner: bigint;
  readonly children: Set<string>;
  /** Made only because a child needed it; goes with its last child. */
  readonly implicit: boolean;
}

/** What the ephemeral owner of a node is said to be that was registered elsewhere: somebody, but no session of this door. */
export const elsewhere = 1n;

/** The order of nodes that nobody created: before everything that happened. */
export const beginning = 1n;

export interface NewNode {
  readonly path: string;
  readonly data: Buffer;
  readonly zxid: bigint;
  readonly wall: number;
  readonly owner?: bigint;
  readonly implicit?: boolean;
}

export function newNode(from: NewNode): Node {
  return {
    path: from.path,
    data: from.data,
    czxid: from.zxid,
    mzxid: from.zxid,
    pzxid: from.zxid,
    ctime: from.wall,
    mtime: from.wall,
    version: 0,
    cversion: 0,
    owner: from.owner ?? 0n,
    children: new Set(),
    implicit: from.implicit ?? false,
  };
}

export function statOf(node: Node, numChildren: number): Stat {
  return {
    czxid: node.czxid,
    mzxid: node.mzxid,
    ctime: node.ctime,
    mtime: node.mtime,
    version: node.version,
    cversion: node.cversion,
    aversion: 0,
    ephemeralOwner: node.owner,
    dataLength: node.data.length,
    numChildren,
    pzxid: node.pzxid,
  };
}

/** A node for the journal; children follow from the other nodes. */
export function packNode(node: Node): string {
  const { data, czxid, mzxid, ctime, mtime, version, owner } = node;
  return JSON.stringify([data.toString("base64"), String(czxid), String(mzxid), ctime, mtime, version, String(owner)]);
}

export function unpackNode(path: string, packed: Buffer): Node | undefined {
  try {
    const [data, czxid, mzxid, ctime, mtime, version, owner] = JSON.parse(packed.toString()) as [
      string,
      string,
      string,
      number,
      number,
      number,
      string,
    ];
    const node = newNode({
      path,
      data: Buffer.from(data, "base64"),
      zxid: BigInt(czxid),
      wall: ctime,
      owner: BigInt(owner),
    });
    return Object.assign(node, { mzxid: BigInt(mzxid), mtime, version });
  } catch {
    return undefined; // written by another version or damaged: the caller leaves it out and says so
  }
}

const maxDepth = 32;
/** A path is part of a journal's key, which has its own limit in bytes. */
const maxPathLength = 20_000;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const refusedCharacters = /[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff]/;

/** The parts of a path, or undefined when ZooKeeper would not accept it or it is longer than any discovery needs. */
export function splitPath(path: string): readonly string[] | undefined {
  if (path === "/") return [];
  if (!path.startsWith("/") || path.length > maxPathLength || refusedCharacters.test(path)) return undefined;
  const segments = path.slice(1).split("/");
  if (segments.length > maxDepth) return undefined;
  for (const segment of segments) {
    if (segment === "" || segment === "." || segment === ".." || segment.length > maxNodeNameLength) return undefined;
  }
  return segments;
}

export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}

export function lastOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function childOf(parent: string, name: string): string {
  return parent === "/" ? `/${name}` : `${parent}/${name}`;
}
