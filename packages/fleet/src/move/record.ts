/**
 * What a mover knows of one move, as it stands on disk: which process, by which sidecar, and how far it has come. It is replaced whole,
 * and on disk, before each step is done, so that whoever finds it later knows what may have been done and what certainly was not.
 */
import { MeshError } from "@dualmesh/base/errors";
import type { HostAddress, Selection } from "../host/host.ts";
import type { ProcessName } from "../process/facts.ts";
import { isStepName, type StepName } from "./steps.ts";

/**
 * - `entering`: on its way in. `in`: in the mesh.
 * - `leaving`: on its way out, because somebody said so. `undoing`: because the way in failed.
 * - `forwarded`: its sidecar is away; the application is at its registry by itself, and the host hands on what is called at its published ports.
 */
export type MoveState = "entering" | "in" | "leaving" | "undoing" | "forwarded";

const states: readonly string[] = ["entering", "in", "leaving", "undoing", "forwarded"] satisfies MoveState[];

export interface ProcessId {
  readonly pid: number;
  /** As in `ProcessFacts`. */
  readonly started: number;
}

/** A sidecar that the mover started, and has to end. */
export interface OwnSidecar {
  /** The user that it runs as; undefined for the mover's own. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  /** The words of its command line after `sidecar run`. */
  readonly words: readonly string[];
}

/** A published port and the application's own behind it. */
export interface PublishedPort {
  readonly service: string;
  readonly published: HostAddress;
  readonly direct: HostAddress;
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
  readonly state: MoveState;
  /** The steps on the way in that were begun: what may have to be taken back. */
  readonly begun: readonly StepName[];
  /** The steps of the present way that are done. */
  readonly done: readonly StepName[];
  /** The one that is being done; empty between two. */
  readonly step: StepName | "";
  readonly published: readonly PublishedPort[];
  /** Who is at it, or was. */
  readonly mover: ProcessId;
  /** Wall time, in milliseconds, of the beginning of `state`. */
  readonly since: number;
  /** Why it is being undone, or what failed last; empty when nothing did. */
  readonly failed: string;
}

/** Reads what stands on disk; throws `move.damaged`. */
export function readRecord(value: unknown, path: string): MoveRecord {
  const record = value as Partial<MoveRecord> | null;
  const known =
    record?.version === 1 &&
    typeof record.name === "string" &&
    states.includes(String(record.state)) &&
    Array.isArray(record.begun) &&
    record.begun.every(isStepName);
  if (!known) {
    throw new MeshError(
      "move.damaged",
      `${path} is not the record of a move that this version knows: use the version that made it, or move it away and see that no rule is left (nft list tables)`,
      { path },
    );
  }
  return record as MoveRecord;
}

/** True for a move that only its mover, or who recovers it, may go on with. */
export function isUnfinished({ state }: MoveRecord): boolean {
  return state === "entering" || state === "leaving" || state === "undoing";
}
