/** The bounds of a door before an ensemble, and its times. The answer at each bound stands beside it. */
export interface BeforeLimits {
  /** Connections at once, and half the sessions that are kept in mind; the connection of one more is closed. */
  readonly sessions: number;
  /** One record, either way; a longer one closes the connection. Real servers take 1 MB, and send what they hold. */
  readonly recordBytes: number;
  /** Records that are not whole yet, of all connections together; a connection for which there is no room is closed. */
  readonly partialBytes: number;
  /** Bytes that one side may leave unread; at more both connections are closed. */
  readonly queuedBytes: number;
  /** Requests, and their bytes, that wait behind one that takes several steps; at more the connection is closed. */
  readonly waitingRequests: number;
  readonly waitingBytes: number;
  /** Requests that the ensemble has not answered; at more the connection is closed. */
  readonly pendingRequests: number;
  /** Watches of one connection on what may be rewritten; at one more it is closed and comes back. */
  readonly watches: number;
  /** Lists of one session; further ones are passed as they are, and that is said. */
  readonly lists: number;
  /** What one session owns and this door keeps in mind; nothing is known of the rest, and that is said. */
  readonly ephemerals: number;
  /** Nodes that are looked at to learn what a session owns, where the ensemble cannot be asked for it. */
  readonly walkedNodes: number;
  /** How long a client may take for its first word. */
  readonly connectMs: number;
  /** How long the answer to a resumed session waits until it is known what the session owns. */
  readonly learnMs: number;
  /** How long the deletion of an own node waits for its creation, in the while after a session was resumed. */
  readonly holdMs: number;
  readonly recreateMs: number;
  /** How long both addresses stand side by side. */
  readonly overlapMs: number;
  /** How long a command waits for a session that is reconnecting. */
  readonly awayMs: number;
}

export const defaultBeforeLimits: BeforeLimits = {
  sessions: 10_000,
  recordBytes: 32 * 1024 * 1024,
  partialBytes: 128 * 1024 * 1024,
  queuedBytes: 32 * 1024 * 1024,
  waitingRequests: 10_000,
  waitingBytes: 8 * 1024 * 1024,
  pendingRequests: 100_000,
  watches: 100_000,
  lists: 20_000,
  ephemerals: 20_000,
  walkedNodes: 50_000,
  connectMs: 10_000,
  learnMs: 5_000,
  holdMs: 1_500,
  recreateMs: 30_000,
  overlapMs: 6_000,
  awayMs: 20_000,
};
