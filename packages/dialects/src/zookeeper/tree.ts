/**
 * What a session needs of a tree, however the tree answers: from a directory (`discovery-tree.ts`), or, later, from a real ensemble.
 * The session layer knows connections, order, watches and expiry; the tree knows paths.
 */
import type { EventType, ReplyBody, Stat } from "@dualmesh/wire/jute/reply";
import type { Request } from "@dualmesh/wire/jute/request";

/** A session as the tree sees it. */
export interface Viewer {
  readonly id: bigint;
  readonly remote: string;
  /** Learnt from what the session registers; empty until then. */
  application: string;
}

export type TreeRequest = Extract<
  Request,
  {
    readonly op:
      | "create"
      | "delete"
      | "exists"
      | "getData"
      | "getChildren"
      | "setData"
      | "getAcl"
      | "sync"
      | "getEphemerals";
  }
>;

export interface Answer {
  readonly error: number;
  readonly body?: ReplyBody;
}

export interface Change {
  readonly type: EventType;
  readonly path: string;
  /** Whose view changed; everybody's when absent. */
  readonly to?: (viewer: bigint) => boolean;
  /** The session that changed a node of its own, which only it sees. */
  readonly by?: bigint;
}

export interface TreeListener {
  changed(change: Change): void;
  /** The children of this path are known from now on: what was said to be `unknown` can be decided. */
  known(path: string): void;
  /** True while anybody watches this path or what is below it. */
  watched(path: string): boolean;
}

export interface ViewerDescription {
  readonly publishes: readonly string[];
  readonly bypassed: readonly { readonly registration: string; readonly reason: string }[];
}

/** What a session sees at a path; the list that has to be known first where nobody can say. */
export type Sight =
  | { readonly as: "node"; readonly data: Buffer; readonly children: readonly string[] }
  | { readonly as: "nothing" }
  | { readonly as: "unknown"; readonly list: string };

/** What is so for a moment only, of one session: by path, the milliseconds that are left of it. */
export interface Passing {
  /** What the session has deleted and is not shown, whatever the directory says. */
  readonly hidden: readonly (readonly [string, number])[];
  /** What it has registered and is shown in its list, whatever the directory says. */
  readonly listed: readonly (readonly [string, number])[];
}

export interface Tree {
  /** The newest change, as clients are told of it. */
  readonly zxid: bigint;
  /** Begins to find out what a request needs that waits for its turn and will be performed later. */
  prepare(viewer: Viewer, request: TreeRequest): void;
  /**
   * Calls `done` once, at the very moment at which the answer is true, so that a watch set then misses nothing. `askedAt` is the clock
   * time at which the request came: what must be found out first takes no longer than so long after it.
   */
  perform(viewer: Viewer, request: TreeRequest, askedAt: number, done: (answer: Answer) => void): void;
  /** The node as this session sees it now; `unknown` while nobody can say yet. */
  look(viewer: Viewer, path: string): Stat | undefined | "unknown";
  /** The content at a path as this session sees it now. */
  see(viewer: Viewer, path: string): Sight;
  /** Every path below this one at which the session sees something now. */
  below(viewer: Viewer, path: string): Iterable<string>;
  /** What another door has to know of a session, beside what the journal keeps; and the reverse. */
  passing(viewer: Viewer): Passing;
  resume(viewer: Viewer, passing: Passing): void;
  /** The session is over: what lived by it goes. */
  end(viewer: Viewer): void;
  describe(viewer: Viewer): ViewerDescription;
  close(): void;
}
