/**
 * What one door before an ensemble says to another of a connection that stands still: the session, what its client has put into discovery and
 * where that stands, the lists that it is shown, and its watches. Read leniently: it may come from another version. Instances are not said:
 * the paths name them.
 */
import type { RewriteState } from "./owner.ts";

export type State = Readonly<Record<string, unknown>>;

/** Milliseconds for which something has been so; undefined for what has always been. */
export interface StandingSince {
  readonly realMs: number | undefined;
  readonly meshMs: number | undefined;
}

export interface StandingRegistration {
  readonly path: string;
  readonly meshPath: string;
  readonly state: RewriteState;
  readonly since: StandingSince;
  readonly meshAsked: boolean;
  readonly stands: boolean;
}

export interface StandingNodes {
  readonly registrations: readonly StandingRegistration[];
  /** Of applications; those that are taken back are on disk. */
  readonly entries: readonly string[];
  readonly uncarried: readonly string[];
  readonly consumers: readonly string[];
  /** What the session owned when it was resumed and has not written again, and how long that is remembered. */
  readonly resumed: readonly string[];
  readonly resumedMs: number;
  /** Deletions that wait, with the milliseconds that are left. */
  readonly held: readonly (readonly [string, number])[];
}

export interface StandingList {
  readonly path: string;
  /** Names; undefined of a list that is shown as it is. */
  readonly real: readonly string[] | undefined;
  readonly shown: readonly string[] | undefined;
  readonly certain: boolean;
}

export interface StandingLists {
  readonly state: RewriteState;
  readonly since: StandingSince;
  readonly all: readonly StandingList[];
}

export type StandingWatches = Readonly<
  Record<"data" | "exist" | "child" | "persistent" | "recursive", readonly string[]>
>;

export interface StandingPassage {
  readonly session: bigint;
  readonly timeoutMs: number;
  readonly ended: boolean;
  readonly zxid: bigint;
  readonly nextXid: number;
  readonly nodes: StandingNodes;
  readonly lists: StandingLists;
  readonly watches: StandingWatches;
}

/** Of a client that has not said yet who it is. */
export const packedNew: State = { isNew: true };

export function packPassage({ session, zxid, ...rest }: StandingPassage): State {
  return { ...rest, session: session.toString(16), zxid: zxid.toString() };
}

/** Undefined when it cannot be read. */
export function unpackPassage(state: State): StandingPassage | "new" | undefined {
  if (state["isNew"] === true) return "new";
  const { session, zxid } = state;
  if (typeof session !== "string" || !/^[0-9a-f]{1,16}$/.test(session)) return undefined;
  return {
    session: BigInt(`0x${session}`),
    timeoutMs: numberOf(state["timeoutMs"], defaultTimeoutMs),
    ended: state["ended"] === true,
    zxid: typeof zxid === "string" && /^\d{1,19}$/.test(zxid) ? BigInt(zxid) : 0n,
    nextXid: numberOf(state["nextXid"], 0),
    nodes: unpackNodes(fieldsOf(state["nodes"])),
    lists: unpackLists(fieldsOf(state["lists"])),
    watches: unpackWatches(fieldsOf(state["watches"])),
  };
}

/** What a client is given for a session by most servers. */
const defaultTimeoutMs = 40_000;

function unpackNodes(nodes: State): StandingNodes {
  return {
    registrations: listOf(nodes["registrations"]).flatMap((one) => {
      const { path, meshPath, state, since, meshAsked, stands } = fieldsOf(one);
      if (typeof path !== "string" || typeof meshPath !== "string") return [];
      return [
        {
          ...{ path, meshPath, state: stateOf(state), since: sinceOf(since) },
          meshAsked: meshAsked === true,
          stands: stands === true,
        },
      ];
    }),
    entries: textsOf(nodes["entries"]),
    uncarried: textsOf(nodes["uncarried"]),
    consumers: textsOf(nodes["consumers"]),
    resumed: textsOf(nodes["resumed"]),
    resumedMs: numberOf(nodes["resumedMs"], 0),
    held: listOf(nodes["held"]).flatMap((row) => {
      const [path, leftMs] = listOf(row);
      return typeof path === "string" ? [[path, numberOf(leftMs, 0)] as const] : [];
    }),
  };
}

function unpackLists(lists: State): StandingLists {
  return {
    state: stateOf(lists["state"]),
    since: sinceOf(lists["since"]),
    all: listOf(lists["all"]).flatMap((one) => {
      const { path, real, shown, certain } = fieldsOf(one);
      if (typeof path !== "string") return [];
      const names = (value: unknown): readonly string[] | undefined =>
        Array.isArray(value) ? textsOf(value) : undefined;
      return [{ path, real: names(real), shown: names(shown), certain: certain === true }];
    }),
  };
}

function unpackWatches(watches: State): StandingWatches {
  const { data, exist, child, persistent, recursive } = watches;
  return {
    data: textsOf(data),
    exist: textsOf(exist),
    child: textsOf(child),
    persistent: textsOf(persistent),
    recursive: textsOf(recursive),
  };
}

function fieldsOf(value: unknown): State {
  return typeof value === "object" && value !== null ? (value as State) : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textsOf(value: unknown): readonly string[] {
  return listOf(value).filter((one): one is string => typeof one === "string");
}

function numberOf(value: unknown, otherwise: number): number {
  return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
}

function stateOf(value: unknown): RewriteState {
  return value === "both" || value === "mesh" ? value : "direct";
}

function sinceOf(value: unknown): StandingSince {
  const { realMs, meshMs } = fieldsOf(value);
  return {
    realMs: typeof realMs === "number" ? realMs : undefined,
    meshMs: typeof meshMs === "number" ? meshMs : undefined,
  };
}

/** From the clock times since when something has been so, and back. */
export function ageOf({ real, mesh }: { readonly real: number; readonly mesh: number }, now: number): StandingSince {
  const age = (at: number): number | undefined => (Number.isFinite(at) ? Math.round(now - at) : undefined);
  return { realMs: age(real), meshMs: age(mesh) };
}

export function timesOf({ realMs, meshMs }: StandingSince, now: number): { real: number; mesh: number } {
  const at = (age: number | undefined): number => (age === undefined ? Number.NEGATIVE_INFINITY : now - age);
  return { real: at(realMs), mesh: at(meshMs) };
}
