/**
 * One HTTP/1.1 connection to an endpoint. It carries one exchange at a time and tells it what comes back; once there is any doubt about where
 * a message ends, it is closed and never used again.
 */
import type { Fields, Http1Head, Method } from "@dualmesh/wire/http1/head";
import { Http1Error } from "@dualmesh/wire/http1/limits";
import { field } from "@dualmesh/wire/http1/names";
import { Http1Reader, readEvent } from "@dualmesh/wire/http1/reader";
import { dialTransport } from "../transport/tcp.ts";
import { dialledName, type Transport, type TransportEvents } from "../transport/transport.ts";
import type { HttpPool } from "./http-pool.ts";

/** The exchange on a connection. All calls are synchronous, from the event loop. */
export interface HttpCarried {
  readonly method: Method;
  /** The connection is there: the request may be written. */
  ready(): void;
  /** It could not be made: nothing was sent. */
  unreached(reason: string): void;
  /** A response, or an interim one (1xx) before it. `head` and all slices are valid during the call only. */
  responseHead(head: Http1Head): void;
  responseData(bytes: Buffer, start: number, end: number): void;
  responseTrailers(trailers: Fields): void;
  /** The final response is whole. */
  responseEnd(): void;
  /** After `101 Switching Protocols`: bytes as they come. */
  tunnelled(bytes: Buffer, start: number, end: number, nowMs: number): void;
  /** Then the endpoint sends nothing more, and may still be sent to. */
  tunnelEnded(): void;
  /** Everything written has been taken by the kernel, after a time when it had not. */
  upstreamDrained(): void;
  /** The connection broke, or what came is no HTTP, before the response was whole. */
  broken(reason: string, malformed: boolean): void;
}

export class HttpUpstream implements TransportEvents {
  readonly pool: HttpPool;
  readonly #reader = new Http1Reader("server");
  #carried: HttpCarried | undefined;
  #transport: Transport | undefined;
  #name = "";
  #giveUp: (() => void) | undefined;
  #closed = false;
  #tunnel = false;
  #paused = false;
  /** The connection was given up before anybody could say whether it would come to be. */
  #needless = false;
  /** A whole response was read, and everything read belonged to it. */
  #clean = true;
  /** How many exchanges it has carried before this one. */
  earlier = 0;
  /** Whether a byte of the present response has come. */
  heard = false;
  restingSinceMs = 0;
  /** What the server said of how long it keeps the connection (`Keep-Alive: timeout`), less a second for the way. */
  keepAliveMs = Number.POSITIVE_INFINITY;

  constructor(pool: HttpPool, carried: HttpCarried) {
    this.pool = pool;
    this.#carried = carried;
    const { address: host, port } = pool.endpoint;
    const timeoutMs = pool.context.limits.connectMs;
    this.#giveUp = dialTransport({ host, port, timeoutMs }, (transport, reason) => this.#dialled(transport, reason));
  }

  get connected(): boolean {
    return this.#transport !== undefined;
  }

  /** This host's address as the endpoint sees it. */
  get localAddress(): string {
    return this.#transport?.localAddress ?? "";
  }

  /** Puts another exchange on a connection at rest; false when it has gone meanwhile. */
  begin(carried: HttpCarried): boolean {
    if (this.#closed || this.#transport === undefined) return false;
    this.#carried = carried;
    this.heard = false;
    this.earlier++;
    return true;
  }

  /** The request of this method is being sent: its response is expected now. */
  expect(method: Method): void {
    this.#reader.expect(method);
  }

  write(bytes: Buffer, start: number, end: number): void {
    this.#transport?.write(bytes, start, end);
  }

  /** Bytes that the endpoint has not taken, after it was asked to. */
  get backlog(): number {
    const transport = this.#transport;
    if (transport === undefined) return 0;
    if (transport.queuedBytes > 0) transport.flush();
    return transport.queuedBytes;
  }

  get queuedBytes(): number {
    return this.#transport?.queuedBytes ?? 0;
  }

  pause(): void {
    this.#paused = true;
    this.#transport?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#transport?.resume();
  }

  /** From now on both sides pass bytes. */
  tunnel(): void {
    this.#tunnel = true;
  }

  /** The exchange is over. `sound`: the request was sent whole and the response says that the connection goes on. */
  release(nowMs: number, sound: boolean): void {
    this.#carried = undefined;
    if (this.#closed) return;
    // A server that answered before it took the whole request may never take the rest of it, nor what comes after.
    if (!sound || !this.#clean || this.queuedBytes > 0) return this.destroy("not to be used again");
    // The response may have ended while the caller was behind: at rest the connection listens, and so for who has it next.
    if (this.#paused) this.resume();
    this.restingSinceMs = nowMs;
    this.pool.rest(this);
  }

  /**
   * The exchange has done with this connection, which is in the middle of something. `callerGone`: nobody waits any more, which says nothing
   * of an endpoint that was being dialled.
   */
  leave(reason: string, callerGone: boolean): void {
    this.#carried = undefined;
    this.#needless = callerGone;
    this.destroy(reason);
  }

  /** The descriptor of a tunnel that stands still; undefined when it cannot now. */
  freeze(): number | undefined {
    const transport = this.#transport;
    return transport?.freeze() === true ? transport.descriptor : undefined;
  }

  thaw(): void {
    this.#transport?.thaw();
  }

  get wroteAll(): boolean {
    return this.#transport?.wroteAll ?? false;
  }

  /** It is another process's now. */
  surrender(): void {
    this.#closed = true;
    this.#carried = undefined;
    this.#transport?.letGo();
    this.#transport = undefined;
    this.pool.context.dialled.delete(this.#name);
    this.pool.moved(this);
  }

  /** Nothing more will be written; what the endpoint still says is passed on. */
  end(): void {
    this.#transport?.endWriting();
  }

  /** Ends a connection at rest. */
  close(): void {
    if (this.#transport !== undefined) this.#transport.end();
    else this.destroy("not needed any more");
  }

  destroy(reason: string): void {
    if (this.#transport !== undefined) this.#transport.destroy(reason);
    else this.#fail(reason);
  }

  onBytes(bytes: Buffer, size: number): void {
    const carried = this.#carried;
    // What a server says while it is asked nothing (a 408, as a rule) is a farewell.
    if (carried === undefined) return this.destroy("spoke without being asked");
    this.heard = true;
    if (this.#tunnel) carried.tunnelled(bytes, 0, size, this.pool.context.clock.now());
    else this.#read(bytes, 0, size);
  }

  #read(bytes: Buffer, start: number, size: number): void {
    const reader = this.#reader;
    let at = start;
    try {
      for (;;) {
        const carried = this.#carried;
        if (carried === undefined) return;
        const event = reader.read(bytes, at, size);
        at = reader.position;
        if (event === readEvent.more) return;
        if (event === readEvent.data) carried.responseData(bytes, reader.dataStart, reader.dataEnd);
        else if (event === readEvent.head) this.#head(reader.head, carried);
        else if (event === readEvent.trailers) carried.responseTrailers(reader.trailers);
        else if (reader.head.status >= 200) {
          this.#clean = at === size;
          return carried.responseEnd();
        }
        if (this.#tunnel) {
          if (at < size) carried.tunnelled(bytes, at, size, this.pool.context.clock.now());
          return;
        }
      }
    } catch (error) {
      if (!(error instanceof Http1Error)) throw error;
      this.#break(error.reason, true);
    }
  }

  #head(head: Http1Head, carried: HttpCarried): void {
    if (this.earlier === 0 && head.status >= 200) this.#readKeepAlive(head);
    carried.responseHead(head);
  }

  #readKeepAlive({ fields }: Http1Head): void {
    const at = fields.find(field.keepAlive);
    const seconds = at < 0 ? undefined : /(?:^|[,;\s])timeout=(\d{1,6})/i.exec(fields.value(at))?.[1];
    if (seconds !== undefined) this.keepAliveMs = Math.max(0, Number(seconds) * 1_000 - 1_000);
  }

  onDrain(): void {
    this.#carried?.upstreamDrained();
  }

  onPeerEnd(): boolean | undefined {
    const carried = this.#carried;
    // At once, so that nobody takes it for one at rest while it closes.
    if (carried === undefined) this.destroy("closed at rest");
    else if (this.#tunnel) {
      carried.tunnelEnded();
      return true;
    } else this.#finish(carried);
    return false;
  }

  /** The endpoint's end is the response's where that is how it ends; anywhere else it is a break. */
  #finish(carried: HttpCarried): void {
    try {
      if (this.#reader.finish() !== readEvent.end) return this.#break("closed before it answered", false);
      this.#clean = false;
      carried.responseEnd();
    } catch (error) {
      if (!(error instanceof Http1Error)) throw error;
      this.#break(error.reason, false);
    }
  }

  onClose(reason: string): void {
    this.#fail(reason);
  }

  #break(reason: string, malformed: boolean): void {
    const carried = this.#carried;
    this.#carried = undefined;
    this.#transport?.destroy(reason);
    carried?.broken(reason, malformed);
  }

  #dialled(transport: Transport | undefined, reason: string): void {
    this.#giveUp = undefined;
    if (this.#closed) return transport?.destroy("given up");
    if (transport === undefined) return this.#fail(reason);
    this.#transport = transport;
    this.#name = dialledName(transport);
    this.pool.context.dialled.add(this.#name);
    this.pool.connected();
    transport.open(this);
    this.#carried?.ready();
  }

  #fail(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#giveUp?.();
    const carried = this.#carried;
    const connected = this.#transport !== undefined;
    this.#carried = undefined;
    this.#transport = undefined;
    this.pool.context.dialled.delete(this.#name);
    this.pool.lost(this, { connected, used: carried !== undefined, needless: this.#needless });
    if (carried === undefined) return;
    if (connected) carried.broken(reason, false);
    else carried.unreached(reason);
  }
}
