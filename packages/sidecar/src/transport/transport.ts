/**
 * What the data plane knows of a connection. Plain TCP stands behind it now; TLS will stand behind the same interface. Only this
 * folder touches a socket.
 */

/** What the owner of a connection is told. All calls are synchronous, from the event loop. */
export interface TransportEvents {
  /** Bytes `[0, size)` of `bytes`, which is shared by all connections: valid during the call only, and may be written to. */
  onBytes(bytes: Buffer, size: number): void;
  /** Everything that was written has been taken by the kernel, after a time when it had not. */
  onDrain(): void;
  /**
   * The peer sends nothing more; the connection closes once what was written has left. With true it stays open to be written to, and its owner
   * ends it.
   */
  onPeerEnd(): boolean | undefined;
  /** The connection is gone, once; `reason` is for logs and counters. */
  onClose(reason: string): void;
}

export interface Transport {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  /** Names the owner and begins to read. Called once. */
  open(events: TransportEvents): void;
  /** Copies `bytes[start, end)` to the stage, which is flushed at the end of this turn of the event loop. Never blocks, never fails. */
  write(bytes: Buffer, start: number, end: number): void;
  /** Bytes that were written and that the kernel has not taken. */
  readonly queuedBytes: number;
  /** Offers the stage to the kernel now. */
  flush(): void;
  /** Stops reading, synchronously. */
  pause(): void;
  resume(): void;
  /** Flushes, then says that nothing more is written; what the peer still sends is read. The connection closes once both sides have said so. */
  endWriting(): void;
  /** Flushes, then closes. */
  end(): void;
  /** Closes at once; what is staged is lost. `onClose` follows with `reason`. */
  destroy(reason: string): void;
  /** The same by a reset, so that the peer cannot take what it has for all there was. */
  reset(reason: string): void;
  /** For another process to have as well; the connection goes on here. Undefined when it is closed, or about to be. */
  readonly descriptor: number | undefined;
  /** This side has said that nothing more is written. */
  readonly wroteAll: boolean;
  /**
   * Stops here for as long as another process may take the connection: nothing is read, and nothing may be written. False when that cannot be,
   * since something that was written has not left yet; then nothing has changed.
   */
  freeze(): boolean;
  /** Goes on as before. */
  thaw(): void;
  /** The other process has it: closed here without a word to the peer, and without an event. Only while frozen. */
  letGo(): void;
}

type Ends = Pick<Transport, "localAddress" | "localPort" | "remoteAddress" | "remotePort">;

/**
 * One connection as both of its ends can tell it: from where to where. The caller's end alone names none: the kernel gives one port to
 * connections to different places.
 */
export function dialledName({ localAddress, localPort, remoteAddress, remotePort }: Ends): string {
  return `${localAddress}:${localPort}>${remoteAddress}:${remotePort}`;
}

export function acceptedName({ localAddress, localPort, remoteAddress, remotePort }: Ends): string {
  return `${remoteAddress}:${remotePort}>${localAddress}:${localPort}`;
}
