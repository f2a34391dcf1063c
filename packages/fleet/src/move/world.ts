/** All that a mover touches, as arguments, so that its whole state machine runs in a simulation. `real-world.ts` has the real ones. */
import type { Clock } from "@dualmesh/base/clock";
import type { Log } from "@dualmesh/base/log";
import type {
  Crossing,
  CrossingList,
  CrossingNameArguments,
  CrossingOpenArguments,
  CrossingStepArguments,
} from "@dualmesh/model/crossing";
import type { Host } from "../host/host.ts";
import type { ProcessFacts } from "../process/facts.ts";
import type { Watching, WatchOptions } from "../watch/watching.ts";
import type { EndState, MoveRecord, ProcessId } from "./record.ts";

/** A running sidecar, asked over its control socket. Rejects with `control.…` when it is not there. */
export interface SidecarControl {
  list(): Promise<CrossingList>;
  open(asked: CrossingOpenArguments): Promise<Crossing>;
  provide(asked: CrossingStepArguments): Promise<Crossing>;
  consume(asked: CrossingStepArguments): Promise<Crossing>;
  close(asked: CrossingNameArguments): Promise<void>;
}

/** Sidecars, as processes. */
export interface SidecarProcesses {
  /** Whether one answers now; a cheap question, asked five times a second. One that hangs does not, as soon as that is known. */
  answers(record: MoveRecord): Promise<boolean>;
  /** Starts one of the mover's own when it does not run, and ends it first when it hangs; resolves when it answers at its control socket. */
  start(record: MoveRecord): Promise<void>;
  /**
   * Ends one of the mover's own, unless another move of this state directory needs it. Resolves when it is gone, to what became of it, for people. `at once` for one whose
   * application is dead: its callers are to find nobody there, as they would without it.
   */
  end(record: MoveRecord, how: "in order" | "at once"): Promise<string>;
  /** Whether its state directory is there, with which everything goes that it keeps. */
  keepsState(record: MoveRecord): Promise<boolean>;
  /** How many connections callers have at the published ports of a move. */
  callers(record: MoveRecord): Promise<number>;
}

export interface MoveWorld {
  readonly clock: Clock;
  readonly log: Log;
  /** This process. */
  readonly self: ProcessId;
  /** Whether there is still such a process; a cheap question. */
  lives(of: ProcessId): Promise<boolean>;
  /** Undefined when there is no such process any more. */
  process(of: ProcessId): Promise<ProcessFacts | undefined>;
  /** The packet filter where the process lives; undefined when nobody is left in that network namespace. */
  host(record: MoveRecord): Promise<Host | undefined>;
  control(record: MoveRecord): SidecarControl;
  readonly sidecars: SidecarProcesses;
  /** Has clients of its registry read the lists of the record again that they would not otherwise: by a change of each that changes nothing. */
  touchLists(record: MoveRecord): Promise<void>;
  /** Rejects with `host.no-agent` when who holds the privileges is gone; a cheap question. */
  checkPrivileges(): Promise<void>;
  /** Sees that a guard runs for this moves directory. */
  ensureGuard(record: MoveRecord): Promise<void>;
  openWatch(options: WatchOptions): Watching;
}

/** Given by `MoveRecords.take`: nobody else is at this move until it is given back. */
export interface Hold {
  release(): Promise<void>;
}

/** How a move ended, for the history. */
export interface MoveEnding {
  readonly name: string;
  readonly pid: number;
  readonly command: string;
  readonly state: EndState;
  readonly failed: string;
  /** Wall time, in milliseconds. */
  readonly at: number;
}

/** What stands on disk of a move and cannot be read: its rule may be in force, and nobody looks after it. */
export interface UnreadableMove {
  readonly name: string;
  readonly pid: number;
  /** For people, with what mends it. */
  readonly why: string;
}

/** Where the records of moves are kept. */
export interface MoveRecords {
  /** Every record that can be read, by name. */
  list(): Promise<readonly MoveRecord[]>;
  /** Those that cannot. */
  unreadable(): Promise<readonly UnreadableMove[]>;
  /** Undefined when there is none; throws `move.damaged`. */
  read(name: string): Promise<MoveRecord | undefined>;
  /** Replaces the record whole; on disk when it resolves. */
  write(record: MoveRecord): Promise<void>;
  /** Throws `move.busy` while another living process has it. */
  take(name: string): Promise<Hold>;
  /** Puts an ended move into the history and removes its record. */
  forget(record: MoveRecord, ending: MoveEnding): Promise<void>;
  /** How the move of this name ended last; undefined when the history does not say. */
  ending(name: string): Promise<MoveEnding | undefined>;
  /** Tells the mover of a way in to take it back; once or several times is the same. Rejects with `move.not-told`. */
  tellToUndo(name: string, mover: ProcessId): Promise<void>;
  /** Whether somebody has told this mover so; a cheap question, asked five times a second. */
  isToldToUndo(name: string, mover: ProcessId): Promise<boolean>;
}
