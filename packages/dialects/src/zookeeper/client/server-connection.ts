/**
 * One connection to a ZooKeeper server: the handshake that begins or resumes a session, requests by xid in one pipeline, pings, and the
 * silence that ends it. It knows nothing of other addresses or of what a session is for.
 */
import type { Clock, Timer } from "@dualmesh/base/clock";
import { MeshError, messageOf } from "@dualmesh/base/errors";
import { FrameError } from "@dualmesh/wire/codec";
import { maxJuteBytes } from "@dualmesh/wire/jute/frame";
import type { JuteReader } from "@dualmesh/wire/jute/record";
import {
  type ConnectReply,
  decodeConnectReply,
  decodeEvent,
  decodeReplyHead,
  errorCode,
  type WatchEvent,
} from "@dualmesh/wire/jute/reply";
import {
  type ConnectRequest,
  encodeConnectRequest,
  encodeRequest,
  type RequestBody,
  reservedXid,
} from "@dualmesh/wire/jute/request";
import type { Channel } from "@dualmesh/wire/stream/channel";
import type { Dial } from "./dial.ts";
import { zooKeeperError } from "./failure.ts";
import { JuteFrames } from "./frames.ts";

/** A list of ten thousand providers is larger than what servers take, and they send it all the same. */
const maxReplyBytes = 32 * 1024 * 1024;
/** How long a server may take from the dial to the end of the handshake. */
const handshakeMs = 5_000;
const longestPingMs = 5_000;
const shortestPingMs = 100;
/** Requests under way at the server; further ones wait here, since a server counts them all together. */
const maxInFlight = 256;
/** Requests and their bytes that wait here; one more is refused. */
const maxWaiting = 50_000;
const maxWaitingBytes = 64 * 1024 * 1024;

export interface Credentials {
  readonly scheme: string;
  readonly credentials: string;
}

export interface ServerConnectionEvents {
  /** The session is in force. */
  opened(reply: ConnectReply): void;
  /** The server does not know the session any more. `closed` follows. */
  expired(): void;
  event(event: WatchEvent): void;
  /** A ping was answered: every event before it has been told. */
  proven(): void;
  /** Once, whoever ended it. Every request that was not answered has been rejected. */
  closed(reason: string): void;
}

export interface ServerConnectionOptions {
  readonly address: string;
  readonly dial: Dial;
  readonly clock: Clock;
  readonly hello: ConnectRequest;
  readonly credentials: readonly Credentials[];
  readonly events: ServerConnectionEvents;
}

interface Pending {
  readonly xid: number;
  readonly operation: string;
  readonly path: string;
  readonly deadline: Timer;
  readonly settle: (error: number, body: JuteReader) => void;
  readonly reject: (error: MeshError) => void;
  /** Undefined once it is sent. */
  frame: Buffer | undefined;
  over: boolean;
}

export class ServerConnection {
  readonly address: string;
  readonly #options: ServerConnectionOptions;
  readonly #channel: Channel;
  readonly #frames: JuteFrames;
  readonly #handshake: Timer;
  #waiting: Pending[] = [];
  #waitingBytes = 0;
  #inFlight: Pending[] = [];
  #state: "dialling" | "open" | "closed" = "dialling";
  #xid = 0;
  #heardAt: number;
  #silence: Timer | undefined;
  #lookedAt = 0;
  /** The newest transaction that the server has told of. */
  zxid: bigint;

  constructor(options: ServerConnectionOptions) {
    const { clock, dial, address, hello } = options;
    this.#options = options;
    this.address = address;
    this.zxid = hello.lastZxid;
    this.#heardAt = clock.now();
    this.#frames = new JuteFrames((record) => this.#onRecord(record), maxReplyBytes);
    this.#handshake = clock.after(handshakeMs, () => this.drop("no answer to the connect request"));
    this.#channel = dial(address, {
      opened: () => this.#hello(),
      received: (bytes) => this.#received(bytes),
      drained: () => {},
      closed: (reason) => this.#closed(reason),
    });
  }

  get open(): boolean {
    return this.#state === "open";
  }

  /** Resolves with what `read` makes of the answer's body; rejects with `zookeeper.…`. */
  request<T>(body: RequestBody, read: (reader: JuteReader) => T, deadlineMs: number): Promise<T> {
    const path = "path" in body ? body.path : "";
    const operation = body.op === "unknown" ? `do operation ${body.code} on` : body.op;
    if (!this.open) return Promise.reject(lost(operation, path, "there is no connection"));
    const xid = this.#nextXid();
    const frame = encodeRequest({ xid, ...body });
    const refusal = this.#refusal(frame, operation, path);
    if (refusal !== undefined) return Promise.reject(refusal);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const pending: Pending = {
      xid,
      operation,
      path,
      frame,
      over: false,
      deadline: this.#options.clock.after(deadlineMs, () => this.#late(pending, deadlineMs)),
      reject,
      settle: (error, reader) => {
        if (error !== errorCode.ok) return reject(zooKeeperError(error, operation, path));
        const value = read(reader);
        reader.end();
        resolve(value);
      },
    };
    this.#waiting.push(pending);
    this.#waitingBytes += frame.length;
    this.#pump();
    return promise;
  }

  /** Gives the connection up at once. */
  drop(reason: string): void {
    this.#channel.destroy();
    this.#closed(reason);
  }

  #refusal(frame: Buffer, operation: string, path: string): MeshError | undefined {
    if (frame.length > maxJuteBytes)
      return new MeshError("zookeeper.too-large", `a request to ${operation} of ${frame.length} bytes`, { path });
    if (this.#waiting.length < maxWaiting && this.#waitingBytes + frame.length <= maxWaitingBytes) return undefined;
    return new MeshError("zookeeper.too-many", "too many requests wait for the ZooKeeper server", { path });
  }

  #hello(): void {
    if (this.#state !== "dialling") return;
    const { hello, credentials } = this.#options;
    this.#channel.send(encodeConnectRequest(hello));
    for (const one of credentials) {
      const secret = Buffer.from(one.credentials);
      const xid = reservedXid.auth;
      this.#channel.send(encodeRequest({ xid, op: "auth", kind: 0, scheme: one.scheme, credentials: secret }));
    }
  }

  #received(bytes: Buffer): void {
    if (this.#state === "closed") return;
    this.#heardAt = this.#options.clock.now();
    try {
      this.#frames.read(bytes);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.drop(messageOf(error));
    }
  }

  #onRecord(record: Buffer): boolean {
    if (this.#state === "dialling") this.#onConnectReply(decodeConnectReply(record));
    else this.#onReply(record);
    return !this.#isClosed();
  }

  #onConnectReply(reply: ConnectReply): void {
    const { clock, events } = this.#options;
    this.#handshake.cancel();
    if (reply.timeoutMs <= 0) {
      events.expired();
      return this.drop("the session has expired");
    }
    this.#state = "open";
    const pingMs = Math.min(longestPingMs, Math.max(shortestPingMs, reply.timeoutMs / 6));
    this.#lookedAt = clock.now();
    this.#silence = clock.every(pingMs, () => this.#look(reply.timeoutMs / 3, pingMs));
    events.opened(reply);
  }

  /**
   * A server that answers nothing for a third of the session's time is left while there is time to find another one. When this process itself
   * stood still, what was answered has not been read yet.
   */
  #look(silentMs: number, pingMs: number): void {
    const now = this.#options.clock.now();
    const stoodStill = now - this.#lookedAt > pingMs * 2;
    this.#lookedAt = now;
    if (now - this.#heardAt > silentMs && !stoodStill) this.drop("the server is silent");
    else this.#channel.send(encodeRequest({ xid: reservedXid.ping, op: "ping" }));
  }

  #onReply(record: Buffer): void {
    const { events } = this.#options;
    const { head, body } = decodeReplyHead(record);
    if (head.zxid > this.zxid) this.zxid = head.zxid;
    if (head.xid === reservedXid.event) return events.event(decodeEvent(body));
    if (head.xid === reservedXid.ping) return events.proven();
    if (head.xid === reservedXid.auth) {
      if (head.error !== errorCode.ok) this.drop("the server refuses the credentials");
      return;
    }
    const pending = this.#inFlight.shift();
    if (pending?.xid !== head.xid) return this.drop(`an answer ${head.xid} that was not asked for`);
    pending.deadline.cancel();
    if (!pending.over) {
      pending.over = true;
      try {
        pending.settle(head.error, body);
      } catch (error) {
        pending.reject(lost(pending.operation, pending.path, messageOf(error)));
        throw error;
      }
    }
    this.#pump();
  }

  #pump(): void {
    let sent = 0;
    while (this.open && this.#inFlight.length < maxInFlight && sent < this.#waiting.length) {
      const pending = this.#waiting[sent] as Pending;
      const frame = pending.frame as Buffer;
      sent += 1;
      this.#waitingBytes -= frame.length;
      pending.frame = undefined;
      if (pending.over) continue;
      this.#inFlight.push(pending);
      this.#channel.send(frame);
    }
    this.#waiting.splice(0, sent);
  }

  #late(pending: Pending, deadlineMs: number): void {
    if (pending.over) return;
    pending.over = true;
    const text = `no answer to ${pending.operation} ${pending.path.slice(0, 300)} within ${deadlineMs} ms`;
    pending.reject(new MeshError("zookeeper.timeout", text, { path: pending.path }));
    // Answers come in order: behind this one nothing would be answered either.
    if (pending.frame === undefined) this.drop(text);
  }

  #nextXid(): number {
    this.#xid = this.#xid >= 0x7fff_ffff ? 1 : this.#xid + 1;
    return this.#xid;
  }

  #closed(reason: string): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#handshake.cancel();
    this.#silence?.cancel();
    this.#frames.close();
    const left = [...this.#inFlight, ...this.#waiting];
    this.#inFlight = [];
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const pending of left) {
      pending.deadline.cancel();
      if (!pending.over) pending.reject(lost(pending.operation, pending.path, reason));
      pending.over = true;
    }
    this.#options.events.closed(reason);
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }
}

function lost(operation: string, path: string, reason: string): MeshError {
  const text = `the connection to ZooKeeper ended before ${operation} ${path.slice(0, 300)} was answered: ${reason}`;
  return new MeshError("zookeeper.connection-lost", text, { path });
}
