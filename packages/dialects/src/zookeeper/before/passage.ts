/**
 * One client's connection and the connection to the ensemble that was opened for it. What is not discovery goes through as it came.
 *
 * The ensemble answers in the order of the requests, and so must the door, which adds requests of its own (their answers are taken
 * out) and answers some by itself (such an answer waits until all before it are out). A request that takes several steps stops
 * those behind it until it is answered, so that what a client asks takes effect in the order in which it asked.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { hostOf, type ThrottledLog } from "@dualmesh/base/throttled-log";
import { FrameError } from "@dualmesh/wire/codec";
import { decodeConnectReply, decodeEvent, decodeReplyHead, type WatchEvent } from "@dualmesh/wire/jute/reply";
import {
  decodeConnectRequest,
  decodeRequest,
  encodeRequest,
  type Request,
  type RequestBody,
  reservedXid,
} from "@dualmesh/wire/jute/request";
import type { PartialBytes } from "@dualmesh/wire/stream/channel";
import type { DoorConnection, DoorPeer, Standing } from "../../door.ts";
import { RecordCutter } from "./cutter.ts";
import type { BeforeLimits } from "./limits.ts";
import type { BeforeOwner, Upstream, UpstreamEvents } from "./owner.ts";
import type { Reply } from "./reply.ts";
import { packedNew, packPassage, type StandingPassage } from "./standing.ts";

/** What is done with a request of the client. */
export type Plan =
  /** Goes on, as it came or as `request`; its reply is passed as it came, or as `reply` tells it. */
  | { readonly kind: "pass"; readonly request?: Request; readonly reply?: (reply: Reply) => Buffer }
  /** Is answered here, when its turn has come. */
  | { readonly kind: "answer"; readonly reply: () => Buffer }
  /** Is answered after requests of the door's own; no request behind it goes on before. */
  | { readonly kind: "steps"; readonly run: () => Promise<Buffer> };

/** What decides for a session; the passage only keeps order. */
export interface Conduct {
  plan(request: Request): Plan;
  /** A request that cannot be read goes on as it came; what was held back must go before it. */
  unread(): void;
  /** False when the client must not see it. */
  event(event: WatchEvent): boolean;
  /** What another door has to know of the session; undefined while something is under way. */
  standing(): Omit<StandingPassage, "zxid" | "nextXid"> | undefined;
}

export interface PassageHost {
  readonly clock: Clock;
  readonly limits: BeforeLimits;
  readonly told: ThrottledLog;
  readonly owner: BeforeOwner;
  readonly partial: PartialBytes;
  /** The ensemble has opened the session. The client is told so, and its requests go on, when this has resolved. */
  opened(passage: Passage, session: OpenedSession): Promise<Conduct>;
  /** The ensemble says that a session is over that a client wanted to go on with. */
  expired(session: bigint): void;
  /** The client or the ensemble is gone. Called before the connection to the ensemble is closed, while it can still be spoken to. */
  closing(passage: Passage, by: "client" | "ensemble"): void;
  /** It stands still: another door goes on with it. */
  stood(passage: Passage): void;
}

export interface OpenedSession {
  readonly id: bigint;
  readonly timeoutMs: number;
  readonly resumed: boolean;
}

interface Pending {
  readonly xid: number;
  /** What the ensemble has not answered yet. */
  awaited: boolean;
  /** Told the reply; gives what the client is sent, or undefined when the request was the door's own. */
  readonly take: ((reply: Reply) => Buffer | undefined) | undefined;
  readonly fail: (() => void) | undefined;
  readonly own: boolean;
  /** Gives what the client is sent, once it is known. */
  answer: (() => Buffer) | undefined;
}

/** Ids of the door's own requests: a range that clients, which count up from 1, do not reach. */
const firstOwnXid = 0x60000000;
const lastOwnXid = 0x6fffffff;
const isOwnXid = (xid: number): boolean => xid >= firstOwnXid && xid <= lastOwnXid;
const replyHeadBytes = 20;

export class Passage implements DoorConnection {
  readonly remote: string;
  /** The newest order number that the ensemble has told; never more than it has told. */
  zxid = 0n;
  readonly #host: PassageHost;
  readonly #peer: DoorPeer;
  readonly #fromClient: RecordCutter;
  readonly #fromEnsemble: RecordCutter;
  readonly #deadline: Timer;
  readonly #pending: Pending[] = [];
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #upstream: Upstream | undefined;
  #conduct: Conduct | undefined;
  #asked: { readonly sessionId: bigint } | undefined;
  #state: "new" | "connecting" | "learning" | "open" | "refused" | "plain" | "closed" = "new";
  #blocked = false;
  #closing = false;
  /** Nothing more is begun: another door is about to go on. */
  #standing = false;
  #nextXid = firstOwnXid;

  constructor(host: PassageHost, peer: DoorPeer) {
    this.#host = host;
    this.#peer = peer;
    this.remote = peer.remote;
    const { limits, partial } = host;
    const maxBytes = limits.recordBytes;
    const client = (frame: Buffer): boolean => this.#onClient(frame);
    const ensemble = (frame: Buffer): boolean => this.#onEnsemble(frame);
    this.#fromClient = new RecordCutter({ maxBytes, partial, onFrame: client });
    this.#fromEnsemble = new RecordCutter({ maxBytes, partial, onFrame: ensemble });
    this.#deadline = host.clock.after(limits.connectMs, () => this.cut("no connect request came in time"));
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  receive(bytes: Buffer): void {
    if (this.#isClosed()) return;
    if (this.#state === "new" && isFourLetterWord(bytes)) this.#plainly();
    if (this.#state === "plain") return this.#sendUp(Buffer.from(bytes));
    this.#guarded(() => this.#fromClient.push(bytes));
  }

  closed(): void {
    this.#close("client");
  }

  /** Closes both connections: nobody can be told more on them. */
  cut(reason: string): void {
    if (this.#isClosed() || this.#closing) return;
    const fields = { remote: this.remote, reason };
    this.#host.told.warn(hostOf(this.remote), fields, "a connection through the ZooKeeper door was closed");
    this.#close("client");
    this.#peer.close();
  }

  /** Closes both connections in order. */
  end(): void {
    this.#close("client");
    this.#peer.close();
  }

  /** At a moment when the ensemble owes no answer, so that no reply has to be told anew or taken out. */
  stand(): Standing | undefined {
    this.#standing = true;
    if (this.#state === "new") {
      const unread = [this.#fromClient.rest];
      this.#leave();
      return { state: packedNew, unread };
    }
    if (this.#state !== "open" || this.#blocked || this.#pending.length > 0) return undefined;
    const session = this.#conduct?.standing();
    if (session === undefined) return undefined;
    const state = packPassage({ ...session, zxid: this.zxid, nextXid: this.#nextXid });
    const unread = [Buffer.concat([...this.#waiting, this.#fromClient.rest]), this.#fromEnsemble.rest];
    this.#leave();
    return { state, unread };
  }

  #leave(): void {
    this.#host.stood(this);
    this.#deadline.cancel();
    this.#state = "closed";
    this.#fromClient.clear();
    this.#fromEnsemble.clear();
    this.#waiting.length = 0;
  }

  /** Goes on with what another door had begun; false when the connection to the ensemble is not there. `unread` is what came of it. */
  resume(conduct: Conduct, { zxid, nextXid }: StandingPassage, unread: Buffer): boolean {
    this.#deadline.cancel();
    this.#upstream = this.#host.owner.adopted?.(this.#peer, this.#upstreamEvents());
    if (this.#upstream === undefined) return false;
    this.zxid = zxid;
    if (isOwnXid(nextXid)) this.#nextXid = nextXid;
    this.#conduct = conduct;
    this.#state = "open";
    if (unread.length > 0) this.#received(unread);
    return true;
  }

  /** Sends a request of the door's own. `done` is called once: with the reply in its turn, or with nothing when the connection ends. */
  ask(body: RequestBody, done: (reply: Reply | undefined) => void): void {
    if (this.#isClosed() || this.#upstream === undefined) return done(undefined);
    const xid = this.#nextXid;
    this.#nextXid = xid === lastOwnXid ? firstOwnXid : xid + 1;
    const take = (reply: Reply): undefined => void done(reply);
    this.#pending.push({ xid, awaited: true, own: true, take, fail: () => done(undefined), answer: undefined });
    this.#sendUp(encodeRequest({ xid, ...body }));
  }

  /** As `ask`; rejects with `zookeeper.gone` when the connection ends before the reply. */
  asked(body: RequestBody): Promise<Reply> {
    return new Promise((resolve, reject) =>
      this.ask(body, (reply) => (reply === undefined ? reject(gone(this.remote)) : resolve(reply))),
    );
  }

  /** Tells the client something that it has not asked for. */
  tell(frame: Buffer): void {
    if (this.#isClosed()) return;
    this.#peer.send(frame);
    if (this.#peer.queuedBytes > this.#host.limits.queuedBytes) this.cut("the client does not read");
  }

  #onClient(frame: Buffer): boolean {
    if (this.#state === "new") {
      this.#deadline.cancel();
      this.#connect(frame);
      return !this.#isClosed();
    }
    if (this.#state === "open" && isPing(frame)) {
      this.#sendUp(Buffer.from(frame)); // outside the order: a client that waits for an answer proves that it lives
      return !this.#isClosed();
    }
    if (this.#state === "refused") {
      this.#sendUp(Buffer.from(frame));
      return !this.#isClosed();
    }
    if (this.#state === "open" && !this.#blocked && !this.#standing && this.#waiting.length === 0) {
      this.#request(Buffer.from(frame));
      return !this.#isClosed();
    }
    const { limits } = this.#host;
    this.#waiting.push(Buffer.from(frame));
    this.#waitingBytes += frame.length;
    if (this.#waiting.length > limits.waitingRequests || this.#waitingBytes > limits.waitingBytes)
      this.cut("more requests are waiting than one client may have");
    return !this.#isClosed();
  }

  /** The connect request goes on byte for byte: the session is the client's own. */
  #connect(frame: Buffer): void {
    this.#asked = decodeConnectRequest(frame.subarray(4));
    this.#state = "connecting";
    this.#open();
    this.#sendUp(Buffer.from(frame));
  }

  #open(): void {
    this.#upstream = this.#host.owner.open(this.#peer, this.#upstreamEvents());
  }

  #upstreamEvents(): UpstreamEvents {
    return {
      received: (bytes) => this.#received(bytes),
      closed: () => {
        if (this.#isClosed()) return;
        this.#close("ensemble");
        this.#peer.close();
      },
    };
  }

  /** Words of four letters are for people and their tools; the answer is whatever the server says. */
  #plainly(): void {
    this.#deadline.cancel();
    this.#state = "plain";
    this.#open();
  }

  #received(bytes: Buffer): void {
    if (this.#isClosed()) return;
    if (this.#state === "plain") return this.tell(Buffer.from(bytes));
    this.#guarded(() => this.#fromEnsemble.push(bytes));
  }

  #onEnsemble(frame: Buffer): boolean {
    if (this.#state === "connecting") this.#connected(Buffer.from(frame));
    else if (this.#state === "refused" || frame.length < replyHeadBytes) this.tell(Buffer.from(frame));
    else this.#reply(frame);
    return !this.#isClosed();
  }

  #connected(frame: Buffer): void {
    const { sessionId, timeoutMs } = decodeConnectReply(frame.subarray(4));
    if (sessionId === 0n || timeoutMs <= 0) {
      this.#state = "refused"; // expired: the client must be told exactly that
      if (this.#asked !== undefined && this.#asked.sessionId !== 0n) this.#host.expired(this.#asked.sessionId);
      return this.tell(frame);
    }
    this.#state = "learning";
    const resumed = this.#asked?.sessionId === sessionId;
    this.#host.opened(this, { id: sessionId, timeoutMs, resumed }).then(
      (conduct) => {
        if (this.#isClosed()) return;
        this.#conduct = conduct;
        this.#state = "open";
        this.tell(frame);
        this.#pump();
      },
      (error: unknown) => this.cut(messageOf(error)),
    );
  }

  #pump(): void {
    while (this.#state === "open" && !this.#blocked && !this.#standing) {
      const frame = this.#waiting.shift();
      if (frame === undefined) return;
      this.#waitingBytes -= frame.length;
      this.#request(frame);
    }
  }

  #request(frame: Buffer): void {
    if (isPing(frame)) return this.#sendUp(frame);
    const xid = frame.length >= 8 ? frame.readInt32BE(4) : 0;
    const request = readRequest(frame);
    if (request === undefined) this.#conduct?.unread();
    const plan = request === undefined ? passed : (this.#conduct?.plan(request) ?? passed);
    if (this.#isClosed()) return;
    if (plan.kind === "pass") {
      const take = plan.reply ?? ((reply: Reply) => reply.frame);
      // An authentication is answered outside the order, and matched by nobody.
      if (xid !== reservedXid.auth)
        this.#push({ xid, awaited: true, own: false, take, fail: undefined, answer: undefined });
      this.#sendUp(plan.request === undefined ? frame : encodeRequest(plan.request));
      return;
    }
    const turn: Pending = { xid, awaited: false, own: false, take: undefined, fail: undefined, answer: undefined };
    if (plan.kind === "answer") turn.answer = plan.reply;
    this.#push(turn);
    if (plan.kind === "answer") return this.#flush();
    this.#blocked = true;
    plan.run().then(
      (answer) => {
        turn.answer = () => answer;
        this.#blocked = false;
        this.#flush();
        this.#pump();
      },
      (error: unknown) => this.cut(messageOf(error)),
    );
  }

  #push(pending: Pending): void {
    this.#pending.push(pending);
    if (this.#pending.length > this.#host.limits.pendingRequests) this.cut("too many requests have no answer");
  }

  #reply(frame: Buffer): void {
    const xid = frame.readInt32BE(4);
    if (xid === reservedXid.event) return this.#event(Buffer.from(frame));
    const zxid = frame.readBigInt64BE(8);
    if (zxid > 0n) this.zxid = zxid;
    if (xid === reservedXid.ping || xid === reservedXid.auth) return this.tell(Buffer.from(frame));
    let index = this.#pending.findIndex((one) => one.awaited);
    if (index < 0 || this.#pending[index]?.xid !== xid)
      index = this.#pending.findIndex((one) => one.awaited && one.xid === xid);
    const pending = this.#pending[index];
    if (pending === undefined) return isOwnXid(xid) ? undefined : this.tell(Buffer.from(frame));
    const reply = { xid, zxid, error: frame.readInt32BE(16), frame: Buffer.from(frame) };
    pending.awaited = false;
    if (pending.own) this.#pending.splice(index, 1);
    const told = pending.take?.(reply);
    if (told !== undefined) pending.answer = () => told;
    this.#flush();
  }

  #event(frame: Buffer): void {
    let event: WatchEvent | undefined;
    try {
      event = decodeEvent(decodeReplyHead(frame.subarray(4)).body);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error; // one that cannot be read goes on as it came
    }
    if (event === undefined || (this.#conduct?.event(event) ?? true)) this.tell(frame);
  }

  /** Sends what is answered, in the order of the requests. */
  #flush(): void {
    for (;;) {
      const head = this.#pending.find((one) => !one.own);
      if (head?.answer === undefined || this.#isClosed()) return;
      this.#pending.splice(this.#pending.indexOf(head), 1);
      this.tell(head.answer());
    }
  }

  #sendUp(frame: Buffer): void {
    const upstream = this.#upstream;
    if (upstream === undefined || this.#isClosed()) return;
    upstream.send(frame);
    if (upstream.queuedBytes > this.#host.limits.queuedBytes) this.cut("the ensemble does not read");
  }

  #close(by: "client" | "ensemble"): void {
    if (this.#isClosed() || this.#closing) return;
    this.#closing = true;
    this.#deadline.cancel();
    this.#host.closing(this, by);
    this.#state = "closed";
    this.#fromClient.clear();
    this.#fromEnsemble.clear();
    this.#waiting.length = 0;
    if (by === "client") this.#upstream?.close();
    for (const pending of this.#pending.splice(0)) pending.fail?.();
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #guarded(read: () => void): void {
    try {
      read();
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.cut(messageOf(error));
    }
  }
}

const passed: Plan = { kind: "pass" };

/** Undefined for what this door does not understand as it stands there, which is then not touched. */
function readRequest(frame: Buffer): Request | undefined {
  try {
    return decodeRequest(frame.subarray(4));
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    return undefined;
  }
}

function isPing(frame: Buffer): boolean {
  return frame.length === 12 && frame.readInt32BE(4) === reservedXid.ping;
}

function isFourLetterWord(bytes: Buffer): boolean {
  return bytes.length >= 4 && bytes.subarray(0, 4).every((byte) => byte >= 0x61 && byte <= 0x7a);
}

function gone(remote: string): MeshError {
  return new MeshError("zookeeper.gone", `the connection of ${remote} ended before the ensemble had answered`);
}
