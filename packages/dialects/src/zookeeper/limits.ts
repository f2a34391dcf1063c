/** The bounds of a ZooKeeper door, and what it says of time. Each may be set; the answer at a bound stands beside it. */
export interface ZooKeeperLimits {
  /** Sessions at once; another client is closed at its connect request. */
  readonly sessions: number;
  /** Nodes that everybody sees, and nodes of one session; another create is refused with a system error. */
  readonly nodes: number;
  readonly nodesPerSession: number;
  /**
   * Instances that one session may register; another create is refused with a system error. Not more than what a directory takes
   * of all sessions (4,096 at a sidecar), so that this bound answers first.
   */
  readonly registrationsPerSession: number;
  /** Data of one node, and of the whole tree with its paths; more is refused with a system error. */
  readonly dataBytes: number;
  readonly treeBytes: number;
  /** Lists of providers that are kept at once; another one is shown empty. */
  readonly lists: number;
  /** Names of interfaces below `/dubbo` and its like in one answer, which clients take up to 1 MB; further ones are left out. */
  readonly interfaceBytes: number;
  /** Watches of one session; at one more it is closed and comes back. */
  readonly watchesPerSession: number;
  /** Requests, and their bytes, that one client may have waiting; at more it is closed. */
  readonly pendingRequests: number;
  readonly pendingBytes: number;
  /** Requests that are not whole yet, of all clients together; a client for whose request there is no room is closed. */
  readonly partialBytes: number;
  /** Bytes that a client may leave unread; at more it is closed. */
  readonly queuedBytes: number;
  /** How long a client may take for its connect request. */
  readonly connectMs: number;
  /** What a client's wish for a session timeout is brought to. */
  readonly minTimeoutMs: number;
  readonly maxTimeoutMs: number;
  /** How long a reader waits for the first word of the directory. */
  readonly holdMs: number;
}

export const defaultLimits: ZooKeeperLimits = {
  sessions: 20_000,
  nodes: 500_000,
  nodesPerSession: 20_000,
  registrationsPerSession: 4_000,
  dataBytes: 512 * 1024,
  treeBytes: 256 * 1024 * 1024,
  lists: 50_000,
  interfaceBytes: 768 * 1024,
  watchesPerSession: 100_000,
  pendingRequests: 2_000,
  pendingBytes: 4 * 1024 * 1024,
  partialBytes: 64 * 1024 * 1024,
  queuedBytes: 8 * 1024 * 1024,
  connectMs: 10_000,
  minTimeoutMs: 4_000,
  maxTimeoutMs: 40_000,
  holdMs: 1_000,
};
