/**
 * One client's connection: bytes to requests, and answers in the order of the requests.
 *
 * A read is answered when all before it are, from what is true at that moment; what it needs of the directory is asked for as soon as
 * it comes, so that many reads wait together and not one after another. A write takes effect at once, behind all writes before it and
 * behind those reads before it that would see it; only its answer waits for its turn. Events are sent at once: a watch is set at the
 * moment its read is answered, and no later read begins before, so that an event always precedes what shows its change.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { messageOf } from "@dualmesh/base/errors";
import { hostOf, type ThrottledLog } from "@dualmesh/base/throttled-log";
import { FrameError } from "@dualmesh/wire/codec";
import { juteCodec, juteRecord } from "@dualmesh/wire/jute/frame";
import { type EventType, encodeEvent, encodeReply, errorCode, syncConnected } from "@dualmesh/wire/jute/reply";
import {
  type ConnectRequest,
  decodeConnectRequest,
  decodeRequest,
  encodeRequest,
  type Request,
  reservedXid,
} from "@dualmesh/wire/jute/request";
import type { PartialBytes } from "@dualmesh/wire/stream/channel";
import type { DoorConnection, DoorPeer, Standing } from "../door.ts";
import type { ZooKeeperLimits } from "./limits.ts";
import { packClient, type StandingSession } from "./standing.ts";
import type { Answer } from "./tree.ts";

/** What a connection asks of the session layer. */
export interface ConnectionHost {
  readonly clock: Clock;
  readonly told: ThrottledLog;
  readonly limits: ZooKeeperLimits;
  /** What the incomplete requests of all connections take. */
  readonly partial: PartialBytes;
  readonly zxid: bigint;
  /** The client's first word. The host answers with `accept` or `refuse`. */
  opened(connection: Connection, request: ConnectRequest): void;
  /** A whole frame came: the client lives. */
  heard(connection: Connection): void;
  /** Begins to find out what a request needs that waits for its turn. */
  prepare(connection: Connection, request: Request): void;
  /** Calls `done` once with the answer. `askedAt` is the clock time at which the request came. */
  perform(connection: Connection, request: Request, askedAt: number, done: (answer: Answer) => void): void;
  /** What another door has to know of its session; undefined while it has none. */
  standing(connection: Connection): StandingSession | undefined;
  closed(connection: Connection): void;
}

interface Pending {
  readonly request: Request;
  readonly bytes: number;
  readonly askedAt: number;
  state: "waiting" | "begun" | "answered";
  /** As the request's own door made it, or the whole frame, which another door had made. */
  answer: Answer | Buffer | undefined;
  /** What a write was last found to wait for. */
  behind: Pending | undefined;
}

const nothing = Buffer.alloc(0);
/** A connect request has 45 bytes, and the password of whoever made a longer one. */
const maxConnectBytes = 1_024;

export class Connection implements DoorConnection {
  readonly remote: string;
  readonly #host: ConnectionHost;
  readonly #peer: DoorPeer;
  readonly #frame = juteCodec.view();
  readonly #pending: Pending[] = [];
  /** Those of `#pending` that are writes and have not begun. */
  readonly #writes: Pending[] = [];
  readonly #deadline: Timer;
  #pendingBytes = 0;
  /** What came of a frame that is not whole yet is `#part[0, #partBytes)`. */
  #part: Buffer = nothing;
  #partBytes = 0;
  #state: "new" | "opening" | "open" | "closed" = "new";
  #pumping = false;
  /** Nothing more is begun: another door is about to go on. */
  #standing = false;
  /** Of the requests that another door had read, how many have been read again, and the answers that it had for them. */
  #again = 0;
  #answers: ReadonlyMap<number, Buffer> | undefined;

  constructor(host: ConnectionHost, peer: DoorPeer) {
    this.#host = host;
    this.#peer = peer;
    this.remote = peer.remote;
    this.#deadline = host.clock.after(host.limits.connectMs, () => this.cut("no connect request came in time"));
  }

  get open(): boolean {
    return this.#state === "open";
  }

  receive(bytes: Buffer): void {
    if (this.#state === "closed") return;
    try {
      this.#take(bytes);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.cut(messageOf(error));
    }
  }

  closed(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#deadline.cancel();
    this.#pending.length = 0;
    this.#writes.length = 0;
    this.#forgetPart();
    this.#host.closed(this);
  }

  stand(): Standing | undefined {
    this.#standing = true;
    const isUnderWay = ({ state, request }: Pending): boolean => state === "begun" && !isRead(request);
    if (this.#state === "closed" || this.#state === "opening" || this.#pending.some(isUnderWay)) return undefined;
    const session = this.#host.standing(this);
    const answers = new Map<number, Buffer>();
    // What has been read has changed nothing, and is read again there.
    for (const [turn, { state, request, answer }] of this.#pending.entries())
      if (state === "answered") answers.set(turn, this.#frameOf(request, answer as Answer | Buffer));
    const requests = this.#pending.map(({ request }) => encodeRequest(request));
    const unread = [Buffer.concat([...requests, this.#part.subarray(0, this.#partBytes)])];
    this.closed();
    return { state: packClient({ session, answers }), unread };
  }

  /** Goes on with what another door had begun; `answers` are those to the requests that are received again first. */
  resume(answers: ReadonlyMap<number, Buffer>): void {
    this.#deadline.cancel();
    this.#state = "open";
    this.#answers = answers;
  }

  /** The session is known and durable: `reply` is sent and requests are served. */
  accept(reply: Buffer): void {
    if (this.#state !== "opening") return;
    this.#state = "open";
    this.#peer.send(reply);
    this.#pump();
  }

  /** Sends a last answer and closes. */
  refuse(reply: Buffer): void {
    if (this.#state === "closed") return;
    this.#peer.send(reply);
    this.end();
  }

  event(type: EventType, path: string): void {
    if (this.#state === "open") this.#send(encodeEvent({ type, state: syncConnected, path }));
  }

  /** Closes for a fault of the client. */
  cut(reason: string): void {
    if (this.#state === "closed") return;
    this.#host.told.warn(
      hostOf(this.remote),
      { remote: this.remote, reason },
      "a client of the ZooKeeper door was closed",
    );
    this.end();
  }

  end(): void {
    if (this.#state === "closed") return;
    this.closed();
    this.#peer.close();
  }

  #take(bytes: Buffer): void {
    let source = bytes;
    let end = bytes.length;
    if (this.#partBytes > 0) {
      this.#append(bytes);
      source = this.#part;
      end = this.#partBytes;
    }
    let offset = 0;
    while (offset < end && !this.#isClosed()) {
      const size = juteCodec.decode(source, offset, end, this.#frame);
      if (size < 0) {
        if (this.#state === "new" && -size > maxConnectBytes)
          throw new FrameError("jute", 0, `a connect request of ${-size} bytes is not accepted`);
        break;
      }
      offset += size;
      this.#onRecord(juteRecord(this.#frame), size);
    }
    if (this.#isClosed()) return;
    if (source === this.#part) {
      this.#part.copyWithin(0, offset, end);
      this.#partBytes = end - offset;
      if (this.#partBytes === 0) this.#forgetPart();
    } else if (offset < end) this.#append(bytes.subarray(offset));
  }

  /** Grows with what has come, never for a length that was only promised. */
  #append(bytes: Buffer): void {
    const size = this.#partBytes + bytes.length;
    if (size > this.#part.length) {
      const capacity = Math.max(size, Math.min(this.#part.length * 2, 2 ** 21));
      const { partial } = this.#host;
      const more = capacity - this.#part.length;
      if (partial.used + more > partial.limit)
        throw new FrameError("jute", 0, "incomplete requests take all the memory that they may");
      partial.used += more;
      const grown = Buffer.allocUnsafeSlow(capacity);
      this.#part.copy(grown, 0, 0, this.#partBytes);
      this.#part = grown;
    }
    bytes.copy(this.#part, this.#partBytes);
    this.#partBytes = size;
  }

  #forgetPart(): void {
    this.#host.partial.used -= this.#part.length;
    this.#part = nothing;
    this.#partBytes = 0;
  }

  #onRecord(record: Buffer, size: number): void {
    if (this.#state === "new") {
      this.#deadline.cancel();
      this.#state = "opening";
      return this.#host.opened(this, decodeConnectRequest(record));
    }
    const request = decodeRequest(record);
    this.#host.heard(this);
    // These two are outside the order: a client that waits for a held answer still proves that it lives.
    if (this.open && request.op === "ping")
      return this.#reply({ ...request, xid: reservedXid.ping }, { error: errorCode.ok });
    if (this.open && request.op === "auth")
      return this.#reply({ ...request, xid: reservedXid.auth }, { error: errorCode.ok });
    const { limits } = this.#host;
    this.#pendingBytes += size;
    if (this.#pending.length >= limits.pendingRequests || this.#pendingBytes > limits.pendingBytes) {
      return this.cut("more requests are waiting than one client may have");
    }
    const askedAt = this.#host.clock.now();
    const answer = this.#answers?.get(this.#again++);
    const state = answer === undefined ? "waiting" : "answered";
    const pending: Pending = { request, bytes: size, askedAt, state, answer, behind: undefined };
    this.#pending.push(pending);
    if (isWrite(request) && state === "waiting") this.#writes.push(pending);
    this.#pump();
    if (pending.state === "waiting" && !this.#isClosed()) this.#host.prepare(this, request);
  }

  /** Sends what is answered and begins what may begin. */
  #pump(): void {
    if (this.#pumping || this.#state !== "open") return;
    this.#pumping = true;
    try {
      for (;;) {
        this.#sendAnswered();
        const next = this.#nextToBegin();
        if (next === undefined) return;
        next.state = "begun";
        this.#host.perform(this, next.request, next.askedAt, (answer) => {
          next.state = "answered";
          next.answer = answer;
          this.#pump();
        });
      }
    } finally {
      this.#pumping = false;
    }
  }

  #sendAnswered(): void {
    let sent = 0;
    while (sent < this.#pending.length && this.#pending[sent]?.state === "answered") {
      const { request, answer, bytes } = this.#pending[sent] as Pending;
      sent += 1;
      this.#pendingBytes -= bytes;
      this.#reply(request, answer as Answer | Buffer);
      if (this.#isClosed()) return;
    }
    this.#pending.splice(0, sent);
  }

  #nextToBegin(): Pending | undefined {
    if (this.#isClosed() || this.#standing) return undefined;
    const write = this.#writes[0];
    const first = this.#pending[0];
    if (first?.state === "waiting" && first !== write) return first;
    if (write === undefined || (write.behind !== undefined && write.behind.state !== "answered")) return undefined;
    write.behind = this.#pending.find((pending) => pending === write || mustPrecede(pending, write.request));
    if (write.behind !== write) return undefined;
    write.behind = undefined;
    return this.#writes.shift();
  }

  #reply(request: Request, answer: Answer | Buffer): void {
    if (this.#state !== "open" && this.#state !== "opening") return;
    this.#send(this.#frameOf(request, answer));
    if (request.op === "closeSession") this.end();
  }

  /** Says the newest order there is: what a client has been told of it never goes back. */
  #frameOf({ xid }: Request, answer: Answer | Buffer): Buffer {
    const { zxid } = this.#host;
    if (!Buffer.isBuffer(answer)) return encodeReply({ xid, zxid, error: answer.error }, answer.body);
    answer.writeBigInt64BE(zxid, zxidOffset);
    return answer;
  }

  #send(bytes: Buffer): void {
    if (this.#peer.queuedBytes > this.#host.limits.queuedBytes) return this.cut("it does not read what it is sent");
    this.#peer.send(bytes);
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }
}

/** Of a reply's order number, behind the length and the id. */
const zxidOffset = 8;

function isRead({ op }: Request): boolean {
  return op === "exists" || op === "getData" || op === "getChildren" || op === "getAcl";
}

type Write = Extract<Request, { readonly op: "create" | "delete" | "setData" }>;

function isWrite(request: Request): request is Write {
  return request.op === "create" || request.op === "delete" || request.op === "setData";
}

/** True when a write may not take effect before this earlier request is answered, since the answer would tell of it. */
function mustPrecede({ request, state }: Pending, write: Request): boolean {
  if (state === "answered" || isWrite(request) || !isWrite(write)) return false;
  switch (request.op) {
    case "exists":
    case "getData":
    case "getAcl":
    case "getChildren":
      // A node's own data and numbers change with it, those of its parents with what is created and deleted below them.
      return write.path === request.path || write.path.startsWith(request.path === "/" ? "/" : `${request.path}/`);
    default:
      return true;
  }
}
