/**
 * What a mover knows of one move, as it stands on disk: which process, by which sidecar, and how far it has come. It is replaced whole,
 * and on disk, before each step is done, so that whoever finds it later knows what may have been done and what certainly was not.
 */
import { MeshError } from "@dualmesh/base/errors";
import type { CrossingDoor } from "@dualmesh/model/crossing";
import type { HostAddress, Selection } from "../host/host.ts";
import type { ProcessName } from "../process/facts.ts";
import type { WatchBounds } from "../watch/watching.ts";
import { isStepName, type StepName } from "./steps.ts";

/**
 * - `entering`: on its way in. `in`: in the mesh.
 * - `leaving`: on its way out, because somebody said so. `undoing`: because the way in failed.
 * - `forwarded`: its sidecar is away; the application is at its registry by itself, and the host hands on what is called at its published ports.
 * - `closing`: it is over, but for a sidecar that was away then: it has the crossing on its disk, and would open it again at every start.
 */
export type MoveState = "entering" | "in" | "leaving" | "undoing" | "forwarded" | "closing";

const states: readonly string[] = [
  "entering",
  "in",
  "leaving",
  "undoing",
  "forwarded",
  "closing",
] satisfies MoveState[];

/** How a move ended. */
export type EndState = "out" | "undone" | "gone";
const endStates: readonly unknown[] = ["out", "undone", "gone"] satisfies EndState[];

export interface ProcessId {
  readonly pid: number;
  /** As in `ProcessFacts`. */
  readonly started: number;
}

/** A sidecar that the mover started, and has to end. */
export interface OwnSidecar {
  /** The user that it runs as; undefined for the mover's own. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  /** Its configuration, as YAML. */
  readonly configuration: string;
}

/** A published port and the application's own behind it. */
export interface PublishedPort {
  readonly service: string;
  readonly published: HostAddress;
  readonly direct: HostAddress;
}

/** A service that the process calls, and where its providers are called without a sidecar. */
export interface CalledService {
  readonly service: string;
  readonly direct: readonly HostAddress[];
}

export interface MoveRecord {
  readonly version: 1;
  /** Names the crossing, the rule and the directory: `p4711-38127`. */
  readonly name: string;
  readonly process: ProcessId & {
    readonly uid: number;
    readonly cgroup: string;
    readonly netns: number;
    /** For people. */
    readonly command: string;
  };
  /** As the operator named it. */
  readonly named: ProcessName;
  readonly selection: Selection;
  readonly exclusive: boolean;
  /** `host:port` of every server of its registry, as it dials them. */
  readonly servers: readonly string[];
  readonly chroots: readonly string[];
  /** The address by which others reach it. */
  readonly host: string;
  readonly sidecar: {
    /** Its state directory. */
    readonly state: string;
    readonly own: OwnSidecar | undefined;
  };
  readonly only: "provider" | "consumer" | undefined;
  readonly first: "provider" | "consumer";
  readonly watchBeforeMs: number;
  readonly watchMs: number;
  readonly bounds: WatchBounds;
  /** What it was seen to call; at most 200 services with 64 addresses each. */
  readonly calls: readonly CalledService[];
  readonly state: MoveState;
  /** What is to be in the end: a sidecar that was away may come back in the midst of a way out. */
  readonly wanted: "in" | "out";
  /** The steps on the way in that were begun: what may have to be taken back. */
  readonly begun: readonly StepName[];
  /** The steps of the present way that are done. */
  readonly done: readonly StepName[];
  /** The one that is being done; empty between two. */
  readonly step: StepName | "";
  /** The lists that it reads in its registry, by path; at most 1,000. */
  readonly lists: readonly string[];
  /** How many of its sessions came through the doors. */
  readonly sessions: number;
  /** The ports that the sidecar opened, once it has. */
  readonly doors: readonly CrossingDoor[];
  readonly published: readonly PublishedPort[];
  /** Of one whose crossing is still to be closed. */
  readonly ended?: EndState;
  /** Who is at it, or was. */
  readonly mover: ProcessId;
  /** Wall time, in milliseconds, of the beginning of `state`; of one that is in and was mended, when that was done. */
  readonly since: number;
  /** When it came in, of one that has. */
  readonly cameIn?: number;
  /** Why it is being undone, or what failed last; empty when nothing did. */
  readonly failed: string;
}

/** Reads what stands on disk; throws `move.damaged`. */
export function readRecord(value: unknown, path: string): MoveRecord {
  const record = (typeof value === "object" && value !== null ? value : {}) as Readonly<Record<string, unknown>>;
  const steps = (key: string): boolean => Array.isArray(record[key]) && (record[key] as unknown[]).every(isStepName);
  const text = (...keys: string[]): boolean => keys.every((key) => typeof record[key] === "string");
  const list = (...keys: string[]): boolean => keys.every((key) => Array.isArray(record[key]));
  const known =
    record["version"] === 1 &&
    text("name", "host", "failed") &&
    isMoveName(record["name"] as string) &&
    states.includes(String(record["state"])) &&
    (record["wanted"] === "in" || record["wanted"] === "out") &&
    steps("begun") &&
    steps("done") &&
    Number.isSafeInteger(record["sessions"]) &&
    (record["cameIn"] === undefined || typeof record["cameIn"] === "number") &&
    (record["step"] === "" || isStepName(record["step"])) &&
    list("servers", "chroots", "calls", "lists", "doors", "published") &&
    (record["ended"] === undefined || endStates.includes(record["ended"])) &&
    isProcess(record["process"]) &&
    isProcess(record["mover"]) &&
    typeof (record["sidecar"] as { readonly state?: unknown } | undefined)?.state === "string";
  if (!known) {
    throw new MeshError(
      "move.damaged",
      `${path} is not the record of a move that this version knows: use the version that made it, or move it away and see that no rule is left (nft list tables)`,
      { path },
    );
  }
  return record as unknown as MoveRecord;
}

export function isMoveName(name: string): boolean {
  return /^p\d{1,10}-\d{1,15}$/.test(name);
}

/** True for a move that only its mover, or who recovers it, may go on with. */
export function isUnfinished({ state }: MoveRecord): boolean {
  return state === "entering" || state === "leaving" || state === "undoing";
}

function isProcess(value: unknown): boolean {
  const { pid, started } = (value ?? {}) as { readonly pid?: unknown; readonly started?: unknown };
  return Number.isSafeInteger(pid) && Number.isSafeInteger(started);
}
