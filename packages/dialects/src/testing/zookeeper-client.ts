/**
 * A raw client of a ZooKeeper door for tests: it speaks jute to the door directly, without a socket, and remembers every reply and
 * event in the order in which they came.
 */
import { juteCodec, juteRecord } from "@dualmesh/wire/jute/frame";
import {
  type ConnectReply,
  decodeConnectReply,
  decodeEvent,
  decodeReplyBody,
  decodeReplyHead,
  type ReplyBody,
  type Stat,
  type WatchEvent,
} from "@dualmesh/wire/jute/reply";
import { encodeConnectRequest, encodeRequest, openAcl, type RequestBody } from "@dualmesh/wire/jute/request";
import type { Door, DoorConnection, DoorPeer, Standing } from "../door.ts";

export interface Reply {
  readonly xid: number;
  readonly zxid: bigint;
  readonly error: number;
  readonly body: ReplyBody | undefined;
}

/** One thing the door said after the handshake. */
export type Said = { readonly reply: Reply } | { readonly event: WatchEvent };

export interface ConnectOptions {
  readonly sessionId?: bigint;
  readonly password?: Buffer;
  readonly timeoutMs?: number;
  readonly lastZxid?: bigint;
  readonly readOnly?: boolean | undefined;
}

export class ZooKeeperTestClient {
  readonly said: Said[] = [];
  connection: DoorConnection;
  connected: ConnectReply | undefined;
  closed = false;
  /** What the client is taken not to have read. */
  queuedBytes = 0;
  readonly peer: DoorPeer;
  #xid = 0;
  #kinds = new Map<number, ReplyBody["kind"]>();

  constructor(door: Door, remote = "127.0.0.1:1") {
    const client = this;
    this.peer = {
      remote,
      get queuedBytes() {
        return client.queuedBytes;
      },
      send: (bytes) => this.#receive(Buffer.from(bytes)),
      close: () => {
        this.closed = true;
      },
    };
    this.connection = door.connect(this.peer);
  }

  /** Another door goes on with what stood still at the one before, as if nothing had been. False when it does not. */
  goOn(door: Door, standing: Standing): boolean {
    const told: Standing = { ...standing, state: JSON.parse(JSON.stringify(standing.state)) };
    const connection = door.adopt?.(this.peer, told);
    if (connection === undefined) return false;
    this.connection = connection;
    const [unread = Buffer.alloc(0)] = standing.unread;
    if (unread.length > 0) connection.receive(Buffer.from(unread));
    return true;
  }

  open(options: ConnectOptions = {}): this {
    const { sessionId = 0n, password = Buffer.alloc(16), timeoutMs = 30_000, lastZxid = 0n } = options;
    const readOnly = "readOnly" in options ? options.readOnly : false;
    this.connection.receive(
      encodeConnectRequest({ protocolVersion: 0, lastZxid, timeoutMs, sessionId, password, readOnly }),
    );
    return this;
  }

  /** What lets another client resume this one's session. */
  get identity(): ConnectOptions {
    return { sessionId: this.connected?.sessionId ?? 0n, password: this.connected?.password ?? Buffer.alloc(16) };
  }

  send(body: RequestBody, kind: ReplyBody["kind"] = "none"): number {
    const { xid, frame } = this.frameOf(body, kind);
    this.connection.receive(frame);
    return xid;
  }

  /** The bytes of a request, for whoever sends them in pieces. */
  frameOf(body: RequestBody, kind: ReplyBody["kind"] = "none"): { readonly xid: number; readonly frame: Buffer } {
    const xid = body.op === "ping" ? -2 : body.op === "auth" ? -4 : ++this.#xid;
    this.#kinds.set(xid, kind);
    return { xid, frame: encodeRequest({ xid, ...body }) };
  }

  create(path: string, flags = 0, data = "x"): number {
    return this.send(
      { op: "create", code: 15, path, data: Buffer.from(data), acl: openAcl, flags, ttl: 0n },
      "created",
    );
  }

  exists(path: string, watch = false): number {
    return this.send({ op: "exists", path, watch }, "stat");
  }

  getData(path: string, watch = false): number {
    return this.send({ op: "getData", path, watch }, "data");
  }

  list(path: string, watch = false): number {
    return this.send({ op: "getChildren", code: 12, path, watch }, "children2");
  }

  delete(path: string, version = -1): number {
    return this.send({ op: "delete", path, version });
  }

  addWatch(path: string, mode: number): number {
    return this.send({ op: "addWatch", path, mode }, "error");
  }

  /** The connection is cut without a word. */
  drop(): void {
    this.closed = true;
    this.connection.closed();
  }

  reply(xid: number): Reply | undefined {
    for (const said of this.said) if ("reply" in said && said.reply.xid === xid) return said.reply;
    return undefined;
  }

  /** The error of a reply; undefined while there is none. */
  error(xid: number): number | undefined {
    return this.reply(xid)?.error;
  }

  children(xid: number): readonly string[] | undefined {
    const body = this.reply(xid)?.body;
    return body?.kind === "children2" || body?.kind === "children" ? [...body.children].sort() : undefined;
  }

  stat(xid: number): Stat | undefined {
    const body = this.reply(xid)?.body;
    return body !== undefined && "stat" in body ? body.stat : undefined;
  }

  /** Takes the events out that came so far, as `TYPE PATH`. */
  events(): string[] {
    const texts: string[] = [];
    for (let index = 0; index < this.said.length; ) {
      const said = this.said[index] as Said;
      if ("event" in said) {
        texts.push(`${["", "created", "deleted", "data", "children"][said.event.type]} ${said.event.path}`);
        this.said.splice(index, 1);
      } else index += 1;
    }
    return texts;
  }

  #receive(bytes: Buffer): void {
    const view = juteCodec.view();
    for (let offset = 0; offset < bytes.length; ) {
      const size = juteCodec.decode(bytes, offset, bytes.length, view);
      if (size < 0) throw new Error("the door sent part of a frame");
      offset += size;
      this.#read(juteRecord(view));
    }
  }

  #read(record: Buffer): void {
    if (this.connected === undefined) {
      this.connected = decodeConnectReply(record);
      return;
    }
    const { head, body } = decodeReplyHead(record);
    if (head.xid === -1) this.said.push({ event: decodeEvent(body) });
    else {
      const kind = this.#kinds.get(head.xid) ?? "none";
      this.said.push({ reply: { ...head, body: head.error === 0 ? decodeReplyBody(kind, body) : undefined } });
    }
  }
}
