/**
 * Why this exists: calls of Bolt and Dubbo out of the packets that pass: which connections are calls to a watched address, and what the
 * requests on them came to. Oneways and heartbeats are no calls. All tables have limits; what is beyond them is not followed, and
 * counted, so that it can be said. When more passes than may be looked at, whole connections are left out, chosen by their ends; when even those
 * few are too much, nothing is read for the rest of a second.
 */
import { ByteBudget } from "@dualmesh/base/byte-budget";
import { Conversation, PendingBudget } from "./conversation.ts";
import type { Outcome } from "./heads.ts";
import { hostBytes, hostText } from "./hosts.ts";
import { type Segment, tcpFlag } from "./segments.ts";

/** An address whose calls are looked at. */
export interface WatchedEnd {
  /** As `hostText` writes it. */
  readonly host: string;
  readonly port: number;
}

/** The connection of a call, as far as it tells whose call it is. */
export interface CallConnection {
  readonly end: WatchedEnd;
  readonly client: string;
  /** When its beginning was seen; undefined when it was older. */
  readonly openedMs: number | undefined;
}

/** `Of` is whatever the listener knows a call by. Times are those of packets, in milliseconds since the epoch. */
export interface CallListener<Of> {
  /** Whose call it is, undefined when nobody's; `service` and `method` as its head names them. Asked again only when they change. */
  find(connection: CallConnection, service: string | undefined, method: string | undefined): Of | undefined;
  began(of: Of, atMs: number): void;
  /** `atMs` is when it began. */
  ended(of: Of, atMs: number, ms: number, outcome: Outcome): void;
  /** It was under way and cannot be followed any further. */
  forgotten(of: Of, atMs: number): void;
  /** Packets of a connection were not seen. */
  lost(): void;
}

export const callLimits = {
  conversations: 4_096,
  pending: 65_536,
  earlyBytes: 16 * 1_024 * 1_024,
  /** A connection on which nothing passes is forgotten. */
  idleMs: 120_000,
  /** More payload than this in a second, and only a part of the connections is looked at. On loopback all of it passes twice. */
  sampledBytesPerSecond: 16 * 1_024 * 1_024,
  /** More than this, and nothing more is looked at in that second. */
  bytesPerSecond: 64 * 1_024 * 1_024,
  /** Never less than one connection in so many, and never fewer than these at one address. */
  leastShare: 16,
  leastConnections: 4,
} as const;

interface Entry<Of> {
  readonly conversation: Conversation<Of>;
  readonly hash: number;
  readonly hosts: Buffer;
  readonly clientPort: number;
  readonly serverPort: number;
  next: Entry<Of> | undefined;
}

interface End extends WatchedEnd {
  readonly bytes: Buffer;
  followed: number;
  /** Connections with payload, and those of them that were understood, of all that are over. */
  silent: number;
  understood: number;
}

export class Calls<Of> {
  readonly #listener: CallListener<Of>;
  readonly #ends = new Map<number, End[]>();
  readonly #table = new Map<number, Entry<Of>>();
  readonly #early = new ByteBudget(callLimits.earlyBytes);
  readonly #pending = new PendingBudget(callLimits.pending);
  #conversations = 0;
  #share = 1;
  #second = 0;
  #bytes = 0;
  #isDeaf = false;
  /** When the newest packet passed. */
  latestMs = 0;
  /** Connections that were not followed since there were too many. */
  unfollowed = 0;
  /** Seconds in which more passed than may be looked at. */
  deafSeconds = 0;

  constructor(listener: CallListener<Of>, ends: readonly WatchedEnd[]) {
    this.#listener = listener;
    for (const { host, port } of ends) {
      const atPort = this.#ends.get(port) ?? [];
      this.#ends.set(port, atPort);
      const bytes = hostBytes(host);
      if (bytes !== undefined && !atPort.some((end) => end.host === host))
        atPort.push({ host, port, bytes, followed: 0, silent: 0, understood: 0 });
    }
  }

  get conversations(): number {
    return this.#conversations;
  }

  /** Requests that wait for their answers. */
  get pending(): number {
    return this.#pending.used;
  }

  get earlyBytes(): number {
    return this.#early.usedBytes;
  }

  /** One connection in so many is looked at. */
  get share(): number {
    return this.#share;
  }

  /** Addresses where bytes passed that are neither Bolt nor Dubbo, and no calls. */
  foreign(): readonly WatchedEnd[] {
    const seen = new Map<WatchedEnd, { silent: number; understood: number }>();
    for (const ends of this.#ends.values())
      for (const end of ends) seen.set(end, { silent: end.silent, understood: end.understood });
    for (const { conversation } of this.#entries()) {
      const end = seen.get(conversation.end);
      if (end === undefined || !conversation.hasPayload) continue;
      if (conversation.wasRead) end.understood++;
      else end.silent++;
    }
    return [...seen].filter(([, { silent, understood }]) => silent > 0 && understood === 0).map(([end]) => end);
  }

  read(segment: Segment): void {
    const toServer = this.#endAt(segment, segment.destinationPort, segment.destinationAt);
    const end = toServer ?? this.#endAt(segment, segment.sourcePort, segment.sourceAt);
    if (end === undefined) return;
    if (segment.atMs > this.latestMs) this.latestMs = segment.atMs;
    if (!this.#mayRead(segment)) return;
    const fromClient = toServer !== undefined;
    const hash = hashOf(segment);
    let entry = this.#lookUp(segment, hash, fromClient);
    if (entry !== undefined) {
      if (entry.conversation.read(segment, fromClient)) return this.#spend(segment);
      // A new connection between the same ends: what waits on the old one gets no answer any more.
      entry.conversation.finish(segment.atMs);
      this.#remove(entry);
    }
    const isSyn = (segment.flags & tcpFlag.syn) !== 0;
    if (!isSyn && segment.size === 0) return;
    entry = this.#add(segment, hash, end, fromClient);
    if (entry === undefined) return;
    entry.conversation.read(segment, fromClient);
    this.#spend(segment);
  }

  /** Counts what has had no answer for too long and forgets what is over; `nowMs` on the clock of packets. */
  sweep(nowMs: number): void {
    for (const entry of this.#entries()) if (!entry.conversation.sweep(nowMs, callLimits.idleMs)) this.#remove(entry);
  }

  /** Packets pass unseen from now on for a while: nothing that waits can be known any more. */
  lose(): void {
    for (const { conversation } of this.#entries()) conversation.lose();
  }

  #endAt({ bytes, hostSize }: Segment, port: number, at: number): End | undefined {
    const ends = this.#ends.get(port);
    if (ends === undefined) return undefined;
    for (const end of ends) if (end.bytes.length === hostSize && isAt(end.bytes, bytes, at)) return end;
    return undefined;
  }

  /** Whether what may be looked at in a second is not used up. Time is that of the packets. */
  #mayRead({ atMs }: Segment): boolean {
    const second = Math.floor(atMs / 1_000);
    if (second > this.#second) {
      if (this.#bytes > callLimits.sampledBytesPerSecond && this.#share < callLimits.leastShare) this.#leaveOut();
      this.#second = second;
      this.#bytes = 0;
      this.#isDeaf = false;
    }
    return !this.#isDeaf;
  }

  #spend({ size }: Segment): void {
    this.#bytes += size;
    if (this.#bytes <= callLimits.bytesPerSecond) return;
    this.#isDeaf = true;
    this.deafSeconds++;
    this.lose();
  }

  /** Halves the share of connections that are looked at, for good: they would have to be found again in their middle. */
  #leaveOut(): void {
    this.#share *= 2;
    for (const entry of this.#entries()) {
      const end = entry.conversation.end as End;
      if (this.#isChosen(entry.hash) || end.followed <= callLimits.leastConnections) continue;
      this.#remove(entry);
    }
  }

  #isChosen(hash: number): boolean {
    return (hash & (this.#share - 1)) === 0;
  }

  #lookUp(segment: Segment, hash: number, fromClient: boolean): Entry<Of> | undefined {
    const { bytes, hostSize, sourceAt, destinationAt, sourcePort, destinationPort } = segment;
    const clientPort = fromClient ? sourcePort : destinationPort;
    const serverPort = fromClient ? destinationPort : sourcePort;
    const clientAt = fromClient ? sourceAt : destinationAt;
    const serverAt = fromClient ? destinationAt : sourceAt;
    for (let entry = this.#table.get(hash); entry !== undefined; entry = entry.next) {
      if (entry.clientPort !== clientPort || entry.serverPort !== serverPort) continue;
      if (entry.hosts.length !== 2 * hostSize) continue;
      if (isAt(entry.hosts, bytes, clientAt, 0, hostSize) && isAt(entry.hosts, bytes, serverAt, hostSize, hostSize))
        return entry;
    }
    return undefined;
  }

  #add(segment: Segment, hash: number, end: End, fromClient: boolean): Entry<Of> | undefined {
    if (!this.#isChosen(hash) && end.followed >= callLimits.leastConnections) return undefined;
    if (this.#conversations >= callLimits.conversations) {
      this.unfollowed++;
      return undefined;
    }
    const { bytes, hostSize, sourceAt, destinationAt, sourcePort, destinationPort, atMs } = segment;
    const clientAt = fromClient ? sourceAt : destinationAt;
    const serverAt = fromClient ? destinationAt : sourceAt;
    const hosts = Buffer.allocUnsafeSlow(2 * hostSize);
    bytes.copy(hosts, 0, clientAt, clientAt + hostSize);
    bytes.copy(hosts, hostSize, serverAt, serverAt + hostSize);
    const conversation = new Conversation<Of>({
      end,
      client: hostText(hosts.subarray(0, hostSize)),
      bornMs: atMs,
      listener: this.#listener,
      early: this.#early,
      budget: this.#pending,
    });
    const entry: Entry<Of> = {
      conversation,
      hash,
      hosts,
      clientPort: fromClient ? sourcePort : destinationPort,
      serverPort: fromClient ? destinationPort : sourcePort,
      next: this.#table.get(hash),
    };
    this.#table.set(hash, entry);
    this.#conversations++;
    end.followed++;
    return entry;
  }

  #remove(entry: Entry<Of>): void {
    const { conversation } = entry;
    const end = conversation.end as End;
    conversation.lose();
    end.followed--;
    this.#conversations--;
    if (conversation.hasPayload) {
      if (conversation.wasRead) end.understood++;
      else end.silent++;
    }
    const first = this.#table.get(entry.hash);
    if (first === entry) {
      if (entry.next === undefined) this.#table.delete(entry.hash);
      else this.#table.set(entry.hash, entry.next);
      return;
    }
    let before = first;
    while (before !== undefined && before.next !== entry) before = before.next;
    if (before !== undefined) before.next = entry.next;
  }

  #entries(): readonly Entry<Of>[] {
    const entries: Entry<Of>[] = [];
    for (const first of this.#table.values())
      for (let entry: Entry<Of> | undefined = first; entry !== undefined; entry = entry.next) entries.push(entry);
    return entries;
  }
}

function isAt(key: Buffer, bytes: Buffer, at: number, from = 0, size: number = key.length): boolean {
  for (let index = 0; index < size; index++) if (key[from + index] !== bytes[at + index]) return false;
  return true;
}

/** The same for both directions of a connection. */
function hashOf({ bytes, hostSize, sourceAt, destinationAt, sourcePort, destinationPort }: Segment): number {
  const sum = hashEnd(bytes, sourceAt, hostSize, sourcePort) + hashEnd(bytes, destinationAt, hostSize, destinationPort);
  const mixed = Math.imul((sum | 0) ^ (sum >>> 15), 0x2c1b3c6d);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}

function hashEnd(bytes: Buffer, at: number, size: number, port: number): number {
  let hash = Math.imul(port, 0x9e3779b1);
  for (let index = 0; index < size; index++) hash = Math.imul(hash ^ (bytes[at + index] as number), 0x01000193);
  return hash ^ (hash >>> 16);
}
