/**
 * What is proven of moves: the runs of the matrix, each of which gives a cell for the way in and one for the way back, and the cells beside it.
 * A cell's name is `FRAMEWORK/FIRST/PROVIDERS/WAY` or `FRAMEWORK/EXTRA`.
 */
import { seededRandom } from "@dualmesh/base/random";
import type { JavaFixture } from "../fixtures.ts";

export interface Framework {
  readonly name: "dubbo27" | "dubbo3" | "sofarpc";
  readonly fixture: JavaFixture;
  /** Above the lists of its registry. */
  readonly root: string;
  /** What the process that moves provides, and what it calls. */
  readonly provided: string;
  readonly consumed: string;
  readonly port: number;
  /** How its clients are told the servers of a registry. */
  readonly registry: (servers: readonly string[]) => string;
}

const dubboRegistry = ([first = "", ...others]: readonly string[]): string =>
  `zookeeper://${first}${others.length > 0 ? `?backup=${others.join(",")}` : ""}`;

const dubbo = { root: "dubbo", port: 20_880, registry: dubboRegistry } as const;

export const dubbo27: Framework = {
  ...dubbo,
  name: "dubbo27",
  fixture: "dubbo27",
  provided: "interop.ledger.Dubbo27Sdk",
  consumed: "interop.ledger.Dubbo27Mesh",
};

export const dubbo3: Framework = {
  ...dubbo,
  name: "dubbo3",
  fixture: "dubbo3",
  provided: "interop.ledger.Dubbo3Sdk",
  consumed: "interop.ledger.Dubbo3Mesh",
};

export const sofarpc: Framework = {
  name: "sofarpc",
  fixture: "sofarpc",
  root: "sofa-rpc",
  provided: "interop.ledger.SofaRpcSdk",
  consumed: "interop.ledger.SofaRpcMesh",
  port: 12_200,
  registry: (servers) => `zookeeper://${servers.join(",")}`,
};

export const frameworks: readonly Framework[] = [dubbo27, dubbo3, sofarpc];

export type First = "provider" | "consumer";
export type SelectedBy = "uid" | "cgroup";

export interface Run {
  /** `FRAMEWORK/FIRST/PROVIDERS`. */
  readonly name: string;
  readonly framework: Framework;
  readonly first: First;
  /** Of the service of the process that moves, itself among them. */
  readonly providers: 1 | 3;
  /** How the rule knows its connections; the runs take turns. */
  readonly selectedBy: SelectedBy;
}

export const runs: readonly Run[] = frameworks.flatMap((framework) =>
  (["provider", "consumer"] as const).flatMap((first) =>
    ([1, 3] as const).map((providers) => ({
      name: `${framework.name}/${first}-first/${providers}`,
      framework,
      first,
      providers,
      selectedBy: (first === "provider") === (providers === 1) ? "uid" : "cgroup",
    })),
  ),
);

export type Way = "in" | "out";
export const movedWays: readonly Way[] = ["in", "out"];

export interface Cell {
  readonly name: string;
  readonly result: "ok" | "failed" | "skipped";
  /** Why it failed or was skipped. */
  readonly reason?: string;
  /** What it measured, for people; how long the move took, first of all. */
  readonly measured?: string;
  readonly seconds?: number;
}

/** Of these, as many that differ, by a seed: what a continuous build plays of what is too much for it. */
export function picked<One>(seed: number, all: readonly One[], wanted: number): readonly One[] {
  const left = [...all];
  const random = seededRandom(seed);
  return Array.from(
    { length: Math.min(wanted, left.length) },
    () => left.splice(Math.floor(random.next() * left.length), 1)[0] as One,
  );
}
